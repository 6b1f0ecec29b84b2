"""Preparing 100 000 records: speed, memory, and reading back: python -m benchmarks.prepare

Memory must not grow with the number of records: the highest use of the writing processes is shown
for a tenth of the records and for all. Reading is compared with the same images as single files.
"""

from __future__ import annotations

import io
import pathlib
import resource
import tempfile
import time

import numpy as np
from PIL import Image

from benchmarks.timing import medians, report
from jaxpart.data.prepared import Prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.source import Annotation, DatasetInfo, Record

RECORDS, READS, RUNS = 100_000, 2_000, 5
IMAGES, SIZE = 64, (160, 120)


class Noise:
    """As many records as wanted from a few JPEG files of noise, as a `Source`."""

    def __init__(self, records: int) -> None:
        self.info = DatasetInfo("noise", "train", str(records), class_names=("noise",))
        self._records = records
        rng = np.random.default_rng(0)
        self._images = [_jpeg(rng.integers(0, 256, (*SIZE, 3), np.uint8)) for _ in range(IMAGES)]

    def __len__(self) -> int:
        return self._records

    def annotation(self, index: int) -> Annotation:
        return Annotation(f"train/{index:08d}.jpg", label=0)

    def __getitem__(self, index: int) -> Record:
        return Record(self.annotation(index), self._images[index % IMAGES])


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg")
    return file.getvalue()


def _megabytes(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def main() -> None:
    rows: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as out:
        for records in (RECORDS // 10, RECORDS):
            start = time.perf_counter()
            folder, _ = prepare("noise", {"train": Noise(records)}, f"{out}/{records}")
            seconds = time.perf_counter() - start
            rows[f"{records} records: per second"] = records / seconds
            rows[f"{records} records: peak MiB of a writing process"] = _megabytes(
                resource.RUSAGE_CHILDREN
            )
            rows[f"{records} records: peak MiB of the main process"] = _megabytes(
                resource.RUSAGE_SELF
            )
        prepared = Prepared(folder, "train")
        order = np.random.default_rng(0).integers(0, RECORDS, READS).tolist()
        files = pathlib.Path(out) / "files"
        files.mkdir()
        for index in set(order):
            (files / f"{index}.jpg").write_bytes(prepared[index].image)
        seconds = medians(
            RUNS,
            prepared=lambda: [prepared[i] for i in order],
            files=lambda: [(files / f"{i}.jpg").read_bytes() for i in order],
        )
        rows["random reads per second, prepared"] = READS / seconds["prepared"]
        rows["the same from single files, cached"] = READS / seconds["files"]
    report(rows, __doc__ or "")


if __name__ == "__main__":
    main()
