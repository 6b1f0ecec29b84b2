"""The paper's four claims, each as comparisons of the study's figures, and a fifth check against pixels.

The four claims, like the rules in `jaxpart.study.verdicts`, were written down before any result of a
trained encoder was seen. A level is a mean of the table's columns: "object level" averages object
classification (linear, attentive) and object segmentation; "part level" averages part retrieval
(encoded), part classification (linear, attentive) and part segmentation. Probing averages objects and
parts.
"""

from __future__ import annotations

from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key
from jaxpart.study.figures import DATA, attentive, linear, retrieved, segmented
from jaxpart.study.verdicts import Claim, Comparison, Side
from jaxpart.tasks.baselines import BASELINE

_LINEAR = (linear("object_classification"), linear("classification"))
_ATTENTIVE = (attentive("object_classification"), attentive("classification"))
_ENCODED, _PROJECTED = retrieved("embedding"), retrieved("projection")
_OBJECT = (_LINEAR[0], _ATTENTIVE[0], segmented("object"))
_PART = (_ENCODED, _LINEAR[1], _ATTENTIVE[1], segmented("part"))

_FAR = 0.05
"""The smallest difference in AP that counts as "far better", as a fraction."""

_TRAILS = 0.02
"""The largest deficit that still counts as "does not trail", as a fraction."""

_SPACES = (("mae", "pixels"), ("beit", "tokens"), ("cae", "tokens"), ("cae", "representation"))


def row_name(row: str) -> str:
    """The name of a row: a method's as in the paper, or the encoder's own."""
    return METHODS.get(row, row)


def _above(what: str, left: str, right: str, keys: tuple[Key, ...]) -> Comparison:
    text = f"{what}: {row_name(left)} above {row_name(right)}"
    return Comparison(text, Side((left,), keys), Side((right,), keys))


def _masked(space: str, head: str = "part") -> tuple[Key]:
    return (Key(DATA, "masked_parts", "AP", head, space),)


_RIVALS = ("mocov3", "dino", "beit", "mae", "cae")
_REST = ("mocov3", "dino", "cae", "ibot")
_REST_NAMES = ", ".join(map(row_name, _REST))
CLAIMS = (
    Claim(
        1,
        "DeiT leads in object-level recognition (except against iBOT); self-supervised encoders lead in "
        "part-level recognition.",
        (
            *(_above("object level", "deit", row, _OBJECT) for row in _RIVALS),
            *(_above("part level", row, "deit", _PART) for row in (*_RIVALS, "ibot")),
        ),
    ),
    Claim(
        2,
        "Part-to-whole: for contrastive methods, encoded representations retrieve parts far better than "
        "projected ones.",
        tuple(
            Comparison(
                f"part retrieval: {row_name(row)} encoded above projected by {100 * _FAR:.0f} points",
                Side((row,), (_ENCODED,)),
                Side((row,), (_PROJECTED,)),
                bound=_FAR,
            )
            for row in ("mocov3", "dino", "ibot")
        ),
    ),
    Claim(
        3,
        "Part-to-part: masked image modelling predicts the masked part of an object from the visible part "
        "(CAE does so in representation space).",
        (
            *(
                Comparison(
                    f"masked parts: {row_name(row)}'s {space} above chance",
                    Side((row,), _masked(space)),
                    Side((row,), _masked("chance", BASELINE)),
                )
                for row, space in _SPACES
            ),
            *(
                Comparison(
                    f"masked parts: {row_name(row)}'s {space} from the object itself above those from "
                    f"another image",
                    Side((row,), _masked(space, "part_less_other_image")),
                    None,
                )
                for row, space in _SPACES
            ),
        ),
    ),
    Claim(
        4,
        "Combining both (iBOT) is best at both levels; MAE and BEiT trail in linear probing but not in "
        "attentive probing.",
        (
            *(
                _above(f"{level} level", "ibot", row, keys)
                for level, keys in (("object", _OBJECT), ("part", _PART))
                for row in METHODS
                if row != "ibot"
            ),
            *(
                Comparison(
                    f"linear probing: mean of {_REST_NAMES} above {row_name(row)}",
                    Side(_REST, _LINEAR),
                    Side((row,), _LINEAR),
                )
                for row in ("mae", "beit")
            ),
            *(
                Comparison(
                    f"attentive probing: mean of {_REST_NAMES} above {row_name(row)} by "
                    f"less than {100 * _TRAILS:.0f} points",
                    Side(_REST, _ATTENTIVE),
                    Side((row,), _ATTENTIVE),
                    bound=_TRAILS,
                    below=True,
                )
                for row in ("mae", "beit")
            ),
        ),
    ),
    Claim(
        5,
        "Not the paper's: every encoder retrieves parts better than 12 × 12 pixels do.",
        tuple(
            Comparison(
                f"part retrieval: {row_name(row)} encoded above 12 × 12 pixels, {word}",
                Side((row,), (_ENCODED,)),
                Side((row,), (Key(DATA, "retrieval", "AP", BASELINE, f"pixels12_{word}"),)),
            )
            for row in METHODS
            for word in ("colour", "grey")
        ),
    ),
)
"""The claims in the paper's order."""
