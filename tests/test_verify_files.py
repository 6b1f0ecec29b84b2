"""Feature files and results against each other."""

import ast
import importlib.resources
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

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
    assert "DEPARTS; worst: image3 5.0e-01, image5 2.5e-01" in printed
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


def test_a_pytorch_file_is_read_without_pytorch(compare, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"feats": torch.from_numpy(ROWS), "epoch": 3}, tmp_path / "a.pt")
    np.savez(tmp_path / "b.npz", embedding=ROWS, projection=ROWS)
    paths = tmp_path / "a.pt", tmp_path / "b.npz"
    assert compare("features", *paths, "--key", "feats=embedding")[0] == 0
    assert "say which belong together with --key A=B" in compare("features", *paths)[2]
    assert (
        "has no features 'nothing'; choose among feats"
        in compare("features", *paths, "--key", "nothing")[2]
    )
    np.savez(tmp_path / "b.npz", labels=np.arange(6))
    assert "holds no floating point array with rows" in compare("features", *paths)[2]


def test_values_that_are_not_finite_depart(compare, tmp_path):
    np.savez(tmp_path / "a.npz", x=ROWS)
    broken = ROWS.copy()
    broken[2, 0] = np.nan
    np.savez(tmp_path / "b.npz", x=broken)
    status, report, _ = compare("features", tmp_path / "a.npz", tmp_path / "b.npz")
    assert status == 1
    assert report["arrays"]["x"]["worst"][0] == {"row": "2", "error": "inf", "cosine": 0.0}


SIZE = {"width": 768, "depth": 12, "patch_size": 16}


def results(folder, values, *, name="ibot", trained=True, weights="released, by your word"):
    folder.mkdir(exist_ok=True)
    about = {"name": name, "trained": trained, "digest": "", "weights": weights} | SIZE
    document = {"encoder": about, "values": values}
    (folder / "results.json").write_text(json.dumps(document))
    return folder


VALUES = {"cub/retrieval/patches": 100, "cub/retrieval/embedding/AP": 0.4931}
TOP1 = "cub/classification/linear/cls_token/best"


def test_two_results(compare, tmp_path):
    a = results(
        tmp_path / "a", VALUES | {"x/y": 0.5, TOP1: 0.9, f"{TOP1}_low": 0.89, f"{TOP1}_high": 0.91}
    )
    assert compare("results", a, a)[0] == 0
    near = {
        "cub/retrieval/embedding/AP": 0.4940,
        TOP1: 0.93,
        f"{TOP1}_low": 0.905,
        f"{TOP1}_high": 0.95,
    }
    b = results(tmp_path / "b", VALUES | near)
    status, report, printed = compare("results", a, b)
    assert status == 0
    agrees = {name: row["agrees"] for name, row in report["results"].items()}
    assert agrees == dict(zip([*VALUES, TOP1], ["equal", "tolerance", "interval"], strict=True))
    assert report["only_in"] == {str(a): ["x/y"], str(b): []}
    assert "within the interval" in printed
    c = results(tmp_path / "c", VALUES | {"cub/retrieval/patches": 101, TOP1: 0.9105})
    status, report, printed = compare("results", a / "results.json", c)
    assert status == 1
    assert [n for n, row in report["results"].items() if row["agrees"] is None] == [
        "cub/retrieval/patches",
        TOP1,
    ]
    assert "2 results DIFFER" in printed
    assert compare("results", a, c, "--tolerance", 2)[0] == 1  # a count must be equal


def test_the_papers_table_is_the_reference(shared):
    reference = shared / "reference" / "paper_results.json"
    asset = importlib.resources.files("jaxpart") / "assets" / "paper_results.json"
    assert json.loads(asset.read_text()) == json.loads(reference.read_text())


def test_jaxpart_imports_neither_convert_nor_pytorch():
    """But in functions that are asked to: `jaxpart.verify`, and PyTorch's old file format."""
    root = importlib.resources.files("jaxpart")
    for file in root.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            for part in ast.walk(node):
                names = [alias.name for alias in part.names] if isinstance(part, ast.Import) else []
                names += [part.module or ""] if isinstance(part, ast.ImportFrom) else []
                inside = isinstance(node, ast.FunctionDef | ast.ClassDef)
                allowed = inside and (file.parent.name == "verify" or file.stem == "tensor_files")
                found = {name.partition(".")[0] for name in names}
                assert "convert" not in found, file
                assert allowed or not found & {"torch", "timm", "transformers"}, file


def test_the_papers_figures(compare, tmp_path):
    values = VALUES | {
        "coco_person_parts/retrieval/projection/AP": 0.4151,
        TOP1: 0.9,
        f"{TOP1}_low": 0.88,
        f"{TOP1}_high": 0.92,
        "pascal_part/segmentation/paper/mIoU": 0.1,
        "cub/retrieval/cls_token/AP": 0.3,
        "cub/retrieval/images": 11788,
        "coco_person_parts/retrieval/images": 64113,
        "cub/classification/train_images": 5994,
        "cub/classification/test_images": 5794,
        "pascal_part/segmentation/train_images": 4998,
        "pascal_part/segmentation/test_images": 5105,
        "lip/segmentation/paper/mIoU": 0.446,
        "lip/segmentation/train_images": 4,
        "lip/segmentation/test_images": 10000,
    }
    status, report, printed = compare("results", results(tmp_path / "a", values), "paper")
    assert status == 1
    found = report["results"]
    assert {name: row["b"] for name, row in found.items()} == {
        "cub/retrieval/embedding/AP": 0.493,
        "coco_person_parts/retrieval/projection/AP": 0.415,
        TOP1: 0.938,
        "pascal_part/segmentation/paper/mIoU": found["pascal_part/segmentation/paper/mIoU"]["b"],
    }
    assert [row["agrees"] for row in found.values()] == ["tolerance", "tolerance", None, None]
    assert "2 results DIFFER" in printed
    said = "not beside the paper's: lip/segmentation/paper/mIoU (4 of 30 462 training images)"
    assert report["notes"] == [said]
    assert said in printed
    wide = values | {f"{TOP1}_high": 0.9376, "pascal_part/segmentation/paper/mIoU": 0}
    del wide["pascal_part/segmentation/paper/mIoU"]
    assert compare("results", results(tmp_path / "a", wide), "paper")[0] == 0


def test_the_papers_figures_beside_what_they_are_of_alone(compare, tmp_path):
    values = VALUES | {"cub/retrieval/images": 11788}
    status, _, printed = compare(
        "results", results(tmp_path / "a", values, weights="yours"), "paper"
    )
    assert status == 2
    assert "is not the paper's iBOT: your weights. If it was converted from the released" in printed
    few = results(tmp_path / "few", VALUES | {"cub/retrieval/images": 120})
    status, _, printed = compare("results", few, "paper")
    assert status == 2
    assert "embedding/AP (100 of some 24 000 patches, 120 of 11 788 images)" in printed
    mae = values | {"cub/retrieval/embedding/AP": 0.285}
    status, report, _ = compare("results", results(tmp_path / "mae", mae, name="mae"), "paper")
    assert status == 0
    assert report["notes"] == ["MAE: the paper's with patches permuted against positions"]


def test_wrong_results_are_told(compare, tmp_path):
    def told(*paths):
        status, _, printed = compare("results", *paths)
        assert status == 2
        return printed

    good = results(tmp_path / "good", VALUES)
    assert "none cannot be read (No such file" in told(tmp_path / "none", good)
    untrained = results(tmp_path / "untrained", VALUES, trained=False)
    assert "UNTRAINED encoder, whose results say nothing of iBOT" in told(untrained, "paper")
    other = results(tmp_path / "other", VALUES, name="dinov2")
    assert "of the encoder 'dinov2', which the paper does not have" in told(other, "paper")
    assert "no result in common" in told(good, results(tmp_path / "empty", {}))
    (tmp_path / "bad.json").write_text("{")
    assert "bad.json is damaged" in told(tmp_path / "bad.json", good)
    (tmp_path / "bad.json").write_text("[]")
    assert "no JSON object" in told(tmp_path / "bad.json", good)
    wrong = results(tmp_path / "wrong", {"x": "high"})
    assert "the result x is 'high', not a number" in told(wrong, good)
