"""What tasks need encoded; each view of a data set is encoded once for all tasks that need it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxpart.data.source import Source
from jaxpart.data.views import View
from jaxpart.encoders.configured import permutation_seed
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import Extracted, extract
from jaxpart.features.table import FeatureTable
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Row
from jaxpart.runs.workdir import WorkDir


@dataclasses.dataclass(frozen=True)
class Need:
    """A view to encode.

    Attributes:
      encoder: The frozen encoder.
      view: The images.
      names: Representations, see `jaxpart.features.representations.represent`.
      batch_size: Images per step.
      on_error: How the view handles unreadable images, "raise" or "skip".
    """

    encoder: FrozenEncoder
    view: View
    names: tuple[str, ...]
    batch_size: int
    on_error: str

    def kind(self) -> Hashable:
        """Equal for views that are read and encoded in the same way, independent of their items."""
        view = self.view
        images = view.data, view.kind, view.size, view.permuted, self.on_error
        return self.encoder.identity, images

    def check(self) -> None:
        """Raises `JaxpartError` if the encoder is a feature file that lacks an item."""
        if isinstance(self.encoder, FeatureTable):
            self.encoder.check(self.view)


class Pass(NamedTuple):
    """Images that a plan encodes itself, in addition to its needs."""

    encoder: FrozenEncoder
    side: int
    names: tuple[str, ...]
    images: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A task on a data set, with everything opened and checked, but nothing encoded or written yet.

    Attributes:
      what: Data set and task, "cub_parts/retrieval".
      sources: Its splits.
      needs: Views to encode, by the names under which `rows` receives their features.
    """

    what: str
    sources: tuple[Source, ...]
    needs: Mapping[str, Need] = dataclasses.field(default_factory=dict, kw_only=True)

    def passes(self) -> Iterator[Pass]:
        """Images that `rows` encodes in addition to `needs`."""
        yield from ()

    def epochs(self) -> Mapping[str, int]:
        """Epochs of `rows` over the features of the need "train", by representation."""
        return {}

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields the results.

        `features` are those of `needs`, possibly with more representations; `workdir` receives files
        other than the rows.
        """
        raise NotImplementedError


def carry_out(
    plans: Iterable[Plan], options: Any, workdir: WorkDir, progress: Progress
) -> Iterator[Row]:
    """The results of plans, in order.

    Views of one kind are encoded with all representations that any plan needs, so every image is encoded
    once; equal views are also read only once.
    """
    plans = list(plans)
    names = names_by_kind(plans)
    uses_left = collections.Counter(
        _exact_key(need) for plan in plans for need in plan.needs.values()
    )
    encoded: dict[Hashable, Extracted] = {}
    for plan in plans:
        features = {}
        for name, need in plan.needs.items():
            key = _exact_key(need)
            if key not in encoded:
                encoded[key] = _encode(need, names[need.kind()], options, progress)
            features[name] = encoded[key]
            uses_left[key] -= 1
            if not uses_left[key]:
                del encoded[key]
        yield from plan.rows(features, workdir, progress)


def names_by_kind(plans: Iterable[Plan]) -> dict[Hashable, tuple[str, ...]]:
    """All representations that plans need of each kind of view (`Need.kind`)."""
    names: dict[Hashable, tuple[str, ...]] = collections.defaultdict(tuple)
    for need in (need for plan in plans for need in plan.needs.values()):
        names[need.kind()] = tuple(dict.fromkeys((*names[need.kind()], *need.names)))
    return names


def _exact_key(need: Need) -> Hashable:
    return need.kind(), tuple(need.view.ids)


def _encode(need: Need, names: tuple[str, ...], options: Any, progress: Progress) -> Extracted:
    features = extract(
        need.encoder, need.view, names, options, progress, batch_size=need.batch_size
    )
    if features.skipped:
        progress.say(f"{len(features.skipped)} images skipped; the first: {features.skipped[0]}")
    return features


def side_of(encoder: FrozenEncoder, side: int, field: str) -> int:
    """Side in pixels of the images for an encoder.

    A configured side of 0 is the encoder's native size; `field` is the option's name.

    Raises:
      JaxpartError: The encoder does not accept such images.
    """
    if side:
        try:
            encoder.check_size(side, side)
        except JaxpartError as error:
            raise JaxpartError(f"{field} is {side}, and {error}") from error
    return side or encoder.image_size[0]


def check_kept_order(config: Any, task: str) -> None:
    """Raises `JaxpartError` for permuted patches, whose tokens have no position."""
    if permutation_seed(config) is not None:
        raise JaxpartError(
            f"{task} reads tokens by position, and config.encoder.patch_order permutes them; set it to "
            "'kept'"
        )
