"""The command line, end to end."""

import functools
import json
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest
from small_runs import SMALL
from tiny_folders import tiny_folder

import jaxpart
from convert.pipeline import convert
from jaxpart import command
from jaxpart import config as configs
from jaxpart.comparison import compare_runs
from jaxpart.data.sets import find_set
from jaxpart.errors import JaxpartError
from jaxpart.io.files import parse_json
from jaxpart.main import main
from jaxpart.report.evaluate import Limits
from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, find_row, read_rows
from jaxpart.runs.workdir import WorkDir

RETRIEVAL = "--config.tasks=('retrieval',)"


def run(*arguments, cwd):
    command = [sys.executable, "-m", "jaxpart.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.slow
def test_embedded_run_from_any_folder(tmp_path):
    done = run("--config", "configs/ibot_part.py", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "UNTRAINED" not in done.stdout
    assert "critters, projection" in done.stdout
    assert "python -m jaxpart.report runs/" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "config.json",
        "identity.json",
        "versions.json",
        "metrics.jsonl",
        "results.json",
        "classification_critters.npz",
        "retrieval_critters.npz",
        "segmentation_critters_part.npz",
        "heads",
        "segmentation",
    }
    assert "critters, attentive, tokens" in done.stdout
    results = json.loads((folder / "results.json").read_text())
    assert results["encoder"]["trained"] is True
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k not in ("time", "crc32")} for line in lines] == (
        results["rows"]
    )
    rows = read_rows(results, folder)
    assert json.loads((folder / "config.json").read_text())["data"]["num_images"] == 12
    retrieved = np.load(folder / "retrieval_critters.npz")
    ap = find_row(rows, "critters", "retrieval", "AP", representation="projection")
    assert retrieved["projection/AP"].mean() == pytest.approx(ap.value)
    counts = np.load(folder / "segmentation_critters_part.npz")["paper/counts"].sum(axis=0)
    iou = counts[0] / np.maximum(counts[1] + counts[2] - counts[0], 1)
    miou = iou[counts[1] + counts[2] > 0].mean()
    segmented = Key("critters_part", "segmentation", "mIoU", "paper")
    assert miou == pytest.approx(find_row(rows, *segmented).value)
    assert {ap.key, segmented} < compare_runs(folder, folder).keys()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ibot", "dino"])
def test_real_images_give_the_published_codes_results(method, golden, samples, tmp_path):
    (source,) = (golden / f"encoders/{method}_full").glob("*.pth")
    convert(method, source, tmp_path / "encoder", num_heads=3)
    done = run(
        "--config",
        f"configs/{method}_part.py:paper",
        f"--config.encoder.checkpoint={tmp_path / 'encoder'}",
        f"--config.data.root={samples}",
        "--config.tasks=('retrieval','layers')",
        "--workdir",
        tmp_path / "run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    ours = {row.key: row.value for row in read_rows(results, tmp_path)}
    theirs = json.loads((golden / f"end_to_end/{method}_full.json").read_text())
    for data, representations in theirs.items():
        for name, expected in representations.items():
            key = Key(find_set(data)[0], "retrieval", "AP", representation=name)
            assert abs(ours[key] - expected["AP"]) <= 1e-5
            assert abs(ours[key._replace(metric="mAP")] - expected["mAP"]) <= 1e-5
            layer = {"projection": "projector4"}.get(name, name)  # the projector's last layer
            mine = ours[key._replace(task="layers", representation=layer, group="parts")]
            assert abs(mine - expected["AP"]) <= 1e-5
            for part, value in expected["per_part"].items():
                assert abs(ours[key._replace(group=part)] - value) <= 1e-5


ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "configs").rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_every_file_states_its_configurations(file):
    """What a file makes names its method; a variant that it lacks is refused."""
    get_config = runpy.run_path(configs.locate(file))["get_config"]
    name = pathlib.Path(file).stem
    embedded = get_config()
    with pytest.raises(JaxpartError, match="no variant 'papre'"):
        get_config("papre")
    if name == "study":
        assert embedded.encoders == tuple(METHODS)
    elif name == "imagenet_probe":
        for method in METHODS:
            assert get_config(method).method == method
            assert get_config(method).data.sets == ("imagenet",)
    elif name == "correspondence":
        assert embedded.correspondence.sets == ("critters",)
        for variant in ("spair", "cub"):
            assert get_config(variant).correspondence.sets == (variant,)
    elif name == "parts":
        assert embedded.data.sets == ("critters",)
        assert get_config("cub").data.sets == ("cub",)
    elif file.startswith("configs/pretrain/"):
        assert embedded.method == get_config("imagenet").method == name
        assert (embedded.data.name, get_config("imagenet").data.name) == ("critters", "imagenet")
    else:
        assert f"{embedded.method}_part" == f"{get_config('paper').method}_part" == name
        assert embedded.data.sets == ("critters",)
        assert get_config("paper").data.sets == ("cub", "coco")
        assert get_config("paper").retrieval.patch_pixels == 224


def test_every_method_has_its_files():
    for method in METHODS:
        assert {f"configs/{method}_part.py", f"configs/pretrain/{method}.py"} <= set(FILES)


@pytest.mark.slow
def test_blocks_as_representations_without_pytorch_and_tensorflow(tmp_path):
    names = "('block0/embedding','block3/cls_token')"
    options = [
        *SMALL,
        RETRIEVAL,
        f"--config.retrieval.representations={names}",
        "--config.encoder.small=random",
        "--workdir=run",
    ]
    code = f"""
import sys
from importlib.machinery import ModuleSpec
class Blocked:  # others may look whether they are there (etils does), but nobody can import them
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "timm", "transformers"):
            return ModuleSpec(name, self)
    def create_module(self, spec):
        raise ImportError(spec.name + " is asked for")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocked())
import jaxpart
from jaxpart.main import entry
sys.argv = ["main", "--config", "configs/mae_part.py", *{options!r}]
sys.exit(entry())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert "block3/cls_token" in {row.get("representation") for row in rows}
    assert "UNTRAINED" in done.stdout


@pytest.mark.slow
def test_the_report_at_once(tmp_path, monkeypatch, capsys):
    limits = functools.partial(Limits, patches=9, images=1)
    monkeypatch.setattr("jaxpart.report.evaluate.Limits", limits)
    config = configs.part_config("mae", "", projector=False)
    config.encoder.checkpoint = str(tiny_folder(tmp_path / "tiny", "mae"))
    config.tasks, config.data.num_images, config.report = ("retrieval",), 4, True
    main(config, tmp_path / "run")
    report = tmp_path / "run" / "report"
    assert f"report:  {report / 'index.html'}" in capsys.readouterr().out
    assert (report / "explorer.html").is_file()


def test_home_is_resolved_where_shells_do_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = ["main", "--config", "configs/ibot_part.py", "--config.data.root=~/data"]
    assert command._command_line(given)[-1] == "--config.data.root=/home/me/data"


def test_workdir_of_another_run_is_refused(tmp_path):
    WorkDir(tmp_path, {"a": {"b": 1}}).finish({})
    WorkDir(tmp_path, {"a": {"b": 1}}).finish({})
    with pytest.raises(jaxpart.JaxpartError, match=r"a\.b: 1 then, 2 now"):
        WorkDir(tmp_path, {"a": {"b": 2}})
    assert parse_json((tmp_path / "config.json").read_text()) == {"a": {"b": 1}}
    (tmp_path / "file").write_text("")
    with pytest.raises(jaxpart.JaxpartError, match="cannot be written"):
        WorkDir(tmp_path / "file" / "run", {})
