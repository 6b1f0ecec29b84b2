"""Feature files and results against each other."""

import ast
import importlib.resources
import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxpart.config import part_config
from jaxpart.runs.rows import VERSION, Row
from jaxpart.verify.__main__ import main

ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
IDS = [f"image{i}" for i in range(6)]


@pytest.fixture
def compare(tmp_path, capsys):
    """(kind, A, B, options) → (exit status, what the JSON file says, what was printed)"""

    def run(kind, *arguments):
        file = tmp_path / "report.json"
        file.unlink(missing_ok=True)
        status = main([kind, *map(str, arguments), "--json", str(file)])
        printed = capsys.readouterr()
        report = json.loads(file.read_text()) if file.exists() else None
        return status, report, " ".join((printed.out + printed.err).split())

    return run


def test_rows_are_matched_by_id_and_the_worst_are_named(compare, tmp_path):
    np.savez(tmp_path / "a.npz", embedding=ROWS, ids=np.array(IDS), labels=np.arange(6))
    order = np.array([3, 1, 0, 2, 5, 4])
    other = ROWS[order].copy()
    metadata = {"ids": json.dumps([IDS[i] for i in order])}
    save_file({"embedding": other}, tmp_path / "b.safetensors", metadata)
    status, report, printed = compare("features", tmp_path / "a.npz", tmp_path / "b.safetensors")
    assert status == 0
    assert report["same"]
    assert report["arrays"]["embedding"]["rows"] == 6
    other[0, 2] += 0.5
    other[4, 1] += 0.25
    save_file({"embedding": other}, tmp_path / "b.safetensors", metadata)
    status, report, printed = compare("features", tmp_path / "a.npz", tmp_path / "b.safetensors")
    found = report["arrays"]["embedding"]
    assert status == 1
    assert found["error"] == pytest.approx(0.5, abs=1e-6)
    assert [row["row"] for row in found["worst"][:2]] == ["image3", "image5"]
    cosine = ROWS[3] @ other[0] / np.linalg.norm(ROWS[3]) / np.linalg.norm(other[0])
    assert found["worst"][0]["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert "DIFFERS; worst: image3 5.0e-01, image5 2.5e-01" in printed
    assert (
        compare("features", tmp_path / "a.npz", tmp_path / "b.safetensors", "--tolerance", 1)[0]
        == 0
    )


def test_rows_that_one_file_lacks_are_told(compare, tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS, ids=np.array(IDS))
    np.savez(tmp_path / "b.npz", x=ROWS[:4], ids=np.array(IDS[:4]))
    status, report, _ = compare("features", tmp_path / "a.npz", tmp_path / "b.npz")
    assert status == 1
    assert report["notes"] == ["2 rows are in one file alone"]
    np.savez(tmp_path / "b.npz", x=ROWS[:4])
    status, report, printed = compare("features", tmp_path / "a.npz", tmp_path / "b.npz")
    assert (status, report) == (2, None)
    assert "has 6 rows and" in printed


@pytest.mark.parametrize("tolerance", ["inf", "nan", "-1", "much"])
def test_a_tolerance_with_which_everything_is_the_same_is_refused(tolerance, capsys):
    with pytest.raises(SystemExit) as end:
        main(["features", "a.npz", "b.npz", f"--tolerance={tolerance}"])
    assert end.value.code == 2
    assert f"'{tolerance}' is not a finite number of 0 or more" in capsys.readouterr().err


def test_numpy_files_are_compared(compare, tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    np.savez(tmp_path / "b.npz", embedding=ROWS)
    assert compare("features", tmp_path / "a.npy", tmp_path / "b.npz")[0] == 0
    np.save(tmp_path / "c.npy", ROWS + 1)
    status, report, _ = compare("features", tmp_path / "a.npy", tmp_path / "c.npy")
    assert status == 1
    assert report["arrays"]["features"]["error"] == pytest.approx(1, abs=1e-6)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    status, _, printed = compare("features", tmp_path / "a.npy", tmp_path / "objects.npy")
    assert status == 2
    assert "objects.npy" in printed
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    assert compare("features", tmp_path / "a.npy", tmp_path / "cut.npy")[0] == 2


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((0, 8), np.float32), "embedding holds no rows"),
        (np.zeros((3, 0), np.float32), "embedding holds no rows or columns"),
        (np.zeros((3, 8), ml_dtypes.float8_e4m3fn), "holds no floating-point array"),  # as bytes
        (np.zeros((3, 8), "V3"), "holds no floating-point array"),
    ],
)
def test_numpy_files_without_features_are_told(array, sentence, compare, tmp_path):
    np.savez(tmp_path / "a.npz", embedding=array)
    status, _, printed = compare("features", tmp_path / "a.npz", tmp_path / "a.npz")
    assert status == 2
    assert sentence in printed


def test_bfloat16_is_compared(compare, tmp_path):
    np.savez(tmp_path / "a.npz", embedding=ROWS.astype(ml_dtypes.bfloat16))
    assert compare("features", tmp_path / "a.npz", tmp_path / "a.npz")[0] == 0


def test_a_pytorch_file_is_read_without_pytorch(compare, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"feats": torch.from_numpy(ROWS), "epoch": 3}, tmp_path / "a.pt")
    np.savez(tmp_path / "b.npz", embedding=ROWS, projection=ROWS)
    paths = tmp_path / "a.pt", tmp_path / "b.npz"
    assert compare("features", *paths, "--key", "feats=embedding")[0] == 0
    assert "match arrays with --key A=B" in compare("features", *paths)[2]
    assert (
        "has no features 'nothing'; choose from feats"
        in compare("features", *paths, "--key", "nothing")[2]
    )
    np.savez(tmp_path / "b.npz", labels=np.arange(6))
    assert "holds no floating-point array with rows" in compare("features", *paths)[2]


def test_values_that_are_not_finite_depart(compare, tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS)
    broken = ROWS.copy()
    broken[2, 0] = np.nan
    np.savez(tmp_path / "b.npz", x=broken)
    status, report, _ = compare("features", tmp_path / "a.npz", tmp_path / "b.npz")
    assert status == 1
    assert report["arrays"]["x"]["worst"][0] == {"row": "2", "error": "inf", "cosine": 0.0}


SIZE = {"width": 768, "depth": 12, "patch_size": 16}


def results(
    folder, rows, *, name="ibot", trained=True, weights="released, as you stated", **encoder
):
    folder.mkdir(exist_ok=True)
    about = {"name": name, "trained": trained, "digest": "", "weights": weights} | SIZE | encoder
    document = {"version": VERSION, "encoder": about, "rows": [row.fields() for row in rows]}
    (folder / "results.json").write_text(json.dumps(document))
    return folder


def patches(number):
    return Row("cub_parts", "retrieval", "patches", number)


def images(data, number):
    return Row(data, "retrieval", "images", number)


def encoded(value):
    return Row("cub_parts", "retrieval", "AP", value, representation="embedding")


def top1(value, low=None, high=None):
    return Row(
        "cub_parts", "classification", "best", value, "linear", "cls_token", low=low, high=high
    )


RESULTS = [patches(100), encoded(0.4931)]
NOT_KNOWN = (
    "no config.json next to it, so it is unknown whether it was run with the paper's settings"
)


def test_two_results(compare, tmp_path):
    alone = Row("x", "y", "z", 0.5)
    a = results(tmp_path / "a", [*RESULTS, alone, top1(0.9, 0.89, 0.91)])
    assert compare("results", a, a)[0] == 0
    b = results(tmp_path / "b", [patches(100), encoded(0.4940), top1(0.93, 0.905, 0.95)])
    status, report, printed = compare("results", a, b)
    assert status == 0
    names = [row.key.name for row in (*RESULTS, top1(0))]
    agrees = {name: row["agrees"] for name, row in report["results"].items()}
    assert agrees == dict(zip(names, ["equal", "tolerance", "interval"], strict=True))
    assert report["only_in"] == {str(a): [alone.key.name], str(b): []}
    assert "within the interval" in printed
    c = results(tmp_path / "c", [patches(101), RESULTS[1], top1(0.9105)])
    status, report, printed = compare("results", a / "results.json", c)
    assert status == 1
    differing = [n for n, row in report["results"].items() if row["agrees"] is None]
    assert differing == [names[0], names[2]]
    assert "2 results DIFFER" in printed
    assert compare("results", a, c, "--tolerance", 2)[0] == 1  # a count must be equal


def test_the_papers_table_is_the_reference(shared):
    reference = shared / "reference" / "paper_results.json"
    asset = importlib.resources.files("jaxpart") / "assets" / "paper_results.json"
    assert json.loads(asset.read_text()) == json.loads(reference.read_text())


def test_jaxpart_imports_neither_convert_nor_pytorch():
    """But in functions that are asked to: `jaxpart.verify`, PyTorch's old file format and functions."""
    root = importlib.resources.files("jaxpart")
    for file in root.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            for part in ast.walk(node):
                names = [alias.name for alias in part.names] if isinstance(part, ast.Import) else []
                names += [part.module or ""] if isinstance(part, ast.ImportFrom) else []
                inside = isinstance(node, ast.FunctionDef | ast.ClassDef)
                asked = file.stem in ("tensor_files", "torch_function")
                allowed = inside and (asked or file.parent.name == "verify")
                found = {name.partition(".")[0] for name in names}
                assert "convert" not in found, file
                assert allowed or not found & {"torch", "timm", "transformers"}, file


def test_the_papers_figures(compare, tmp_path):
    def segmented(data, value, train, test):
        yield Row(data, "segmentation", "mIoU", value, "paper")
        yield Row(data, "segmentation", "train_images", train)
        yield Row(data, "segmentation", "test_images", test)

    projected = Row("coco_person_parts", "retrieval", "AP", 0.4151, representation="projection")
    rows = [
        *RESULTS,
        projected,
        Row("cub_parts", "retrieval", "AP", 0.3, representation="cls_token"),
        Row("cub_parts", "retrieval", "AP", 0.3, representation="embedding", group="eye"),
        images("cub_parts", 11788),
        images("coco_person_parts", 64113),
        Row("cub_parts", "classification", "train_images", 5994),
        Row("cub_parts", "classification", "test_images", 5794),
        *segmented("lip", 0.446, 4, 10000),
    ]
    pascal = list(segmented("pascal_part", 0.1, 4998, 5105))
    a = results(tmp_path / "a", [*rows, top1(0.9, 0.88, 0.92), *pascal])
    status, report, printed = compare("results", a, "paper")
    assert status == 1
    found = report["results"]
    names = [row.key.name for row in (RESULTS[1], projected, top1(0), pascal[0])]
    assert list(found) == names
    assert [found[name]["b"] for name in names[:3]] == [0.493, 0.415, 0.938]
    assert [row["agrees"] for row in found.values()] == ["tolerance", "tolerance", None, None]
    assert "2 results DIFFER" in printed
    said = (
        "not comparable with the paper's: lip/segmentation/paper/mIoU (4 of 30 462 training images)"
    )
    assert report["notes"] == [said, NOT_KNOWN]
    assert said in printed
    wide = results(tmp_path / "a", [*rows, top1(0.9, 0.88, 0.9376)])
    assert compare("results", wide, "paper")[0] == 0


def test_the_papers_figures_beside_what_they_are_of_alone(compare, tmp_path):
    rows = [*RESULTS, images("cub_parts", 11788)]
    status, _, printed = compare("results", results(tmp_path / "a", rows, weights="yours"), "paper")
    assert status == 2
    assert "is not the paper's iBOT: your weights. If it was converted from the released" in printed
    few = results(tmp_path / "few", [*RESULTS, images("cub_parts", 120)])
    status, _, printed = compare("results", few, "paper")
    assert status == 2
    assert "embedding/AP (100 of some 24 000 patches, 120 of 11 788 images)" in printed
    mae = [patches(100), encoded(0.285), images("cub_parts", 11788)]
    status, report, _ = compare("results", results(tmp_path / "mae", mae, name="mae"), "paper")
    assert status == 0
    said = ["MAE: the paper's with patches permuted against positions", NOT_KNOWN]
    assert report["notes"] == said


def test_a_run_unlike_the_papers_is_told(compare, tmp_path):
    run = results(tmp_path / "run", [*RESULTS, images("cub_parts", 11788)])
    config = part_config("ibot", "paper", projector=True)
    (run / "config.json").write_text(config.to_json_best_effort())
    assert compare("results", run, "paper")[1]["notes"] == []
    config.retrieval.exclude_self = True
    config.encoder.precision = "bfloat16"
    (run / "config.json").write_text(config.to_json_best_effort())
    (said,) = compare("results", run, "paper")[1]["notes"]
    assert (
        "retrieval was not run with the paper's settings: retrieval.exclude_self = True (paper: "
        in said
    )
    assert "encoder.precision = bfloat16" in said


def test_what_two_runs_do_not_share_is_told(compare, tmp_path):
    def run(name, **encoder):
        folder = results(tmp_path / name, RESULTS, **encoder)
        config = part_config("ibot", "", projector=True)
        config.retrieval.exclude_self = name == "b"
        config.classification.bn_test = "batch" if name == "b" else "running"
        (folder / "config.json").write_text(config.to_json_best_effort())
        identity = {"the data of cub_parts/retrieval (all)": name}
        (folder / "identity.json").write_text(json.dumps(identity))
        return folder

    a, b = run("a"), run("b", precision="bfloat16")
    assert compare("results", a, a / "results.json")[1]["notes"] == []
    differ, options, pictures = compare("results", a, b)[1]["notes"]
    assert "B from ibot in bfloat16" in differ
    assert options == "retrieval: They differ in retrieval.exclude_self: False (A); True (B)."
    assert pictures.endswith("cub_parts/retrieval (all): A against B.")


def test_wrong_results_are_told(compare, tmp_path):
    def told(*paths):
        status, _, printed = compare("results", *paths)
        assert status == 2
        return printed

    good = results(tmp_path / "good", RESULTS)
    assert "none cannot be read (No such file" in told(tmp_path / "none", good)
    untrained = results(tmp_path / "untrained", RESULTS, trained=False)
    assert "UNTRAINED encoder, whose results say nothing about iBOT" in told(untrained, "paper")
    other = results(tmp_path / "other", RESULTS, name="dinov2")
    assert "of the encoder 'dinov2', which is not in the paper" in told(other, "paper")
    assert "no result in common" in told(good, results(tmp_path / "empty", []))
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json is damaged" in told(tmp_path / "bad.json", good)
    (tmp_path / "bad.json").write_text("[]")
    assert "not a JSON object" in told(tmp_path / "bad.json", good)
    wrong = results(tmp_path / "wrong", [encoded("high")])
    assert "row 0: value is 'high', not a number" in told(wrong, good)
    (tmp_path / "bad.json").write_text('{"values": {"cub/retrieval/embedding/AP": 0.5}}')
    assert "bad.json holds no results of format version 2" in told(tmp_path / "bad.json", good)
