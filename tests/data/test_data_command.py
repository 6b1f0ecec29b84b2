"""`python -m jaxpart.data`: every data set is prepared, checked and opened, without TensorFlow."""

import os
import pathlib
import subprocess
import sys
import types

import layouts
import pytest

from jaxpart.data.__main__ import main
from jaxpart.data.critters import CRITTER_PARTS
from jaxpart.data.parts import CUB_PARTS
from jaxpart.data.prepared import VERSION, read_about
from jaxpart.data.sets import ALIASES, PART_SETS, SETS, find_set, open_set, retrieval_set
from jaxpart.data.sets.cub import Cub
from jaxpart.errors import JaxpartError

ROOT = pathlib.Path(__file__).resolve().parents[2]

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import jaxpart
import layouts, pathlib, types
from jaxpart.data.__main__ import main
from jaxpart.data.sets import SETS, open_set
here = pathlib.Path(sys.argv[1])
for name, entry in SETS.items():
    root, out = here / name, here / "out"
    if name in layouts.BUILDERS:
        layouts.BUILDERS[name](root)
    common = [name, "--root", str(root), "--workers", "1", "--num-images", "3"]
    assert main(["prepare", *common, "--out", str(out)]) == 0, name
    assert main(["check", *common]) == 0, name
    if name in layouts.BUILDERS:
        assert main(["check", name, "--root", str(out), "--workers", "1"]) == 0, name
        split = "all" if name == "part_folder" else entry.splits[0]
        assert open_set(name, split, types.SimpleNamespace(root=str(out)))[0].image
assert not {"tensorflow", "torch", "jax"} & set(sys.modules)
"""


@pytest.mark.slow
def test_every_builder_runs_without_tensorflow_and_pytorch(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/data")])
    line = [sys.executable, "-c", BLOCKED, str(tmp_path)]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for sentence in (
        "cub_parts (train): 3 images, sides of 60 to 180 pixels, 4 kinds of keypoint, 2 classes\n",
        "lip (val): 1 images, sides of 8 to 12 pixels, 19 labels of mask 'part'\n",
        "critters (test): 3 images, sides of 96 to 96 pixels, 6 kinds of keypoint, 24 classes",
        "part_folder (all): 2 images",
    ):
        assert sentence in done.stdout


RECORDS = {
    "cub_parts": "train: 60, test: 60",
    "coco_person_parts": "train2017: 36, val2017: 33",
    "lip": "train: 2, val: 2",
    "ade20k": "train: 1, val: 3",
    "ade20k_object": "train: 1, val: 3",
    "ade20k_part": "train: 2",
    "pascal_part": "all: 11",
    "pascal_object": "all: 11",
    "pascal_part_58": "all: 11",
    "pascal_part_116": "all: 11",
    "partimagenet_part": "train: 2, val: 1, test: 1",
    "partimagenet_object": "train: 2, val: 1, test: 1",
    "paco_part": "train: 1, val: 1, test: 1",
    "paco_object": "train: 1, val: 1, test: 1",
    "imagenet": "val: 30",
}


@pytest.mark.parametrize("name", RECORDS)
def test_the_real_samples_prepare_and_check(samples, tmp_path, name, capfd):
    given = ["--root", str(samples), "--workers", "1"]
    assert main(["prepare", name, *given, "--out", str(tmp_path)]) == 0
    splits = read_about(tmp_path / name / VERSION).splits
    assert ", ".join(f"{s}: {split.records}" for s, split in splits.items()) == RECORDS[name]
    assert main(["check", name, "--root", str(tmp_path), "--workers", "1"]) == 0
    assert capfd.readouterr().out.count("; 0 faults") == len(splits)


def test_a_split_that_is_not_there_is_left_out_and_said(tmp_path, capfd):
    layouts.imagenet(tmp_path)
    (tmp_path / "train").rename(tmp_path / "gone")
    given = ["imagenet", "--root", str(tmp_path), "--workers", "1"]
    assert main(["prepare", *given, "--out", str(tmp_path / "out")]) == 0
    out, err = capfd.readouterr()
    assert "left out:" in err
    assert "imagenet (val): 4 images" in out
    assert main(["prepare", *given, "--out", str(tmp_path / "out")]) == 0
    assert "is already complete and up to date; nothing to do" in capfd.readouterr().out
    assert main(["check", *given, "--splits", "train"]) == 2
    assert "has no folder train" in capfd.readouterr().err
    assert main(["check", "imagenet", "--root", str(tmp_path / "none")]) == 2
    assert "holds no ImageNet" in capfd.readouterr().err


def test_a_check_tells_all_faults_and_fails(tmp_path, capfd):
    layouts.lip(tmp_path)
    broken = tmp_path / "TrainVal_images/train_images/77_2.jpg"
    broken.write_bytes(broken.read_bytes()[:-30])
    (tmp_path / "TrainVal_images/val_id.txt").write_text("36_4\n36_4\n")
    given = ["lip", "--root", str(tmp_path), "--workers", "1"]
    assert main(["check", *given]) == 1
    out = capfd.readouterr().out
    assert "lip (train): 2 images" in out
    assert "77_2.jpg is truncated or damaged" in out
    assert "val_id.txt, line 2: the id '36_4' appears twice" in out
    assert main(["prepare", *given, "--out", str(tmp_path / "out")]) == 2
    assert "val_id.txt, line 2" in capfd.readouterr().err
    prepare = ["prepare", *given, "--splits", "train", "--out", str(tmp_path / "out")]
    assert main(prepare) == 2
    assert "77_2.jpg is truncated" in capfd.readouterr().err
    assert main([*prepare[:-1], str(tmp_path / "b"), "--skip-bad"]) == 0
    assert "lip (train): 1 skipped; the first: TrainVal_images" in capfd.readouterr().out


def test_a_changed_record_of_a_prepared_set_is_told(tmp_path, capfd):
    layouts.label_folder(tmp_path / "mine")
    out = tmp_path / "out"
    given = ["part_folder", "--root", str(tmp_path / "mine"), "--workers", "1", "--out", str(out)]
    assert main(["prepare", *given]) == 0
    shard = out / "part_folder/2.0.0/part_folder-full.array_record-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[data.index(b"IDAT") + 9] ^= 1
    shard.write_bytes(data)
    assert main(["check", "part_folder", "--root", str(out), "--workers", "1"]) == 1
    assert "is damaged" in capfd.readouterr().out


def test_the_list_names_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in SETS:
        assert f"\n{name}" in f"\n{out}"
    assert "cub_parts (or cub): 15 keypoints, 200 species" in out
    assert out.count("licence") == len(SETS)


def test_what_cannot_be_fetched_is_told_with_whom_to_ask(tmp_path, capsys):
    assert main(["download", "lip", "--out", str(tmp_path)]) == 2
    assert (
        "lip cannot be downloaded automatically (Sun Yat-sen University" in capsys.readouterr().err
    )
    assert main(["download", "nothing", "--out", str(tmp_path)]) == 2
    assert "there is no data set 'nothing'" in capsys.readouterr().err
    assert main(["check", "lip"]) == 2
    assert "pass --root FOLDER, the folder that holds lip; unpack" in capsys.readouterr().err


def test_names_and_their_aliases(tmp_path):
    assert {find_set(alias)[0] for alias in ALIASES} == {"cub_parts", "coco_person_parts"}
    assert set(PART_SETS) == {"critters", "cub_parts", "coco_person_parts", "part_folder"}
    layouts.cub(tmp_path / "CUB_200_2011")
    config = types.SimpleNamespace(root=str(tmp_path), num_images=4, image_size=32, seed=3)
    source, parts = retrieval_set("cub", config)
    assert (source.info, parts) == (Cub(tmp_path, "all").info, CUB_PARTS)
    assert open_set("cub_parts", "train", config).info.split == "train"
    drawn, parts = retrieval_set("critters", config)
    assert (len(drawn), drawn.info.version, parts) == (4, "1-32-3", CRITTER_PARTS)


def test_part_folders_have_all_of_their_parts(tmp_path):
    layouts.keypoint_folder(tmp_path / "a")
    layouts.label_folder(tmp_path / "b")
    source, parts = retrieval_set("part_folder", types.SimpleNamespace(root=tmp_path / "a"))
    assert len(source) == 2
    assert parts.parts == {1: "beak", 2: "tail"}
    with pytest.raises(
        JaxpartError, match=r"b has no keypoints; give a part folder with keypoints"
    ):
        retrieval_set("part_folder", types.SimpleNamespace(root=tmp_path / "b"))
    with pytest.raises(JaxpartError, match="lip has no part patches; choose from critters"):
        retrieval_set("lip", types.SimpleNamespace(root=tmp_path))
    with pytest.raises(JaxpartError, match=r"the data root is missing: pass --config\.data\.root"):
        open_set("lip", "val", types.SimpleNamespace(root=""))
    with pytest.raises(
        JaxpartError, match="there is no data set 'x'; choose from critters, cub_parts"
    ):
        open_set("x", "val", types.SimpleNamespace(root=""))
