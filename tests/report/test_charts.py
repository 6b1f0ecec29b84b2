"""Charts of what runs measured: what is on their axes."""

import dataclasses

import numpy as np
from made_patches import patch_set
from made_runs import made_run

from jaxpart.report.figures import run_figures
from jaxpart.report.figures.galleries import galleries
from jaxpart.report.runs import read_runs
from jaxpart.runs.rows import Row

RETRIEVED = (
    {f"block{i}/embedding": 0.1 * i for i in range(11)}
    | {f"projector{i}": 0.9 - 0.1 * i for i in (1, 2)}
    | {"projection": 0.3, "predictor1": 0.25}
)
ROWS = [
    *(Row("critters", "retrieval", "AP", v, representation=k) for k, v in RETRIEVED.items()),
    Row("critters", "retrieval", "AP", 0.9, "untrained", "block0/embedding"),
    Row("critters", "retrieval", "AP", 0.9, representation="block0/embedding", group="eye"),
    Row("critters", "layers", "AP", 0.2, representation="block0/embedding", group="objects"),
    Row("critters", "layers", "AP", 0.1, "baseline", "chance", group="objects"),
    *(Row("critters_part", "segmentation", "mIoU", 0.2, f"block{i}") for i in (0, 1)),
    Row("critters_object", "segmentation", "mIoU", 0.4, "paper"),
    Row("critters_part", "segmentation", "mIoU", 0.4, "paper", low=0.3, high=0.3),
]


def test_blocks_then_layers_of_the_projector(tmp_path):
    runs = read_runs([made_run(tmp_path / "a", rows=ROWS)])
    found = {one.name: one for one in run_figures(runs) if not isinstance(one, str)}
    retrieval, layers, segmentation = found["over_blocks"].figure.axes
    ticks = [label.get_text() for label in retrieval.get_xticklabels()]
    assert ticks == [*map(str, range(11)), "p1", "p2", "out", "q1"]
    blocks, further, _ = retrieval.lines
    assert blocks.get_xdata()[-1] == further.get_xdata()[0] == 10
    assert further.get_ydata().tolist() == [100, 80, 70, 30, 25]
    assert [label.get_text() for label in segmentation.get_xticklabels()] == ["0", "1"]
    assert layers.get_title(loc="left") == "critters, layers objects (AP)"
    assert len(layers.lines) == 1
    assert "layer of the projector" in found["over_blocks"].caption
    whisker = found["object_against_part"].figure.axes[0].lines[2]
    assert whisker.get_xdata().tolist() == [30, 30]


def test_correspondence_over_blocks(tmp_path):
    rows = [
        Row("spair", "correspondence", "PCK@0.10", 0.1 * (i + 1), "", f"block{i}/tokens")
        for i in range(3)
    ]
    rows.append(Row("spair", "correspondence", "PCK@0.10", 0.9, "", "block0/tokens", "cat"))
    runs = read_runs([made_run(tmp_path / "a", rows=rows)])
    found = {one.name: one for one in run_figures(runs) if not isinstance(one, str)}
    (axis,) = found["over_blocks"].figure.axes
    assert axis.get_title(loc="left") == "spair, correspondence (PCK@0.10)"
    assert axis.lines[0].get_ydata().round(6).tolist() == [10, 20, 30]


def test_unsupervised_parts_over_blocks(tmp_path):
    rows = [
        Row("critters", "unsupervised_parts", metric, 0.1 * (i + 1), head, f"block{i}/tokens")
        for i in range(3)
        for head in ("kmeans@8", "nmf@8")
        for metric in ("NMI", "ARI")
    ]
    rows.append(Row("critters", "unsupervised_parts", "NMI", 0.9, "kmeans@8", "same_position"))
    runs = read_runs([made_run(tmp_path / "a", rows=rows)])
    found = {one.name: one for one in run_figures(runs) if not isinstance(one, str)}
    axes = found["over_blocks"].figure.axes
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles == [f"critters, {head}@8 unsupervised parts (NMI)" for head in ("kmeans", "nmf")]
    assert axes[0].lines[0].get_ydata().round(6).tolist() == [10, 20, 30]


def test_queries_of_a_gallery_are_of_one_size():
    one = patch_set()
    wide, high = (picture.resize(size) for picture, size in
                  zip(one.pictures, ((224, 100), (90, 224)), strict=False))  # fmt: skip
    one = dataclasses.replace(one, pictures=[wide, high, *one.pictures[2:]])
    one.box[0] = (0.9, 0.4, 1.1, 0.6)  # beyond the edge
    for picture in galleries(dataclasses.replace(one, part=np.arange(24, dtype=np.int32) // 8)):
        queries = [axis for axis in picture.figure.axes if axis.patches]
        assert len(queries) == 3
        for axis in queries:
            (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
            assert right - left == bottom - top
            (x, y), width = axis.patches[0].get_xy(), axis.patches[0].get_width()
            assert left <= x + width / 2 <= right
            assert top <= y <= bottom
