"""From part to part: hide one annotated part, predict it from the rest, and retrieve true parts with the
prediction.

A part is a vector: the mean prediction over the patches that it touches. MAE predicts pixels (each patch
normalised to mean 0 and variance 1), BEiT the probabilities of tokens, CAE both tokens and representations;
true parts are computed from the image itself. There are four kinds of query, for the same parts:

- part: the part is hidden, the rest of the image is visible.
- random_mask: the same number of random patches is hidden, at least one of them of the part, so most of the
  part may be visible. Only hidden patches of the part are predicted.
- other_image: the part's patches are hidden in another image, to see what position alone predicts.
- seen: the true part, as an upper bound.

To compile few programs, the number of hidden patches is rounded up to a power of two (at least 4) by hiding
other random patches too. It is the same for all four.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float, UInt8

from jaxpart import devices
from jaxpart.data.parts import PartSelection
from jaxpart.data.sets import find_set, open_set, part_split, retrieval_set
from jaxpart.data.source import Source
from jaxpart.data.subset import drawn_images
from jaxpart.encoders.configured import encoder_folder
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.encoders.loading import describe
from jaxpart.features.extract import Extracted
from jaxpart.metrics.bootstrap import retrieval_intervals
from jaxpart.metrics.chance import chance_level
from jaxpart.metrics.cross_retrieval import cross_average_precision
from jaxpart.pretraining import beit, tokenizer
from jaxpart.pretraining.crops import patches_of
from jaxpart.pretraining.masked_prediction import KINDS, Hidden, Predictor, load_predictor
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row, find_row, select
from jaxpart.runs.table import Section, percent
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.baselines import BASELINE
from jaxpart.tasks.masked_parts.regions import Regions, draw_masks, other_images, read_regions
from jaxpart.tasks.plans import Plan

QUERIES = ("part", "random_mask", "other_image", "seen")
"""The kinds of query, see above."""

_TASK = "masked_parts"
_CHUNK = 32
"""Batch size: BEiT's 8192 logits per patch need much memory."""


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[MaskedParts]:
    """Masked parts on every data set of a configuration: see `jaxpart.tasks.Task`.

    Encoders without a decoder of patches are skipped with a message.
    """
    predictor = _predictor(encoder, config, progress)
    if predictor is None:
        return
    for alias in config.data.sets:
        name, _ = find_set(alias)
        source, selection = _opened(name, config)
        progress.say_once(source.info.remarks)
        regions = read_regions(
            source,
            drawn_images(source, config[_TASK].images, config.seed),
            selection,
            predictor.encoder.config,
            largest_share=config[_TASK].largest_share,
        )
        yield MaskedParts(f"{name}/{_TASK}", (source,), name, predictor, regions, config.seed)


@dataclasses.dataclass(frozen=True)
class MaskedParts(Plan):
    """Prediction of hidden parts of a data set."""

    data: str
    predictor: Predictor
    regions: Regions
    seed: int

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields "images", "parts" and the "AP" of chance; for each space (the row's representation:
        "pixels", "tokens" or "representation") and each of `QUERIES` (its head) "AP" with its 95 % interval
        over images, "mAP" and the "AP" of each part; and the difference in "AP" of "part" and each other
        query (the heads "part_less_other_image", …)."""
        data, regions = self.data, self.regions
        parts = list(regions.parts)
        yield Row(data, _TASK, "images", len(regions.images))
        yield Row(data, _TASK, "parts", len(parts))
        chance_ap = chance_level(parts)
        yield Row(data, _TASK, "AP", chance_ap, head=BASELINE, representation="chance")
        vectors = _vectors(self.predictor, regions, self.seed, data, progress)
        for space, by_query in vectors.items():
            precision = {
                query: cross_average_precision(by_query[query], by_query["seen"], parts, parts)
                for query in QUERIES
            }
            for query, values in precision.items():
                yield _mean_ap(data, query, space, values, regions)
                yield from _summary(data, query, space, values, regions)
            for other in QUERIES[1:]:
                difference = precision["part"] - precision[other]
                yield _mean_ap(data, f"part_less_{other}", space, difference, regions)


def _predictor(encoder: FrozenEncoder, config: Any, progress: Progress) -> Predictor | None:
    """The encoder with its decoder; None, with a message, if there is none."""
    if isinstance(encoder, Encoder) and (folder := encoder_folder(config)):
        decoder = describe(folder)[0].get("decoder", {})
        if decoder.get("kind") in KINDS:
            return load_predictor(encoder, folder)
    advice = "; convert it with --with-decoder" if encoder.name in KINDS else ""
    progress.say(f"masked parts: skipped, this {encoder.name} has no decoder of patches{advice}")
    return None


def _opened(name: str, config: Any) -> tuple[Source, PartSelection | None]:
    """The split for part retrieval with the selected keypoints, else the last split."""
    key, entry = find_set(name)
    if part_split(name, config.data):
        return retrieval_set(name, config.data)
    return open_set(key, entry.splits[-1], config.data), None


def _mean_ap(
    data: str, query: str, space: str, values: Float[np.ndarray, " part"], regions: Regions
) -> Row:
    ends, _ = retrieval_intervals(values, regions.parts, regions.image.tolist())
    return Row(data, _TASK, "AP", float(values.mean()), query, space, low=ends.low, high=ends.high)


def _summary(
    data: str, query: str, space: str, values: Float[np.ndarray, " part"], regions: Regions
) -> Iterator[Row]:
    """Yields the mean over parts, and each part."""
    names = np.array(regions.parts)
    by_part = {name: float(values[names == name].mean()) for name in sorted(set(regions.parts))}
    yield Row(data, _TASK, "mAP", float(np.mean(list(by_part.values()))), query, space)
    for name, value in by_part.items():
        yield Row(data, _TASK, "AP", value, query, space, group=name)


def _vectors(
    predictor: Predictor, regions: Regions, seed: int, what: str, progress: Progress
) -> dict[str, dict[str, Float[np.ndarray, "part channel"]]]:
    """The vectors of all parts, by space and query; each process predicts its share of the parts."""
    frozen = devices.replicate((predictor.encoder, predictor.decoder), local=True)
    predictor = Predictor(frozen[0], predictor.config, frozen[1])
    part_masks, random_masks = draw_masks(regions.touched, seed)
    other = other_images(regions, seed)
    order = np.argsort(part_masks.sum(axis=1), kind="stable")  # equal mask sizes share one program
    share = order[devices.my_share(len(order))]
    size = min(_CHUNK, len(order))  # one shape in all processes
    rows: dict[str, dict[str, np.ndarray]] = {}

    def store(space: str, query: str, chosen: np.ndarray, vectors: np.ndarray) -> None:
        by_query = rows.setdefault(space, {})
        if query not in by_query:
            by_query[query] = np.zeros((len(order), vectors.shape[-1]), vectors.dtype)
        by_query[query][chosen] = vectors[: len(chosen)]

    with progress.bar(f"{what}: predicting masked parts", len(share)) as advance:
        for start in range(0, max(len(share), 1), _CHUNK):
            batch = share[start : start + _CHUNK]
            # A process without parts still needs the shapes: it predicts other parts and stores none.
            chosen = np.resize(batch if len(batch) else order, size)
            own = regions.images[regions.image[chosen]]
            touched = regions.touched[chosen]
            inputs = {
                "part": (own, part_masks[chosen]),
                "random_mask": (own, random_masks[chosen]),
                "other_image": (regions.images[other[chosen]], part_masks[chosen]),
            }
            for query, (images, mask) in inputs.items():
                hidden = predictor(images, mask)
                for space, predicted in _predicted(hidden).items():
                    store(space, query, batch, _mean(predicted, touched & mask))
                if query == "part":
                    for space, truth in _true(predictor, hidden, own).items():
                        store(space, "seen", batch, _mean(truth, touched))
            advance(len(batch))
    return {
        space: {query: devices.add_up(vectors) for query, vectors in by_query.items()}
        for space, by_query in rows.items()
        if "seen" in by_query  # not the tokens of releases, which lack the tokenizer
    }


def _mean(
    values: Float[np.ndarray, "part patch channel"], mask: Bool[np.ndarray, "part patch"]
) -> Float[np.ndarray, "part channel"]:
    total = np.where(mask[..., None], values, 0).sum(axis=1)
    return total / mask.sum(axis=1, keepdims=True)


def _predicted(hidden: Hidden) -> dict[str, Float[np.ndarray, "part patch channel"]]:
    """The predictions of the hidden patches, by space."""
    spaces = {}
    if hidden.pixels is not None:
        spaces["pixels"] = _standard(hidden.pixels)
    if hidden.logits is not None:
        spaces["tokens"] = scipy.special.softmax(hidden.logits, axis=-1)
    if hidden.latents is not None:
        spaces["representation"] = hidden.latents
    return spaces


def _true(
    predictor: Predictor, hidden: Hidden, images: UInt8[np.ndarray, "part size size 3"]
) -> dict[str, Float[np.ndarray, "part patch channel"]]:
    """The true values of all patches, by space.

    For BEiT without its tokenizer: its probabilities for visible patches.
    """
    kind, side = predictor.config.kind, predictor.encoder.config.patch_size
    if kind == "mae":
        pixels = patches_of(predictor.encoder.normalize(jnp.asarray(images)), side)
        return {"pixels": _standard(np.asarray(pixels))}
    spaces = {} if hidden.targets is None else {"representation": hidden.targets}
    codebook = predictor.codebook
    if codebook is not None:
        tokens = tokenizer.tokens_of(jnp.asarray(codebook), jnp.asarray(images) / 255, side)
        spaces["tokens"] = np.asarray(jax.nn.one_hot(tokens, len(codebook)))
    elif kind == "beit":
        seen = _seen_tokens(predictor.encoder, predictor.decoder, images)
        spaces["tokens"] = np.asarray(seen)
    return spaces


@jax.jit
def _seen_tokens(
    encoder: Encoder, decoder: beit.Decoder, images: UInt8[Array, "part size size 3"]
) -> Float[Array, "part patch token"]:
    """BEiT's probabilities of tokens without masking."""
    nothing = jnp.zeros((len(images), math.prod(encoder.config.grid)), bool)
    logits = beit.masked_logits(encoder.model, decoder, encoder.normalize(images), nothing)
    return jax.nn.softmax(logits, axis=-1)


def _standard(patches: Float[np.ndarray, "*patch pixel"]) -> Float[np.ndarray, "*patch pixel"]:
    """Patches normalised to mean 0 and variance 1."""
    centred = patches - patches.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and space, in percent."""
    shown = []
    for row in select(rows, task=_TASK, metric="AP", head="part", group=""):
        results = [find_row(rows, *row.key._replace(head=query)) for query in QUERIES]
        chance = find_row(rows, row.data, _TASK, "AP", head=BASELINE, representation="chance")
        parts = find_row(rows, row.data, _TASK, "parts")
        shown.append(
            (
                f"{row.data}, {row.representation}",
                *("–" if ap is None else percent(ap.value) for ap in (chance, *results)),
                f"of {parts.value} parts" if parts else "",
            )
        )
    columns = (
        "masked parts, AP",
        "chance",
        *(query.replace("_", " ") for query in QUERIES),
        "",
    )
    return Section(columns, shown)
