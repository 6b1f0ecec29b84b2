"""Charts of what runs measured: what is on their axes."""

from made_runs import made_run

from jaxpart.report.figures import run_figures
from jaxpart.report.runs import read_runs

VALUES = (
    {f"critters/retrieval/block{i}/embedding/AP": 0.1 * i for i in range(11)}
    | {f"critters/retrieval/projector{i}/AP": 0.9 - 0.1 * i for i in (1, 2)}
    | {"critters/retrieval/projection/AP": 0.3, "critters/retrieval/predictor1/AP": 0.25}
    | {"critters/layers/block0/embedding/objects/AP": 0.2, "critters/layers/chance/objects/AP": 0.1}
    | {f"critters_part/segmentation/block{i}/mIoU": 0.2 for i in (0, 1)}
    | {f"{data}/segmentation/paper/mIoU": 0.4 for data in ("critters_object", "critters_part")}
    | {f"critters_part/segmentation/paper/mIoU_{end}": 0.3 for end in ("low", "high")}
)


def test_blocks_then_layers_of_the_projector(tmp_path):
    runs = read_runs([made_run(tmp_path / "a", values=VALUES)])
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
