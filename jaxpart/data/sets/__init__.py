"""All data sets by name, with their splits, terms and sources."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxpart.data import critters
from jaxpart.data.folders import NotThere
from jaxpart.data.identity import COMPARED, identity_of
from jaxpart.data.parts import COCO_PARTS, CUB_PARTS, PartSelection
from jaxpart.data.prepared import Prepared, find_prepared, read_about
from jaxpart.data.sets import (
    ade20k,
    ade20k_object,
    ade20k_part,
    coco,
    cub,
    imagenet,
    lip,
    paco,
    part_folder,
    partimagenet,
    pascal,
    pascal_groups,
    tfds,
)
from jaxpart.data.sets.tfds_features import stated_in
from jaxpart.data.sets.tfds_folders import ADVICE, PREFIX
from jaxpart.data.source import Source
from jaxpart.data.subset import RenumberedParts
from jaxpart.errors import JaxpartError
from jaxpart.io.files import in_bucket
from jaxpart.runs.progress import Progress


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set's entry.

    Attributes:
      open: Opens a split from the data set's folder or one above it: (root, split) to `Source`. None for
        critters, which are drawn.
      splits: Splits in the order of preparation; the first is for training.
      content: Its classes and their number.
      licence: Owner and terms.
      advice: Where to get it and how to unpack it.
      whole: A split that is the union of `splits` in its own order, or None.
      instead: A fallback split for folders that have none of `splits`, or None.
      parts: The parts for retrieval and classification; None for all keypoints of the data set, if any.
      retrieval: The split for part retrieval, or None.
    """

    open: Callable[[str, str], Source] | None
    splits: tuple[str, ...]
    content: str
    licence: str
    advice: str
    whole: str | None = None
    instead: str | None = None
    parts: PartSelection | None = None
    retrieval: str | None = None

    @property
    def all_splits(self) -> tuple[str, ...]:
        """Every split that can be opened."""
        return (*self.splits, *(split for split in (self.whole, self.instead) if split))


_IMAGENET_TERMS = "ImageNet: non-commercial research and teaching, on registration"
_ADE20K = DataSet(
    open=ade20k.ade20k,
    splits=ade20k.SPLITS,
    content="150 classes",
    licence="MIT: images for research and teaching only, annotations BSD-3",
    advice=ade20k.ADVICE,
)
_PASCAL = DataSet(
    open=pascal.pascal_part,
    splits=pascal.SPLITS,
    content="193 parts",
    licence="VOC images: Flickr's terms; annotations of Pascal-Part: research",
    advice=pascal.ADVICE,
    instead="all",
)
_PARTIMAGENET = DataSet(
    open=partimagenet.partimagenet_part,
    splits=partimagenet.SPLITS,
    content="40 parts",
    licence=_IMAGENET_TERMS,
    advice=partimagenet.ADVICE,
)
_PACO = DataSet(
    open=paco.paco_part,
    splits=paco.SPLITS,
    content="200 parts",
    licence="annotations: see PACO's repository; images of COCO: Flickr's terms",
    advice=paco.ADVICE,
)

SETS = {
    "critters": DataSet(
        open=None,
        splits=("train", "test"),
        content="6 keypoints, 7 parts, 24 kinds",
        licence="drawn by jaxpart, Apache-2.0",
        advice="nothing is needed",
        parts=critters.CRITTER_PARTS,
        retrieval="test",
    ),
    "cub_parts": DataSet(
        open=cub.Cub,
        splits=("train", "test"),
        content="15 keypoints, 200 species",
        licence="Caltech: non-commercial research and teaching",
        advice=cub.ADVICE,
        whole="all",
        parts=CUB_PARTS,
        retrieval="all",
    ),
    "coco_person_parts": DataSet(
        open=coco.CocoPersons,
        splits=coco.SPLITS,
        content="17 keypoints",
        licence="annotations CC BY 4.0; images: Flickr's terms",
        advice=coco.ADVICE,
        parts=COCO_PARTS,
        retrieval="train2017",
    ),
    "lip": DataSet(
        open=lip.lip,
        splits=lip.SPLITS,
        content="19 parts",
        licence="Sun Yat-sen University: non-commercial research",
        advice=lip.ADVICE,
    ),
    "ade20k": _ADE20K,
    "ade20k_object": replace(_ADE20K, open=ade20k_object.ade20k_object, content="59 objects"),
    "ade20k_part": replace(
        _ADE20K,
        open=ade20k_part.ade20k_part,
        content="209 parts (from the full release: chosen by a rule, not the paper's)",
        advice=ade20k_part.ADVICE,
    ),
    "pascal_part": _PASCAL,
    "pascal_object": replace(_PASCAL, open=pascal.pascal_object, content="16 objects"),
    "pascal_part_58": replace(_PASCAL, open=pascal_groups.pascal_part_58, content="57 parts"),
    "pascal_part_116": replace(
        _PASCAL,
        open=pascal_groups.pascal_part_116,
        splits=pascal_groups.SPLITS_116,
        content="116 parts",
        advice=pascal_groups.ADVICE_116,
    ),
    "partimagenet_part": _PARTIMAGENET,
    "partimagenet_object": replace(
        _PARTIMAGENET, open=partimagenet.partimagenet_object, content="158 classes"
    ),
    "paco_part": _PACO,
    "paco_object": replace(_PACO, open=paco.paco_object, content="75 objects"),
    "imagenet": DataSet(
        open=imagenet.ImageNet,
        splits=imagenet.SPLITS,
        content="1000 classes",
        licence=_IMAGENET_TERMS,
        advice=imagenet.ADVICE,
    ),
    "part_folder": DataSet(
        open=part_folder.part_folder,
        splits=("train", "test"),
        content="your keypoints or your parts",
        licence="yours",
        advice=part_folder.ADVICE,
        instead="all",
        retrieval="all",
    ),
}
"""Every data set by its name in configurations."""

ALIASES = {"cub": "cub_parts", "coco": "coco_person_parts"}
"""Shorter names for configurations."""

PART_SETS = tuple(name for name, entry in SETS.items() if entry.retrieval)
"""Data sets with part patches."""


def find_set(name: str) -> tuple[str, DataSet]:
    """The canonical name and the entry of a data set. Raises `JaxpartError` for an unknown name."""
    if name.startswith(PREFIX):
        return name, DataSet(
            open=functools.partial(tfds.Tfds, name),
            splits=tfds.SPLITS,
            content="images with classes, label maps or keypoints",
            licence="see https://www.tensorflow.org/datasets",
            advice=ADVICE,
        )
    key = ALIASES.get(name, name)
    if key not in SETS:
        raise JaxpartError(
            f"there is no data set {name!r}; choose from {', '.join(SETS)}, tfds:NAME"
        )
    return key, SETS[key]


def open_set(name: str, split: str, config: Any) -> Source:
    """Opens a split of a data set.

    A prepared data set (`python -m jaxpart.data prepare`) at `config.root`, or at NAME in it, takes
    precedence over the official folder, with which it is compared if that is there too. Critters are drawn.

    Args:
      name: A key of `SETS` or `ALIASES`, or `tfds:NAME/CONFIG:VERSION`.
      split: One of the data set's own splits.
      config: The configuration's `data`: root; for critters seed, num_images, image_size and version;
        for `tfds:` see `Stated`.

    Raises:
      JaxpartError: The name or the split is unknown, the root or the data set is missing or damaged, or the
        official files have changed since they were prepared.
    """
    name, entry = find_set(name)
    if entry.open is not None and config.root:
        prepared = find_prepared(config.root, name)
        if prepared is not None:
            source = Prepared(prepared, split)
            if not in_bucket(config.root):
                _check_originals(prepared, name, split, config)
            return source
    return open_official(name, split, config)


def _check_originals(prepared: pathlib.Path, name: str, split: str, config: Any) -> None:
    """Raises `JaxpartError` if the root also holds the official files, and they have changed since.

    Splits of more than `COMPARED` images, which take long to list, are not compared.
    """
    about = read_about(prepared)
    for part in about.wholes[split].of if split in about.wholes else (split,):
        if about.splits[part].records > COMPARED:
            continue
        try:
            identity = identity_of(open_official(name, part, config))
        except NotThere:
            continue
        except JaxpartError:  # some are missing or damaged now
            identity = ""
        if identity != about.splits[part].identity:
            raise JaxpartError(
                f"{prepared} was prepared from other files or another version of {name} ({part}) than "
                f"{config.root} holds now; remove it and prepare it again, or name it as the root to use it"
            )


def open_official(name: str, split: str, config: Any) -> Source:
    """Opens a split of a data set from its official folder, or draws it; see `open_set`."""
    name, entry = find_set(name)
    if entry.open is None:
        return critters.Critters(
            split,
            config.num_images,
            image_size=config.image_size,
            seed=config.seed,
            version=getattr(config, "version", 1),  # old runs lack it
        )
    if name.startswith(PREFIX):  # its root has a default
        return tfds.Tfds(name, config.root, split, stated_in(config))
    if not config.root:
        raise JaxpartError(
            f"the data root is missing: pass --config.data.root=FOLDER, the folder that holds {name} "
            f"({entry.advice})"
        )
    if in_bucket(config.root):
        raise JaxpartError(
            f"{config.root} holds no prepared {name}, and only prepared data sets can be read from a "
            f"bucket; write it with `python -m jaxpart.data prepare {name} --out {config.root}`"
        )
    return entry.open(config.root, split)


def open_splits(
    name: str,
    config: Any,
    splits: Sequence[str] = (),
    *,
    opener: Callable[[str, str, Any], Source] = open_set,
    progress: Progress | None = None,
    faults: list[str] | None = None,
) -> dict[str, Source]:
    """Opens splits of a data set: the requested ones, or all that exist.

    Args:
      name: A key of `SETS` or `ALIASES`, or `tfds:NAME/CONFIG:VERSION`.
      config: See `open_set`.
      splits: The requested splits.
      opener: `open_set`, or `open_official`.
      progress: Shows progress and missing splits.
      faults: Collects the errors of splits that cannot be opened; by default they are raised.

    Raises:
      JaxpartError: A requested split is unknown or missing, or all splits are missing.
    """
    name, entry = find_set(name)
    progress = progress or Progress(shown=False)
    sources: dict[str, Source] = {}
    missing: list[NotThere] = []

    def try_all(splits: Sequence[str]) -> None:
        for split in splits:
            try:
                with progress.bar(f"{name} ({split}): opening", None):  # Pascal, ADE20K: minutes
                    source = opener(name, split, config)
                if len(source) == 0:
                    raise JaxpartError(f"{name} ({split}) holds no image; unpack it again")
                sources[split] = source
            except NotThere as error:
                missing.append(error)
            except JaxpartError as error:
                if faults is None:
                    raise
                faults.append(str(error))

    unknown = [split for split in splits if split not in entry.all_splits]
    if unknown and entry.all_splits:
        raise JaxpartError(
            f"{name} has no split {unknown[0]!r}; choose from {', '.join(entry.all_splits)}"
        )
    try_all(splits or entry.splits)
    if splits and missing:
        raise missing[0]
    missing_official = list(missing)
    if missing and not sources and not faults and entry.instead:
        try_all((entry.instead,))
    if missing_official and not sources and not faults:
        raise missing[-1] if entry.instead else missing[0]  # the fallback's error names the root
    for error in missing_official:
        progress.say(f"left out: {error}")
    return sources


def open_whole(name: str, sources: Mapping[str, Source], config: Any) -> Source | None:
    """The union of all splits from the official folder; None if it has none or a split is missing."""
    name, entry = find_set(name)
    if entry.whole is None or sources.keys() != {*entry.splits}:
        return None
    return open_official(name, entry.whole, config)


def retrieval_set(name: str, config: Any) -> tuple[Source, PartSelection]:
    """The data set for part retrieval, and its parts.

    As in the paper, both splits of CUB-200-2011 and train2017 of COCO.

    Args:
      name: One of `PART_SETS` or its alias, or a `tfds:` set whose keypoints are stated.
      config: The configuration's `data`, see `open_set`.

    Raises:
      JaxpartError: The data set has no parts, or see `open_set`.
    """
    key, entry, split = _part_set(name, config)
    source = open_set(key, split, config)
    return source, selected_parts(entry, source, config.root)


def classification_sets(name: str, config: Any) -> tuple[Source, Source, PartSelection]:
    """The training and test sets for part classification, and their parts.

    Args:
      name: One of `PART_SETS` or its alias, or a `tfds:` set whose keypoints are stated.
      config: The configuration's `data`, see `open_set`.

    Raises:
      JaxpartError: The data set has no parts, or see `open_set`.
    """
    key, entry, _ = _part_set(name, config)
    train, test = (open_set(key, split, config) for split in entry.splits)
    return train, same_parts(test, train), selected_parts(entry, train, config.root)


def same_parts(source: Source, train: Source) -> Source:
    """The source with its keypoints renumbered, by name, as in the training split.

    Raises:
      JaxpartError: The names differ.
    """
    if dict(source.info.part_names) == dict(train.info.part_names):
        return source
    return RenumberedParts(source, train.info.part_names)


def part_split(name: str, config: Any) -> str | None:
    """The split of a data set for part retrieval; None if it has no keypoints.

    Args:
      name: See `find_set`.
      config: The configuration's `data`, which states the keypoints of `tfds:` sets.
    """
    key, entry = find_set(name)
    if key.startswith(PREFIX) and stated_in(config).keypoints:
        return entry.splits[-1]
    return entry.retrieval


def _part_set(name: str, config: Any) -> tuple[str, DataSet, str]:
    key, entry = find_set(name)
    split = part_split(name, config)
    if split is None and key.startswith(PREFIX):
        raise JaxpartError(
            f"{key} has no part patches: state the feature with its keypoints in "
            "config.data.tfds.keypoints, and their names in config.data.tfds.parts"
        )
    if split is None:
        raise JaxpartError(
            f"{key} has no part patches; choose from {', '.join((*PART_SETS, *ALIASES))}"
        )
    return key, entry, split


def selected_parts(entry: DataSet, source: Source, root: str) -> PartSelection:
    """The parts to evaluate on a source. Raises `JaxpartError` if it has no keypoints."""
    if entry.parts is not None:
        return entry.parts
    if not source.info.part_names:
        raise JaxpartError(f"{root} has no keypoints; give a part folder with keypoints.json")
    return PartSelection(source.info.part_names)
