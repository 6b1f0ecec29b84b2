"""Tables: ours beside the paper's, or not."""

import csv
import dataclasses
import io
import json

import pytest
from made_runs import made_run

from jaxpart.errors import JaxpartError
from jaxpart.io.files import write_json
from jaxpart.report import formats
from jaxpart.report.layouts import paper_values
from jaxpart.report.runs import read_runs
from jaxpart.report.seeds import averaged
from jaxpart.report.summary import summaries
from jaxpart.report.tables import other_tables, paper_tables
from jaxpart.runs.rows import Row

SEGMENTATION = "table4_part_segmentation"
CUB, COCO = "cub_parts", "coco_person_parts"
ROWS = [
    Row(CUB, "retrieval", "images", 11788),
    Row(CUB, "retrieval", "patches", 24000),
    Row(CUB, "retrieval", "AP", 0.5, representation="embedding"),
    Row(CUB, "retrieval", "AP", 0.9, representation="embedding", group="eye"),
    Row(CUB, "classification", "train_images", 5994),
    Row(CUB, "classification", "test_images", 5794),
    Row(CUB, "classification", "best", 0.94, "linear", "cls_token", low=0.93, high=0.95),
    Row("critters", "retrieval", "AP", 0.7, representation="embedding"),
    Row("critters", "retrieval", "AP", 0.6, representation="block0/embedding"),
]


def table_of(tables, name):
    return next(table for table in tables if table.name == name)


def row_of(table, label):
    return next(row for row in table.rows if row.label == label)


def test_ours_beside_the_papers(tmp_path):
    tables = paper_tables(read_runs([made_run(tmp_path / "a", rows=ROWS)]))
    retrieval = table_of(tables, "table3_part_retrieval")
    encoded, projected, *_ = row_of(retrieval, "iBOT").cells
    assert (encoded.ours, encoded.paper) == (50.0, 49.3)
    assert encoded.difference == pytest.approx(0.7)
    assert (projected.ours, projected.paper, projected.difference) == (None, 31.2, None)
    assert [row.label for row in retrieval.rows] == [
        "DeiT", "MoCo v3", "DINO", "BEiT", "MAE", "CAE", "iBOT",
    ]  # fmt: skip
    assert row_of(retrieval, "DeiT").cells[0].paper == 35.0
    cell = row_of(table_of(tables, "table3_part_classification"), "iBOT").cells[0]
    assert (cell.ours, cell.low, cell.high) == (94.0, 93.0, 95.0)
    assert not table_of(tables, "table1_imagenet_probing").measured


def test_imagenet_is_probed_on_what_each_methods_recipe_reads(tmp_path):
    rows = [
        Row("imagenet", "object_classification", "train", 1281167),
        Row("imagenet", "object_classification", "test", 50000),
        Row("imagenet", "object_classification", "best", 0.8, "linear", "cls_token"),
        Row("imagenet", "object_classification", "best", 0.773, "linear", "cls_token+embedding"),
        Row("imagenet", "object_classification", "best", 0.778, "attentive", "tokens"),
    ]
    own = Row("imagenet", "object_classification", "chosen", 0.818, "own", "classifier")
    folders = [
        made_run(tmp_path / "dino", "dino", rows=rows),
        made_run(tmp_path / "mae", "mae", rows=rows),
        made_run(tmp_path / "beit", "beit", rows=rows[:-1]),  # not on the block that it reads
        made_run(tmp_path / "deit", "deit", rows=[*rows[:2], own]),
        made_run(tmp_path / "vit", "vit", rows=rows[::-1]),
    ]
    table = table_of(paper_tables(read_runs(folders)), "table1_imagenet_probing")
    shown = {name: [cell.ours for cell in row_of(table, name).cells]
             for name in ("DINO", "MAE", "BEiT", "DeiT", "vit")}  # fmt: skip
    assert shown == {
        "DINO": [pytest.approx(77.3), pytest.approx(77.8)],
        "MAE": [80.0, pytest.approx(77.8)],
        "BEiT": [None, None],
        "DeiT": [pytest.approx(81.8)] * 2,
        "vit": [pytest.approx(77.3), pytest.approx(77.8)],  # the first that it lists
    }
    assert "DINO: linear/cls_token+embedding, attentive/tokens." in table.notes
    assert "DeiT: own/classifier." in table.notes
    assert paper_values("dino", rows) == {rows[3].key: 77.3, rows[4].key: 77.8}


@pytest.mark.parametrize(
    ("about", "caveat"),
    [
        ({"trained": False}, "UNTRAINED"),
        ({"width": 128}, "miniature, 12 blocks of width 128"),
        ({"width": None}, "size not recorded"),
        ({"patch_size": 8}, "another size, 12 blocks of width 768, patch 8"),
        ({"weights": "yours"}, "your weights"),
        ({"weights": None}, "your weights"),
    ],
)
def test_others_are_never_beside_the_papers(tmp_path, about, caveat):
    tables = paper_tables(read_runs([made_run(tmp_path / "a", rows=ROWS, **about)]))
    retrieval = table_of(tables, "table3_part_retrieval")
    assert retrieval.rows[6].cells[0].ours is None  # the paper's own row
    last = retrieval.rows[7]
    assert caveat in last.caveat
    assert last.cells[0].ours == 50.0
    assert all(cell.paper is None for cell in last.cells)
    for text in (formats.markdown(retrieval), formats.latex(retrieval), formats.as_csv(retrieval)):
        assert caveat in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"images": 120, "patches": 245},
            "cub_parts: 245 of some 24 000 patches, 120 of 11 788 images",
        ),
        ({"images": None}, "cub_parts: 24 000 of some 24 000 patches, unknown"),
        ({"skipped": 3}, "cub_parts: 3 skipped"),
    ],
)
def test_data_of_another_size_is_told_and_not_compared(tmp_path, changes, said):
    rows = [row for row in ROWS if (row.data, row.metric) not in [(CUB, name) for name in changes]]
    rows += [Row(CUB, "retrieval", k, v) for k, v in changes.items() if v is not None]
    rows += [Row(COCO, "retrieval", "images", 64115)]
    rows += [Row(COCO, "retrieval", "AP", 0.6, representation="embedding")]
    tables = paper_tables(read_runs([made_run(tmp_path / "a", rows=rows)]))
    retrieval = table_of(tables, "table3_part_retrieval")
    assert retrieval.rows[6] == dataclasses.replace(retrieval.rows[6], label="iBOT", apart=False)
    assert retrieval.rows[6].cells[0].ours is None
    last = retrieval.rows[7]
    assert last.apart
    assert said in last.caveat
    assert "coco" not in last.caveat
    assert [cell.paper for cell in last.cells] == [None, None, 59.2, None]
    assert [cell.ours for cell in last.cells] == [50, None, 60, None]
    for text in (formats.markdown(retrieval), formats.latex(retrieval), formats.as_csv(retrieval)):
        assert said.replace("_", "") in text.replace("\\_", "").replace("_", "")
    classified = table_of(tables, "table3_part_classification")  # of the paper's size
    assert row_of(classified, "iBOT").cells[0].difference == pytest.approx(0.2)


def test_what_the_papers_figures_are_of(tmp_path):
    """Beside MAE: permuted patches; beside DeiT: a file that is not known."""
    runs = read_runs([made_run(tmp_path / "a", "mae", rows=ROWS)])
    retrieval = table_of(paper_tables(runs), "table3_part_retrieval")
    said = "the paper's with patches permuted against positions"
    assert row_of(retrieval, "MAE").caveat == said
    assert not row_of(retrieval, "MAE").apart
    assert row_of(retrieval, "MAE").cells[0].paper == 28.5
    assert (
        "encoder.patch_order = kept (paper: permuted, drawn again in every pass)"
        in retrieval.notes[1]
    )
    assert f"MAE ({said})" in formats.markdown(retrieval)
    assert "which DeiT file" in row_of(retrieval, "DeiT").caveat
    segmented = table_of(paper_tables(runs), "table4_part_segmentation")
    assert row_of(segmented, "MAE").caveat == ""


def test_departures_from_the_papers_configuration_are_told(tmp_path):
    folder = made_run(tmp_path / "a", rows=ROWS)
    config = json.loads((folder / "config.json").read_text())
    config["retrieval"]["exclude_self"] = True
    config["retrieval"]["batch_size"] = 7  # decides nothing
    config["encoder"]["precision"] = "bfloat16"
    config["classification"]["linear"]["drop_last"] = True
    write_json(folder / "config.json", config)
    tables = paper_tables(read_runs([folder]))
    (note,) = table_of(tables, "table3_part_classification").notes[1:]
    assert "classification.linear.drop_last = True (paper: False)" in note
    (note,) = table_of(tables, "table3_part_retrieval").notes[1:]
    assert note == (
        "iBOT was not run with the paper's settings: retrieval.exclude_self = True (paper: False), "
        "encoder.precision = bfloat16 (paper: float32)."
    )


def test_rules_that_nobody_asked_for_stand_below(tmp_path):
    rows = [Row(data, "segmentation", "mIoU", 0.4, "paper") for data in ("lip", "critters_part")]
    folder = made_run(tmp_path / "a", rows=rows)
    results = json.loads((folder / "results.json").read_text())
    results["rules"] = {"segmentation": {"positions": "bicubic", "resize": "opencv"}}
    (folder / "results.json").write_text(json.dumps(results))
    runs = read_runs([folder])
    note = "iBOT, segmentation: positions: bicubic; resize: opencv."
    assert table_of(paper_tables(runs), SEGMENTATION).notes[1:] == [note]
    assert other_tables(runs)[0].notes == [note]


def test_other_data_and_several_runs(tmp_path):
    runs = read_runs([made_run(tmp_path / name, rows=ROWS) for name in ("a", "b")])
    assert [run.label for run in runs] == ["iBOT (a)", "iBOT (b)"]
    (table,) = other_tables(runs)
    assert table.columns == ["embedding", "block0/embedding"]
    assert [[cell.ours for cell in row.cells] for row in table.rows] == [[70, 60], [70, 60]]
    assert runs[0].steps == {"loss": [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]}
    assert next(iter(runs[0].curves().values())).shape == (5,)


def test_accuracies_that_were_not_chosen_on_the_test_set(tmp_path):
    rows = [
        *ROWS,
        Row(CUB, "classification", "last", 0.93, "linear", "cls_token"),
        Row(CUB, "classification", "chosen", 0.92, "linear", "cls_token"),
        Row(CUB, "classification", "chosen", 0.9, "knn", "cls_token"),
    ]
    tables = other_tables(read_runs([made_run(tmp_path / "run", rows=rows)]))
    table = table_of(tables, f"{CUB}_classification_chosen")
    headings = ["linear/cls_token, last", "linear/cls_token, chosen", "knn/cls_token, chosen"]
    assert table.columns == headings
    assert [cell.ours for cell in table.rows[0].cells] == pytest.approx([93, 92, 90])
    assert not any(table.name == f"{CUB}_classification" for table in tables)  # the paper's table


def test_what_runs_of_a_table_do_not_share_stands_below(tmp_path):
    folders = [made_run(tmp_path / "a", rows=ROWS)]
    folders.append(made_run(tmp_path / "b", rows=ROWS, precision="bfloat16"))
    for name, folder in zip("ab", folders, strict=True):
        config = json.loads((folder / "config.json").read_text())
        config["data"]["version"] = "ab".index(name) + 1
        (folder / "config.json").write_text(json.dumps(config))
        identity = {"the data of critters/retrieval (test)": name, "the encoder": name}
        (folder / "identity.json").write_text(json.dumps(identity))
    runs = read_runs(folders)
    (table,) = other_tables(runs)
    assert [row.caveat for row in table.rows] == ["", "in bfloat16"]
    version, pictures = table.notes
    assert version == "They differ in data.version: 1 (iBOT (a)); 2 (iBOT (b))."
    assert pictures.endswith("critters/retrieval (test): iBOT (a) against iBOT (b).")
    paper = table_of(paper_tables(runs), "table3_part_retrieval")
    assert [row.caveat for row in paper.rows if row.label.startswith("iBOT")] == ["", "in bfloat16"]
    assert not any("data.version" in note for note in paper.notes)  # which is of critters alone


def test_settings_of_segmentation_that_are_not_the_papers_are_told(tmp_path):
    folder = made_run(tmp_path / "a", rows=[Row("lip", "segmentation", "mIoU", 0.4, "paper")])
    config = json.loads((folder / "config.json").read_text())
    config["segmentation"]["settings"]["lip"]["stride"] = 320
    (folder / "config.json").write_text(json.dumps(config))
    (note,) = table_of(paper_tables(read_runs([folder])), SEGMENTATION).notes[1:]
    assert "segmentation.settings.lip.stride = 320 (paper: 161)" in note


def retrieved(**chance):
    """What two representations, chance and pixels give on CUB and critters."""
    return [
        Row(data, "retrieval", "AP", value, head, representation, low=low, high=high)
        for data in (CUB, "critters")
        for head, representation, value, low, high in (
            ("", "embedding", 0.4, None, None),
            ("", "projection", 0.3, None, None),
            ("baseline", "chance", chance.get(data, 0.25), None, None),
            ("baseline", "pixels12_grey", 0.35, 0.34, 0.36),
            ("untrained", "projection", 0.31, None, None),
        )
    ]


def test_baselines_stand_below(tmp_path):
    runs = read_runs(
        [
            made_run(tmp_path / "a", rows=retrieved()),
            made_run(tmp_path / "b", "dino", rows=retrieved(critters=0.27)),
        ]
    )
    note = "iBOT: projection on {} (30.0) is not above 12 × 12 pixels, grey (35.0)."
    table = table_of(paper_tables(runs), "table3_part_retrieval")
    assert [row.label for row in table.rows[7:]] == [
        "iBOT",
        "DINO",
        "chance",
        "12 × 12 pixels, grey",
        "untrained encoder",
    ]
    cells = [[cell.ours for cell in row.cells] for row in table.rows[9:]]
    assert cells == [[25, 25, None, None], [35, 35, None, None], [None, 31, None, None]]
    assert (table.rows[10].cells[0].low, table.rows[10].cells[0].paper) == (34, None)
    assert note.format("cub_parts") in table.notes
    (other,) = other_tables(runs)
    assert other.columns == ["embedding", "projection"]
    assert [row.label for row in other.rows] == [
        "iBOT",
        "DINO",
        "chance, of iBOT",
        "chance, of DINO",
        "12 × 12 pixels, grey",
        "untrained encoder",
    ]
    assert note.format("critters") in other.notes
    for text in (formats.markdown(other), formats.latex(other), formats.as_csv(other)):
        assert "baseline" in text


def test_runs_of_several_seeds_have_a_row_together(tmp_path):
    folders = [
        made_run(
            tmp_path / f"s{i}",
            rows=[
                *ROWS[:-2],
                Row("critters", "retrieval", "AP", 0.7 + i / 100, representation="embedding"),
            ],
        )
        for i in range(3)
    ]
    for seed, folder in enumerate(folders):
        config = json.loads((folder / "config.json").read_text())
        config["seed"] = 0 if seed == 2 else seed
        config["encoder"]["checkpoint"] = f"pretrained/{seed}"
        write_json(folder / "config.json", config)
    assert averaged(read_runs(folders)) == []  # two have the same seed
    runs = read_runs(folders[:2])
    (joined,) = averaged(runs)
    (table,) = other_tables([*runs, joined])
    row = row_of(table, "iBOT, mean of 2 seeds (s0, s1)")
    assert row.cells[0].ours == pytest.approx(70.5)
    half = 12.706 * 0.5  # Student's t for two runs, their deviation over the root of 2
    assert (row.cells[0].low, row.cells[0].high) == pytest.approx(
        (70.5 - half, 70.5 + half), rel=1e-4
    )
    paper = table_of(paper_tables([*runs, joined]), "table3_part_classification")
    assert row_of(paper, row.label).cells[0].low == pytest.approx(94)  # not that of one run
    for folder in folders[:2]:  # one encoder, whose probes were trained twice
        results = json.loads((folder / "results.json").read_text())
        results["encoder"]["digest"] = "one"
        write_json(folder / "results.json", results)
    (joined,) = averaged(read_runs(folders[:2]))
    paper = table_of(paper_tables([joined]), "table3_part_classification")
    assert row_of(paper, row.label).cells[0].low == pytest.approx(93)  # its own interval
    config["data"]["seed"], config["seed"] = 1, 2
    write_json(folders[2] / "config.json", config)
    assert [run.label for run in averaged(read_runs(folders))] == [row.label]
    write_json(folders[0] / "identity.json", {"the data of critters/retrieval (test)": "other"})
    assert averaged(read_runs(folders[:2])) == []


def test_formats(tmp_path):
    evil = made_run(tmp_path / "=1|2_%$<b>", rows=ROWS)
    other = made_run(tmp_path / "b", rows=ROWS)
    runs = read_runs([evil, other])
    table = table_of(paper_tables(runs), "table3_part_classification")
    text = formats.markdown(table)
    assert r"iBOT (=1\|2\_%$\<b\>)" in text
    assert "94.0 (93.0–95.0) | 93.8 | +0.2 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1
    latex = formats.latex(table)
    assert r"iBOT (=1|2\_\%\$<b>)" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    assert r"94.0 {\scriptsize 93.0--95.0} & 93.8 & +0.2" in latex
    lines = list(csv.DictReader(io.StringIO(formats.as_csv(table))))
    assert len(lines) == 8 * 4
    table.rows[6].cells[0] = dataclasses.replace(table.rows[6].cells[0], deviation=0.34)
    assert "94.0 ± 0.3 (93.0–95.0)" in formats.markdown(table)
    assert r"94.0 $\pm$ 0.3 {\scriptsize" in formats.latex(table)
    assert "94.0000,93.0000,95.0000,0.3400,93.8000" in formats.as_csv(table)
    (first,) = [x for x in lines if x["encoder"] == "iBOT (b)" and x["column"] == "CUB linear"]
    assert (first["ours"], first["low"], first["difference"]) == ("94.0000", "93.0000", "0.2000")
    missing = next(x for x in lines if x["encoder"] == "DeiT")
    assert (missing["ours"], missing["paper"]) == ("", "90.9000")


def test_mistakes_get_one_sentence(tmp_path):
    good = made_run(tmp_path / "good", rows=[])
    with pytest.raises(JaxpartError, match="no work directory"):
        read_runs([tmp_path / "none"])
    with pytest.raises(JaxpartError, match="named twice"):
        read_runs([good, tmp_path / "good" / ".." / "good"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(JaxpartError, match="not finished"):
        read_runs([tmp_path / "empty"])
    (good / "results.json").write_text("{}")
    with pytest.raises(JaxpartError, match="has no encoder"):
        read_runs([good])
    document = {"encoder": {"name": "ibot", "trained": True}, "rules": {}}
    for rest, sentence in (
        ({"rows": []}, "holds no results of format version 2, .*; run again"),
        ({"version": 3, "rows": []}, "holds no results of format version 2"),
        ({"version": 2}, "it has no rows"),
        ({"version": 2, "rows": [{"data": "cub_parts", "task": "x"}]}, "row 0: .*'metric' is miss"),
        ({"version": 2, "rows": [ROWS[0].fields() | {"low": "a"}]}, "low is 'a', not a number"),
        (
            {"version": 2, "rows": [ROWS[0].fields() | {"x": 1}]},
            "row 0: it has x, which is unknown",
        ),
    ):
        write_json(good / "results.json", document | rest)
        with pytest.raises(JaxpartError, match=sentence):
            read_runs([good])
    (good / "results.json").write_text("{")
    with pytest.raises(JaxpartError, match="is damaged"):
        read_runs([good])


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("results.json", {"runs": 5}, "its 'runs' is 5"),
        ("results.json", {"runs": [5]}, r"its 'runs' is \[5\]"),
        ("results.json", {"runs": ["../other"]}, "its 'runs' is"),
        ("results.json", {"rules": 5}, "its 'rules' is 5"),
        ("results.json", {"rules": {"retrieval": ["a"]}}, "its 'rules' is"),
        (
            "results.json",
            {"rows": [ROWS[0].fields() | {"value": 10**400}]},
            "value is too large a n",
        ),
        (
            "results.json",
            {"encoder": {"name": "ibot", "trained": True, "width": "x"}},
            "encoder.width is 'x'; give a whole number",
        ),
        ("config.json", {"data": None}, "has no data.sets, so it is not of a run by this version"),
        ("config.json", {"data": {"sets": 3}}, "data.sets is 3"),
        ("config.json", {"retrieval": 3}, "has no retrieval.representations"),
        ("config.json", {"method": ["a"]}, r"method is \['a'\]; give a string; copy it again"),
        ("config.json", {"seed": [1]}, r"seed is \[1\]"),
        (
            "config.json",
            {"tasks": ["layers", "attention", "correspondence"]},
            "no correspondence.s",
        ),
    ],
)
def test_fields_of_other_types_are_told(tmp_path, file, change, sentence):
    path = made_run(tmp_path / "a", rows=ROWS) / file
    write_json(path, json.loads(path.read_text()) | change)
    with pytest.raises(JaxpartError, match=sentence):
        read_runs([tmp_path / "a"])


@pytest.mark.parametrize(
    ("step", "value"), [("1", '"abc"'), ("1e400", "1"), ("1", "1" + "0" * 400)]
)
def test_measurements_that_are_no_numbers_are_told(tmp_path, step, value):
    path = made_run(tmp_path / "a", rows=ROWS)
    (path / "metrics.jsonl").write_text(f'{{"name": "loss", "step": {step}, "value": {value}}}\n')
    with pytest.raises(JaxpartError, match=r"metrics.jsonl, line 1 is damaged"):
        read_runs([path])


def test_summaries_of_what_fits_beside_each_other(tmp_path):
    names = [("retrieval", "AP", "", "embedding"), ("retrieval", "AP", "", "projection"),
             ("classification", "best", "linear", "cls_token")]  # fmt: skip
    rows = [Row(data, task, metric, 0.5, head, representation)
            for task, metric, head, representation in names for data in ("a", "b", "c")]  # fmt: skip
    rows.append(Row("a", "retrieval", "AP", 0.6, "baseline", "chance"))
    one = made_run(tmp_path / "one", rows=rows)
    other = made_run(tmp_path / "two", rows=[rows[0]])
    first, second = summaries(read_runs([one, other]))
    assert [len(table.columns) for table in (first, second)] == [6, 3]
    assert first.columns[:3] == [
        "retrieval, encoded (a)", "retrieval, projected (a)", "part probing, linear, best epoch (a)"
    ]  # fmt: skip
    assert [row.label for row in first.rows] == ["iBOT (one)", "iBOT (two)", "baseline: chance"]
    assert [row.label for row in second.rows] == ["iBOT (one)"]
    assert "retrieval, encoded (a): iBOT (one) is not above chance (60.0)." in first.notes
    assert summaries(read_runs([made_run(tmp_path / "none", rows=[])])) == []
