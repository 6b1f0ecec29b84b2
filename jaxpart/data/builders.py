"""The study's data sets as tensorflow-datasets builders, without TensorFlow.

    import tensorflow_datasets as tfds
    import jaxpart.data.builders  # registers them

    builder = tfds.builder("cub_parts", root="DATA", data_dir="PREPARED")
    builder.download_and_prepare()

`root` is the folder that holds the official files; nothing is downloaded. Images and label maps are stored
as published, in the order of the official lists. In addition to what tensorflow-datasets writes, the folder
holds each split's annotations (`jaxpart.data.annotations`), so that they can be read without the images,
and metadata.json holds what `jaxpart.data.prepared` reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxpart.data.annotations import encode_annotations
from jaxpart.data.checking import Summary, look_at, record_faults, repeated
from jaxpart.data.critters import CRITTERS_VERSION
from jaxpart.data.folders import fingerprint
from jaxpart.data.identity import identity_of
from jaxpart.data.label_maps import encoded, mask_files
from jaxpart.data.parallel import over_tasks
from jaxpart.data.prepared import (
    FORMAT,
    METADATA,
    VERSION,
    annotations_file,
    order_file,
    tfds_split,
)
from jaxpart.data.sets import SETS, open_official, open_splits, open_whole
from jaxpart.data.source import Annotation, DatasetInfo, Record, Source
from jaxpart.errors import JaxpartError
from jaxpart.io.files import sealed_json
from jaxpart.runs.progress import Progress

_RECORDS_PER_TASK = 16
DRAWN = {"num_images": 2000, "image_size": 96, "seed": 0, "version": CRITTERS_VERSION}
"""Options of critters when no `sources` are passed."""


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Does nothing: the public bucket lacks these data, and each query leaves a folder in /tmp."""


class SourceBuilder(  # type: ignore[call-arg]
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """A data set built from one `Source` per split.

    Attributes:
      summaries: Summary of each split written so far.
    """

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = types.MappingProxyType(
        {
            "1.0.0": "Written by jaxpart itself.",
            "2.0.0": "Written by tensorflow-datasets; annotations beside the records.",
        }
    )
    HOMEPAGE, CITATION = "", ""
    url_infos: ClassVar[dict[str, Any]] = {}  # nothing is downloaded, so there are no checksums

    def __init__(
        self,
        *,
        root: str = "",
        sources: Mapping[str, Source] | None = None,
        whole: Source | None = None,
        skip: bool = False,
        workers: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        """Opens the official files.

        Args:
          root: Folder that holds the official files; not needed with `sources`, or to read a prepared data
            set.
          sources: The splits by name; by default all in the root.
          whole: The union of all splits; its order is stored.
          skip: Whether to leave out and list invalid records instead of raising.
          workers: Processes for reading and checking; by default one per core.
          progress: Shows progress.
          **options: Passed to `tfds.core.DatasetBuilder`: data_dir, …

        Raises:
          JaxpartError: The files are missing or damaged.
        """
        if sources is None and self.name != "critters" and not root:
            sources = {}  # only reads prepared data
        elif sources is None:
            config = types.SimpleNamespace(root=root, **DRAWN)
            sources = open_splits(self.name, config, opener=open_official, progress=progress)
            whole = open_whole(self.name, sources, config)
        self._sources, self._whole = sources, whole
        self._skip, self._workers = skip, workers
        self._progress = progress or Progress(shown=False)
        self.summaries: dict[str, Summary] = {}
        self._splits: dict[str, dict[str, Any]] = {}
        self._ids: list[str] = []
        super().__init__(**{"file_format": "array_record"} | options)

    def _info(self) -> tfds.core.DatasetInfo:
        first = next(iter(self._sources.values()), None)
        if first is not None:
            features = features_of(first.info)
        elif (pathlib.Path(self.data_dir) / METADATA).exists():
            features = tfds.features.FeaturesDict.from_config(self.data_dir)
        else:
            raise JaxpartError(
                f"{self.data_dir} holds no prepared {self.name}; to prepare it pass root=FOLDER, the "
                f"folder that holds the official files"
            )
        return _Info(
            builder=self,
            description=f"{self.name}, prepared by jaxpart from the official files; images as published.",
            features=features,
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {tfds_split(split): self._generate_examples(split) for split in self._sources}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        source = self._sources[split]
        if len(source) == 0:
            raise JaxpartError(f"{self.name} ({split}) holds no image; unpack it again")
        annotations: list[Annotation] = []
        summary = Summary()
        skipped: list[tuple[int, str]] = []
        content = hashlib.sha256()
        with self._progress.bar(f"{self.name} ({split}): preparing", len(source)) as advance:
            for index, record in self._records(split):
                advance(1)
                if isinstance(record, str):
                    skipped.append((index, record))
                    continue
                for data in (record.image, *mask_files(record).values()):
                    content.update(data)
                annotations.append(record.annotation)
                summary.headers[look_at(record)] += 1
                yield index, example_of(record, source.info)
        if not annotations:
            raise JaxpartError(
                f"no image of {self.name} ({split}) can be used; the first: {skipped[0][1]}"
            )
        ids = [annotation.id for annotation in annotations]
        if duplicates := repeated(ids):
            raise JaxpartError(f"{self.name} ({split}): {duplicates[0]}; make the ids unique")
        self._ids += ids
        self.summaries[split] = summary
        self._splits[split] = {
            "info": dataclasses.asdict(_without_skipped(source.info, skipped)),
            "records": len(ids),
            "skipped": skipped,
            "identity": identity_of(source),
            "content": content.hexdigest(),
        }
        self._write(annotations_file(split), encode_annotations(annotations))
        if len(self._splits) == len(self._sources):
            self._finish()

    def _records(self, split: str) -> Iterator[tuple[int, Record | str]]:
        """Yields (index, record), or (index, error message) for skipped records."""
        starts = range(0, len(self._sources[split]), _RECORDS_PER_TASK)
        tasks = [(split, start, start + _RECORDS_PER_TASK) for start in starts]
        stream = over_tasks(read_checked, self._sources, tasks, self._workers)
        with contextlib.closing(stream) as results:  # the writer may stop early
            for (_, start, _), records in results:
                for index, record in enumerate(records, start):
                    if isinstance(record, str) and not self._skip:
                        raise JaxpartError(record)
                    yield index, record

    def _finish(self) -> None:
        """Adds our metadata, which tensorflow-datasets writes along with its own."""
        wholes = {}
        if self._whole is not None:
            info = self._whole.info
            skipped = [entry for split in self._splits.values() for entry in split["skipped"]]
            wholes[info.split] = {
                "info": dataclasses.asdict(_without_skipped(info, skipped)),
                "of": list(self._sources),
            }
            file = io.BytesIO()
            np.savez(file, order=_order(self._whole, self._ids))
            self._write(order_file(info.split), file.getvalue())
        metadata = {"format": FORMAT, "name": self.name, "splits": self._splits, "wholes": wholes}
        self.info.metadata.update(json.loads(sealed_json(metadata)))

    def _write(self, name: str, data: bytes) -> None:
        # While the data are generated this is a temporary folder, which is renamed at the end.
        (pathlib.Path(self.data_dir) / name).write_bytes(data)


def read_checked(sources: Mapping[str, Source], task: tuple[str, int, int]) -> list[Record | str]:
    """Reads and checks the records [first, last) of a split; an error message replaces invalid ones."""
    split, first, last = task
    source, records = sources[split], list[Record | str]()
    for index in range(first, min(last, len(source))):
        try:
            record = source[index]
            fault = next(record_faults(record, source.info), None)
            records.append(encoded(record) if fault is None else fault)
        except JaxpartError as error:
            records.append(str(error))
    return records


def features_of(info: DatasetInfo) -> tfds.features.FeaturesDict:
    """The features of a data set's records, for tensorflow-datasets."""
    features: dict[str, Any] = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3)),
    }
    if info.class_names:
        features["label"] = tfds.features.ClassLabel(names=list(info.class_names))
    if info.part_names:
        features["keypoints"] = {
            "part": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "xy": tfds.features.Tensor(shape=(None, 2), dtype=np.float64, encoding="bytes"),
            "visible": tfds.features.Tensor(shape=(None,), dtype=np.bool_),
            "instance": tfds.features.Tensor(shape=(None,), dtype=np.int64),
        }
    if info.mask_names:
        features["masks"] = {
            kind: tfds.features.Image(shape=(None, None, 1)) for kind in info.mask_names
        }
    return tfds.features.FeaturesDict(features)


def example_of(record: Record, info: DatasetInfo) -> dict[str, Any]:
    """A record as `features_of` describes it; images stay encoded."""
    annotation, points = record.annotation, record.annotation.keypoints
    example: dict[str, Any] = {
        "id": annotation.id.encode("utf-8", "surrogateescape"),
        "image": io.BytesIO(record.image),
    }
    if info.class_names:
        example["label"] = -1 if annotation.label is None else annotation.label
    if info.part_names:
        empty = np.zeros(0, np.int64)
        example["keypoints"] = {
            "part": empty if points is None else points.part,
            "xy": np.zeros((0, 2)) if points is None else points.xy,
            "visible": empty.astype(bool) if points is None else points.visible,
            "instance": empty if points is None else points.instance,
        }
    if info.mask_names:
        files = mask_files(record)
        example["masks"] = {kind: io.BytesIO(files[kind]) for kind in info.mask_names}
    return example


def _without_skipped(info: DatasetInfo, skipped: Sequence[tuple[int, str]]) -> DatasetInfo:
    """The info, whose version and notes then tell of the skipped records."""
    if not skipped:
        return info
    indices = repr([index for index, _ in skipped])
    note = f"images left out when it was prepared, since they could not be used: {len(skipped)}"
    return dataclasses.replace(
        info, version=fingerprint(info.version, indices), notes=(*info.notes, note)
    )


def _order(whole: Source, ids: Sequence[str]) -> np.ndarray:
    """For each image of the whole, its position in the concatenated splits."""
    position_of = {key: i for i, key in enumerate(ids)}
    positions = (position_of.get(whole.annotation(i).id) for i in range(len(whole)))
    return np.array([position for position in positions if position is not None], np.int64)


_HOMEPAGES = {
    "critters": ("", ""),
    "cub_parts": (
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "Wah, Branson, Welinder, Perona, Belongie: The Caltech-UCSD Birds-200-2011 Dataset. "
        "CNS-TR-2011-001, Caltech, 2011.",
    ),
    "coco_person_parts": (
        "https://cocodataset.org",
        "Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014, arXiv 1405.0312.",
    ),
    "lip": (
        "https://sysu-hcp.net/lip/",
        "Gong et al.: Look into Person: Self-Supervised Structure-Sensitive Learning. CVPR 2017, "
        "arXiv 1703.05446.",
    ),
    **dict.fromkeys(
        ("ade20k", "ade20k_object", "ade20k_part"),
        (
            "https://groups.csail.mit.edu/vision/datasets/ADE20K/",
            "Zhou et al.: Scene Parsing through ADE20K Dataset. CVPR 2017, arXiv 1608.05442.",
        ),
    ),
    **dict.fromkeys(
        ("pascal_part", "pascal_object", "pascal_part_58", "pascal_part_116"),
        (
            "https://roozbehm.info/pascal-parts/pascal-parts.html",
            "Chen et al.: Detect What You Can: Detecting and Representing Objects using Holistic "
            "Models and Body Parts. CVPR 2014, arXiv 1406.2031.",
        ),
    ),
    **dict.fromkeys(
        ("partimagenet_part", "partimagenet_object"),
        (
            "https://github.com/TACJu/PartImageNet",
            "He et al.: PartImageNet: A Large, High-Quality Dataset of Parts. ECCV 2022, arXiv "
            "2112.00933.",
        ),
    ),
    **dict.fromkeys(
        ("paco_part", "paco_object"),
        (
            "https://github.com/facebookresearch/paco",
            "Ramanathan et al.: PACO: Parts and Attributes of Common Objects. CVPR 2023, arXiv 2301.01795.",
        ),
    ),
    "imagenet": (
        "https://www.image-net.org",
        "Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge. IJCV 2015, arXiv "
        "1409.0575.",
    ),
    "part_folder": ("", ""),
}
"""Homepage and citation of each data set."""


def builder_class(name: str, *, registered: bool = False) -> type[SourceBuilder]:
    """Creates a data set's builder class; the name need not be in `SETS`."""
    homepage, citation = _HOMEPAGES.get(name, ("", ""))
    title = "".join(word.capitalize() for word in name.split("_"))
    fields = {"name": name, "HOMEPAGE": homepage, "CITATION": citation, "__module__": __name__}
    return type(title, (SourceBuilder,), fields, skip_registration=not registered)


globals().update(
    {builder.__name__: builder for builder in (builder_class(n, registered=True) for n in SETS)}
)
