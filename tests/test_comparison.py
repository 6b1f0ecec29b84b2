"""Runs compared item by item: every task and data set under its own name, both encoders named."""

import json

import numpy as np
import pytest

from jaxpart import comparison
from jaxpart.comparison import compare_runs
from jaxpart.config import part_config
from jaxpart.errors import JaxpartError
from jaxpart.runs.items import items_npz
from jaxpart.runs.rows import Key

RANDOM = np.random.default_rng(0)
IDS = np.array([f"image{i}" for i in range(20)])
LABELS = np.arange(20, dtype=np.int32) % 4
COUNTS = np.sort(RANDOM.integers(0, 50, (20, 3, 4)), axis=1)


RETRIEVED = Key("cub_parts", "retrieval", "AP", representation="embedding")


def kept(folder, items, key, array):
    (folder / f"{key.task}_{key.data}.npz").write_bytes(items_npz(items, {key: array}))


def made(folder, name, *, right, trained=True):
    """A work directory whose results get better with `right`, 0 to 1."""
    folder.mkdir()
    about = {"name": name, "trained": trained, "digest": name * 12}
    (folder / "results.json").write_text(json.dumps({"encoder": about}))
    predicted = np.where(np.arange(20) < 20 * right, LABELS, (LABELS + 1) % 4)[None]
    classified = {"ids": IDS, "labels": LABELS, "classes": np.array(list("abcd"))}
    for task in ("classification", "object_classification"):
        for data in ("cub_parts", "coco_person_parts"):
            kept(folder, classified, Key(data, task, "best", "linear", "cls_token"), predicted)
    queries = {
        "ids": IDS,
        "parts": LABELS,
        "images": np.arange(20) // 2,
        "exclude_self": np.array(False),
    }
    kept(folder, queries, RETRIEVED, right + LABELS / 10)
    counts = COUNTS.copy()
    counts[:, 0] = right * COUNTS[:, 0]
    items = {"ids": IDS, "classes": np.array(list("abcd")), "labelled": counts[:, 1]}
    kept(folder, items, Key("pascal_part", "segmentation", "counts", "paper"), counts)
    return folder


@pytest.fixture
def runs(tmp_path):
    return made(tmp_path / "A", "ibot", right=0.9), made(tmp_path / "B", "dino", right=0.4)


def printed(runs, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["comparison", *map(str, runs)])
    status = comparison.main()
    out = capsys.readouterr()
    return status, " ".join((out.out + out.err).split())


def test_every_task_and_set_has_a_name_of_its_own(runs, monkeypatch, capsys):
    found = compare_runs(*runs)
    assert sorted(key.name for key in found) == [
        "coco_person_parts/classification/linear/cls_token/best",
        "coco_person_parts/object_classification/linear/cls_token/best",
        "cub_parts/classification/linear/cls_token/best",
        "cub_parts/object_classification/linear/cls_token/best",
        "cub_parts/retrieval/embedding/AP",
        "pascal_part/segmentation/paper/mIoU",
    ]
    for key in (Key("cub_parts", "classification", "best", "linear", "cls_token"), RETRIEVED):
        assert found[key].value == pytest.approx(0.5)
        assert found[key].p < 0.01
    assert found[Key("pascal_part", "segmentation", "mIoU", "paper")].value > 0
    status, text = printed(runs, monkeypatch, capsys)
    assert status == 0
    assert f"ibot ibotibotibot of {runs[0]} minus dino dinodinodino of {runs[1]}" in text
    places = [
        text.index(words)
        for words in (
            "part retrieval points",
            "cub_parts, embedding/AP 50.0",
            "object classification points",
            "coco_person_parts, linear/cls_token/best 50.0",
            "part classification points",
            "segmentation points",
            "pascal_part, paper/mIoU",
        )
    ]
    assert places == sorted(places)
    assert text.count("cub_parts, linear/cls_token/best 50.0") == 2
    assert "20 better, 0 worse" in text


def test_what_was_not_alike_is_told(runs, monkeypatch, capsys):
    a, b = runs
    for folder, version in ((a, 1), (b, 2)):
        config = part_config("ibot", "", projector=True)
        config.data.version = version  # of critters, which these are not
        config.retrieval.exclude_self = version == 2
        config.segmentation.settings.pascal_part.stride = 161 * version
        config.segmentation.settings.lip.stride = 161 * version
        (folder / "config.json").write_text(config.to_json_best_effort())
        what = "the data of cub_parts/classification (test)"
        (folder / "identity.json").write_text(json.dumps({what: str(version), "the encoder": ""}))
    _, out = printed(runs, monkeypatch, capsys)
    told = out[out.index("part retrieval: They") :].replace(f"{a}", "A").replace(f"{b}", "B")
    stride = "segmentation.settings.pascal_part.stride"
    assert told.split(". ") == [
        "part retrieval: They differ in retrieval.exclude_self: False (A); True (B)",
        "part classification: They did not use the same images and annotations, "
        "cub_parts/classification (test): A against B",
        f"segmentation: They differ in {stride}: 161 (A); 322 (B).",
    ]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("classification_cub_parts", "labels"),
        ("retrieval_cub_parts", "ids"),
        ("retrieval_cub_parts", "exclude_self"),
        ("segmentation_pascal_part", "labelled"),
    ],
)
def test_other_items_are_refused(runs, name, key):
    file = runs[1] / f"{name}.npz"
    arrays = dict(np.load(file))
    changed = ~arrays[key] if arrays[key].dtype == bool else arrays[key][::-1]
    np.savez(file, **arrays | {key: changed})
    with pytest.raises(JaxpartError, match=rf"different items \(their {key} differ\)"):
        compare_runs(*runs)


def test_what_cannot_be_compared_is_told(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(JaxpartError, match="empty holds no per-item results"):
        compare_runs(runs[0], tmp_path / "empty")
    for file in runs[0].glob("*_parts.npz"):
        file.unlink()
    (runs[1] / "segmentation_pascal_part.npz").unlink()
    with pytest.raises(JaxpartError, match="compare runs of the same tasks on the same data set"):
        compare_runs(*runs)
    third = made(tmp_path / "C", "mae", right=0.5, trained=False)
    status, text = printed((third, third), monkeypatch, capsys)
    assert (status, "mae (UNTRAINED, random weights" in text) == (0, True)
    (third / "results.json").unlink()
    status, text = printed((third, third), monkeypatch, capsys)
    assert (status, text.startswith(f"error: {third} has no results.json")) == (2, True)
    np.savez(third / "retrieval_cub_parts.npz", **{"embedding/AP": LABELS})  # without keys
    with pytest.raises(JaxpartError, match=r"retrieval_cub_parts\.npz is damaged"):
        compare_runs(third, third)
    (third / "retrieval_cub_parts.npz").write_bytes(b"PK")
    with pytest.raises(JaxpartError, match=r"retrieval_cub_parts\.npz is damaged"):
        compare_runs(third, third)
