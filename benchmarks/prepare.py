"""Prepares many records and reads them back: python -m benchmarks prepare

The writing processes' memory must not grow with the number of records. Reading is compared with the same
images as single files.
"""

from __future__ import annotations

import io
import pathlib
import resource
import tempfile
import time

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from benchmarks.timing import Row, faster, in_fresh_process, medians, memory, share, value
from jaxpart.data.prepared import Prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.source import Annotation, DatasetInfo, Record

IMAGES, SIZE = 64, (160, 120)


class Noise:
    """Any number of records made from a few JPEG files of noise, as a `Source`."""

    def __init__(self, records: int) -> None:
        self.info = DatasetInfo("noise", "train", str(records), class_names=("noise",))
        self._records = records
        rng = np.random.default_rng(0)
        self._images = [_jpeg(rng.integers(0, 256, (*SIZE, 3), np.uint8)) for _ in range(IMAGES)]

    def __len__(self) -> int:
        return self._records

    def annotation(self, index: int) -> Annotation:
        return Annotation(f"train/{index:08d}.jpg", label=0)

    def origin(self, index: int) -> str:
        return f"picture {index % IMAGES}"

    def __getitem__(self, index: int) -> Record:
        return Record(self.annotation(index), self._images[index % IMAGES])


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg")
    return file.getvalue()


def _prepared(records: int, out: str) -> tuple[float, float, float]:
    """Prepares; returns the seconds, and the peak GiB of this process and of a reading one."""
    start = time.perf_counter()
    prepare("noise", {"train": Noise(records)}, out)
    seconds = time.perf_counter() - start
    return seconds, memory(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def rows(quick: bool) -> list[Row]:
    records, reads, runs = (1_000, 20, 1) if quick else (20_000, 2_000, 5)
    with tempfile.TemporaryDirectory() as out:
        few = in_fresh_process(_prepared, records // 10, f"{out}/few")
        full = in_fresh_process(_prepared, records, f"{out}/all")
        folder, _ = prepare("noise", {"train": Noise(records)}, f"{out}/all")  # already prepared
        prepared = Prepared(folder, "train")
        order = np.random.default_rng(0).integers(0, records, reads).tolist()
        files = pathlib.Path(out) / "files"
        files.mkdir()
        for index in set(order):
            (files / f"{index}.jpg").write_bytes(prepared[index].image)
        plain = tfds.builder_from_directory(folder).as_data_source(
            "train", decoders={"image": tfds.decode.SkipDecoding()}
        )
        seconds = medians(
            runs,
            prepared=lambda: [prepared[i] for i in order],
            plain=lambda: [plain[i] for i in order],
            files=lambda: [(files / f"{i}.jpg").read_bytes() for i in order],
        )
    tenth = "a tenth of the records"
    return [
        value(f"{records:,} records", records / full[0], "records/s"),
        share("peak memory of the main process", full[1], few[1], tenth, "GiB"),
        share("peak memory of a reading process", full[2], few[2], tenth, "GiB", goal=1.1),
        faster(
            "random reads",
            reads / seconds["prepared"],
            reads / seconds["files"],
            "single files, cached",
            unit="reads/s",
        ),
        faster(
            "the same",
            reads / seconds["prepared"],
            reads / seconds["plain"],
            "as_data_source of tensorflow-datasets",
            unit="reads/s",
        ),
    ]
