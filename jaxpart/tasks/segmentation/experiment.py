"""Part and object segmentation (docs/protocol.md): one 1×1 convolution on the frozen encoder's patches.

Heads on the paper's blocks and on every single block train in one pass. Few-shot heads, and in-context
segmentation by the nearest labelled patches, are tested with them on the same features.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Int32, Int64

from jaxpart import devices
from jaxpart.data.images import decode
from jaxpart.data.input import Loader, load
from jaxpart.data.palettes import palette
from jaxpart.data.source import Source
from jaxpart.data.subset import random_subset
from jaxpart.encoders.frozen import FrozenEncoder
from jaxpart.features.extract import Extracted
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.metrics.bootstrap import segmentation_intervals
from jaxpart.metrics.confusion import image_counts, segmentation_scores
from jaxpart.metrics.confusion_tables import class_scores, error_shares
from jaxpart.probes.incontext import Memory
from jaxpart.probes.pixel import PixelHeads, learning_rate, optimizer
from jaxpart.runs.items import items_file, items_npz
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.plans import Pass, Plan, side_of
from jaxpart.tasks.segmentation.heads import (
    Readers,
    check_grids,
    labelled_patches,
    readouts,
    training_program,
    widths,
    window_logits,
)
from jaxpart.tasks.segmentation.inputs import SegmentationSet, segmentation_set
from jaxpart.tasks.segmentation.options import check_options, setting_name, setting_of
from jaxpart.tasks.segmentation.pictures import picture
from jaxpart.tasks.segmentation.rules import decays_bias, described
from jaxpart.tasks.segmentation.sliding import (
    LabelledImage,
    SlidingWindow,
    WindowLogits,
    evaluate,
    predict,
)
from jaxpart.tasks.segmentation.survey import survey
from jaxpart.tasks.segmentation.tables import TASK, class_table, confusion_table, section
from jaxpart.training import fit

__all__ = ["Segmentation", "check", "plans", "rules", "section"]

INCONTEXT = "incontext"
"""The head in rows of in-context segmentation, which is not trained."""
_LONGEST_NAME = 150
"""Bytes of an image's name in a picture's; file systems take 255."""


def check(config: Any) -> None:
    """Checks the options: see `jaxpart.tasks.Task`."""
    check_options(config.segmentation)


def rules(encoder: FrozenEncoder, config: Any) -> dict[str, str]:
    """Rules for positions, weight decay and resizing: see `jaxpart.tasks.Task`."""
    return described(encoder, config.segmentation)


def plans(encoder: FrozenEncoder, config: Any, progress: Progress) -> Iterator[Segmentation]:
    """Segmentation on every data set of a configuration: see `jaxpart.tasks.Task`."""
    options = config.segmentation
    chosen = readouts(options.readouts, encoder.depth)
    devices.check_batch(options.batch_size, "config.segmentation.batch_size")
    for name in options.sets:
        field = f"config.segmentation.settings.{setting_name(name)}.crop"
        crop = side_of(encoder, setting_of(options, name).crop, field)
        check_grids(encoder, chosen, crop, incontext=bool(options.incontext.images))
    for name in options.sets:
        with progress.bar(f"{name}: opening", None):
            data = segmentation_set(name, config)
        survey(data, progress)
        published = setting_of(options, name).classes
        if published and published != len(data.classes):
            progress.say(
                f"{name} has {len(data.classes)} classes here and {published} in the paper: results "
                "cannot be compared"
            )
        yield Segmentation(
            f"{name}/{TASK}", (data.train, data.test), encoder, data, options, config.seed
        )


@dataclasses.dataclass(frozen=True)
class Segmentation(Plan):
    """Pixel heads on a data set, whose crops are encoded during training.

    The seed is that of initial heads, of the order and augmentation of images, and of subsets.
    """

    encoder: FrozenEncoder
    data: SegmentationSet
    options: Any
    seed: int

    def passes(self) -> Iterator[Pass]:
        """Training crops of all heads and of the memory, and about two windows per test image."""
        options = self.options
        crops = options.iterations * options.batch_size * (1 + len(options.shares))
        images = crops + options.incontext.images + 2 * len(self.data.test)
        depth = self.encoder.depth  # with blocks, a function need not return its final tokens
        name = f"block{depth - 1}/tokens" if depth else "tokens"
        yield Pass(self.encoder, self.data.crop, (name,), images)

    def rows(
        self, features: Mapping[str, Extracted], workdir: WorkDir, progress: Progress
    ) -> Iterator[Row]:
        """Trains and tests all heads, and yields the results."""
        data, options = self.data, self.options
        chosen = self.readouts
        yield Row(data.name, TASK, "train_images", len(data.train))
        yield Row(data.name, TASK, "test_images", len(data.test))
        yield Row(data.name, TASK, "classes", len(data.classes))
        heads = [self.train("all", data.train, chosen, workdir, progress)]
        names = list(chosen)
        first = names[0]
        for share in options.shares:
            count = round(share * len(data.train))
            if not count:
                progress.say(
                    f"{data.name}: {100 * share:g} % of {len(data.train)} images are less than one; "
                    "skipped"
                )
                continue
            subset = random_subset(data.train, count, self.seed)
            names.append(f"{first}@{100 * share:g}%")
            heads.append(self.train(names[-1], subset, {first: chosen[first]}, workdir, progress))
        memory = self.memory(progress) if options.incontext.images else None
        if memory is not None:
            names.append(INCONTEXT)
        logits = window_logits(
            self.encoder,
            Readers(heads, memory),
            neighbours=options.incontext.neighbours,
            temperature=options.incontext.temperature,
        )
        tested, counts = self.test(logits, len(names), progress)
        matrices = dict(zip(names, tested, strict=True))
        yield from self.results(matrices, counts)
        if devices.is_main():
            self.write_tables(matrices, workdir)
            self.write_items(names, counts, workdir)
            self.draw(logits, workdir)

    @property
    def readouts(self) -> dict[str, tuple[int, ...]]:
        """The blocks that each head reads."""
        return readouts(self.options.readouts, self.encoder.depth)

    @property
    def sliding(self) -> SlidingWindow:
        """The windows of test images."""
        return SlidingWindow(self.data.crop, self.data.stride, self.options.window_batch)

    def train(
        self,
        name: str,
        source: Source,
        chosen: Mapping[str, tuple[int, ...]],
        workdir: WorkDir,
        progress: Progress,
    ) -> PixelHeads:
        """Trains heads on the images of a source, with checkpoints in the work directory."""
        config, data = self.options, self.data
        rngs = nnx.Rngs(self.seed)
        heads = PixelHeads(chosen, widths(self.encoder, data.crop), len(data.classes), rngs=rngs)
        rate = learning_rate(config.iterations, peak=config.learning_rate, warmup=config.warmup)
        recipe = optimizer(
            rate, weight_decay=config.weight_decay, decay_bias=decays_bias(self.encoder)
        )
        state, step = training_program(self.encoder, heads, recipe)
        checkpointer = Checkpointer(workdir.path / "segmentation" / data.name / "heads" / name)
        batches = self.batches(source)
        title = f"{data.name}: training heads on {len(source)} images"
        losses: list[np.ndarray] = []
        with progress.bar(title, config.iterations) as advance:

            def log(number: int, metrics: Mapping[str, np.ndarray]) -> None:
                losses[:] = [metrics["loss"]]
                advance(1)

            state = fit(
                step,
                state,
                batches,
                steps=config.iterations,
                put=devices.shard,
                checkpointer=checkpointer,
                log=log,
            )
        if losses:  # otherwise training was already complete
            checkpointer.save(config.iterations, state, batches.get_state())
            checkpointer.wait()
        batches.close()
        return nnx.merge(nnx.graphdef(heads), state.heads)

    def batches(self, source: Source) -> Loader:
        """This process's rows of shuffled training crops."""
        return load(
            source,
            self.data.train_transform,
            batch_size=self.options.batch_size,
            shuffle=True,
            epochs=None,
            seed=self.seed,
            workers=self.options.workers,
            process_index=devices.process_index(),
            process_count=devices.num_processes(),
        )

    def memory(self, progress: Progress) -> Memory:
        """The labelled patches of `incontext.images` training crops."""
        crops = self.options.incontext.images
        count = -(-crops // self.options.batch_size)
        batches = self.batches(self.data.train)
        with progress.bar(f"{self.data.name}: encoding labelled patches", count) as advance:

            def on_devices() -> Iterator[dict[str, jax.Array]]:
                for _ in range(count):
                    yield devices.shard(next(batches).arrays)
                    advance(1)

            classes = len(self.data.classes)
            memory = labelled_patches(self.encoder, on_devices(), classes, crops)
        batches.close()
        return memory

    def test(
        self, logits: WindowLogits, heads: int, progress: Progress
    ) -> tuple[
        Int64[np.ndarray, "heads classes classes"], Int32[np.ndarray, "image heads 3 classes"]
    ]:
        """Confusion matrices over all test images, and the `image_counts` of each image.

        Each process tests its share of the images.
        """
        classes, processes = len(self.data.classes), devices.num_processes()
        total = np.zeros((heads, classes, classes), np.int64)
        counts = np.zeros((len(self.data.test), heads, 3, classes), np.int32)
        share = range(devices.process_index(), len(counts), processes)
        with progress.bar(f"{self.data.name}: testing", len(share)) as advance:
            matrices = evaluate(logits, self.images(), self.sliding)
            for number, matrix in zip(share, matrices, strict=True):
                total += matrix
                counts[number] = image_counts(matrix)
                advance(1)
        return devices.add_up(total), devices.add_up(counts)

    def images(self) -> Iterator[LabelledImage]:
        """This process's share of the test images."""
        batches = load(
            self.data.test,
            self.data.test_transform,
            batch_size=devices.num_processes(),
            shuffle=False,
            epochs=1,
            process_index=devices.process_index(),
            process_count=devices.num_processes(),
        )
        for batch in batches:
            if batch.valid[0]:
                (label,) = batch.arrays["label"]
                yield LabelledImage(batch.ids[0], batch.arrays["image"][0], label)
        batches.close()

    def results(
        self,
        matrices: Mapping[str, Int64[np.ndarray, "classes classes"]],
        counts: Int32[np.ndarray, "image heads 3 classes"],
    ) -> Iterator[Row]:
        """Yields mIoU, mAcc and aAcc of every head with 95 % intervals over images; for the first head also
        each class and its kinds of error."""
        row = functools.partial(Row, self.data.name, TASK)
        for number, (name, matrix) in enumerate(matrices.items()):
            scores = segmentation_scores(matrix)
            intervals = segmentation_intervals(counts[:, number])
            for key, value, interval in (
                ("mIoU", scores.mean_iou, intervals.mean_iou),
                ("mAcc", scores.mean_accuracy, intervals.mean_accuracy),
                ("aAcc", scores.pixel_accuracy, intervals.pixel_accuracy),
            ):
                yield row(key, value, head=name, low=interval.low, high=interval.high)
        first, matrix = next(iter(matrices.items()))
        for score in class_scores(matrix, self.data.classes):
            if not np.isnan(score.iou):
                yield row("IoU", score.iou, head=first, group=score.name)
        if len(set(self.data.objects)) < len(self.data.objects):
            same, other = error_shares(matrix, self.data.objects)
            yield row("taken for another part of the object", same, head=first)
            yield row("taken for a part of another object", other, head=first)

    def write_tables(
        self, matrices: Mapping[str, Int64[np.ndarray, "classes classes"]], workdir: WorkDir
    ) -> None:
        """Writes classes.csv and confusions.csv (of the first head) to the work directory."""
        classes = self.data.classes
        self.keep(workdir, "classes.csv", class_table(matrices, classes))
        matrix = next(iter(matrices.values()))
        table = confusion_table(matrix, classes, self.data.objects)
        self.keep(workdir, "confusions.csv", table)

    def write_items(
        self,
        heads: Sequence[str],
        counts: Int32[np.ndarray, "image heads 3 classes"],
        workdir: WorkDir,
    ) -> None:
        """Writes segmentation_DATA.npz (`jaxpart.runs.items`) to the work directory.

        It has ids and labelled pixels of the test images, the classes, and each head's "counts": correct,
        labelled and predicted pixels of each image and class.
        """
        items = {
            "ids": np.array([self.data.test.annotation(i).id for i in range(len(self.data.test))]),
            "classes": np.array(self.data.classes),
            "labelled": counts[:, 0, 1],
        }
        counts_of = {
            Key(self.data.name, TASK, "counts", head): counts[:, number]
            for number, head in enumerate(heads)
        }
        workdir.file(items_file(TASK, self.data.name), items_npz(items, counts_of))

    def draw(self, logits: WindowLogits, workdir: WorkDir) -> None:
        """Draws the first head's predictions for the first test images."""
        images = itertools.islice(self.images(), self.options.pictures)
        colours = palette(self.data.test.info.name, self.data.classes)
        for index, (image, predictions) in enumerate(predict(logits, images, self.sliding)):
            record = self.data.test[index * devices.num_processes()]
            original = decode(record.image, record.annotation.id, upright=True)
            name = re.sub(r"[^\w.-]+", "_", image.id).strip("_")
            name = name.encode()[-_LONGEST_NAME:].decode(errors="ignore")
            content = picture(original, image.label, predictions[0], self.data.classes, colours)
            self.keep(workdir, f"pictures/{index:02d}_{name}.png", content)

    def keep(self, workdir: WorkDir, name: str, content: bytes) -> None:
        """Writes a file to this data set's folder in the work directory."""
        workdir.file(f"segmentation/{self.data.name}/{name}", content)
