"""What tasks need, and how each view of a data set is encoded once for all that want it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

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
    """A view that an encoder is to see.

    Attributes:
      encoder: The frozen encoder.
      view: The images.
      names: Representations, see `jaxpart.features.representations.represent`.
      batch_size: Images per step.
      on_error: What the view does with images that cannot be read, "raise" or "skip".
    """

    encoder: FrozenEncoder
    view: View
    names: tuple[str, ...]
    batch_size: int
    on_error: str

    def kind(self) -> Hashable:
        """Equal for views that are read and encoded alike, whatever their items."""
        view = self.view
        images = view.data, view.kind, view.size, view.permuted, self.on_error
        return self.encoder.identity, images

    def check(self) -> None:
        """Raises `JaxpartError` if the encoder is a file of features that lacks an item."""
        if isinstance(self.encoder, FeatureTable):
            self.encoder.check(self.view)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A task on a data set: all is opened and checked, and nothing encoded or written.

    Attributes:
      what: What reads the data set, "cub_parts/retrieval".
      sources: The splits that it reads.
      needs: What it wants encoded, by the names under which `rows` is given the features.
    """

    what: str
    sources: tuple[Source, ...]
    needs: Mapping[str, Need] = dataclasses.field(default_factory=dict, kw_only=True)

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Yields the results.

        Args:
          features: Of `needs`; more representations may be among them.
          workdir: Where files beside the rows go.
          progress: Shows how far it is.
        """
        raise NotImplementedError


def carry_out(
    plans: Iterable[Plan], options: Any, workdir: WorkDir, progress: Progress
) -> Iterator[Row]:
    """The results of plans, in their order.

    Views of a kind are encoded with the representations that any plan wants of it, so that the encoder
    sees an image once; equal views are even read once.

    Args:
      plans: They may be of several tasks.
      options: The configuration's `features`.
      workdir: Where files beside the rows go.
      progress: Shows how far it is.
    """
    plans = list(plans)
    needs = [need for plan in plans for need in plan.needs.values()]
    names: dict[Hashable, dict[str, None]] = collections.defaultdict(dict)
    for need in needs:
        names[need.kind()] |= dict.fromkeys(need.names)
    left = collections.Counter(map(_exactly, needs))
    encoded: dict[Hashable, Extracted] = {}
    for plan in plans:
        found = {}
        for name, need in plan.needs.items():
            key = _exactly(need)
            if key not in encoded:
                encoded[key] = _encoded(need, tuple(names[need.kind()]), options, progress)
            found[name] = encoded[key]
            left[key] -= 1
            if not left[key]:
                del encoded[key]
        yield from plan.rows(found, workdir, progress)


def _exactly(need: Need) -> Hashable:
    return need.kind(), tuple(need.view.ids)


def _encoded(need: Need, names: tuple[str, ...], options: Any, progress: Progress) -> Extracted:
    found = extract(need.encoder, need.view, names, options, progress, batch_size=need.batch_size)
    if found.skipped:
        progress.say(f"{len(found.skipped)} images skipped; the first: {found.skipped[0]}")
    return found


def side_of(encoder: FrozenEncoder, side: int, field: str) -> int:
    """The side of the images that an encoder is shown, in pixels.

    Args:
      encoder: The encoder.
      side: What the configuration says; 0: what the encoder was made for.
      field: Where it says so, "config.retrieval.patch_pixels".

    Raises:
      JaxpartError: The encoder does not take such images.
    """
    if side:
        try:
            encoder.check_size(side, side)
        except JaxpartError as error:
            raise JaxpartError(f"{field} is {side}, and {error}") from error
    return side or encoder.image_size[0]


def check_kept_order(config: Any, task: str) -> None:
    """Refuses permuted patches, whose tokens are of no place, with a `JaxpartError`.

    Args:
      config: The whole configuration.
      task: What reads tokens by their place.
    """
    if permutation_seed(config) is not None:
        raise JaxpartError(
            f"{task} reads tokens by position, and config.encoder.patch_order permutes them; set it to "
            "'kept'"
        )
