"""Exported features: what a run measured, in three formats, with what is needed to know what they are."""

import contextlib
import dataclasses
import json
import resource
import sys

import numpy as np
import pytest
from safetensors import safe_open

from jaxpart.config import part_config
from jaxpart.data.parts import part_patches
from jaxpart.data.sets import classification_sets, retrieval_set
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.configured import configured_encoder
from jaxpart.encoders.loading import random_encoder, write_encoder
from jaxpart.encoders.small import small_config
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError
from jaxpart.export.__main__ import main
from jaxpart.export.formats import FORMATS, write_features
from jaxpart.runs.workdir import WorkDir
from jaxpart.verify.features import verify_features

IMAGES = 6


def few_images(*arguments, **options):
    config = part_config(*arguments, **options)
    config.data.num_images = IMAGES
    return config


@pytest.fixture(scope="module")
def rundir(tmp_path_factory):
    """The work directory of a run, with its cache beside it, without having run it."""
    folder = tmp_path_factory.mktemp("run")
    config = few_images("deit", None, projector=True)
    config.features.folder = str(folder / "cache")
    config.tasks = ("retrieval",)
    WorkDir(folder / "run", json.loads(config.to_json_best_effort())).finish({"values": {}})
    return folder / "run"


@pytest.mark.slow
def test_a_run_is_exported_in_every_format(rundir, tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    for kind in ("safetensors", "npz", "parquet"):
        assert main([str(rundir), str(tmp_path), "--format", kind]) == 0
        out = capsys.readouterr()
        assert out.out == f"{tmp_path / 'critters_parts'}.{kind}\n"
        assert kind == "safetensors" or "0 images encoded" in out.err  # they are in the cache
    config = few_images("deit", None, projector=True)
    source, selection = retrieval_set("critters", config.data)
    patches = part_patches(source, selection)
    encoder = configured_encoder(config)
    names = ("embedding", "projection", "cls_token")

    with safe_open(tmp_path / "critters_parts.safetensors", "numpy") as file:
        about = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert sorted(arrays) == sorted([*names, "labels"])
    assert json.loads(about["encoder_digest"]) == encoder.digest
    assert json.loads(about["trained"]) is True
    assert json.loads(about["data"]) == f"critters {source.info.version}"
    assert json.loads(about["view"]) == "patch eval"
    assert json.loads(about["classes"]) == list(selection.parts.values())
    assert json.loads(about["ids"]) == [f"{patch.image} {list(patch.box)}" for patch in patches]
    labels = [list(selection.parts).index(patch.part) for patch in patches]
    assert arrays["labels"].tolist() == labels
    assert arrays["embedding"].dtype == np.float32

    report = verify_features(
        tmp_path / "critters_parts.safetensors", tmp_path / "critters_parts.npz", tolerance=0
    )
    assert report.same
    assert {array.name: len(array.rows) for array in report.arrays} == dict.fromkeys(
        names, len(patches)
    )
    with np.load(tmp_path / "critters_parts.npz") as npz:
        assert json.loads(str(npz["metadata"]))["encoder_digest"] == encoder.digest
    table = pyarrow.read_table(tmp_path / "critters_parts.parquet")
    assert table.column("label").to_pylist() == labels
    assert table.column("id").to_pylist() == json.loads(about["ids"])
    found = np.array(table.column("projection").to_pylist(), np.float32)
    assert np.array_equal(found, arrays["projection"])
    assert json.loads(table.schema.metadata[b"view"]) == "patch eval"


def test_a_converted_encoder_is_exported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxpart.export.__main__.part_config", few_images)
    config = small_config("mae")
    encoder = random_encoder("mae", config, seed=1)
    arrays = arrays_of(encoder.vit)
    (tmp_path / "mae").mkdir()
    write_encoder(tmp_path / "mae", "mae", config, encoder.preprocessing, arrays, {})
    command = [str(tmp_path / "mae"), str(tmp_path / "out"), "--format", "npz", "--cache", "off"]
    assert main(command) == 2
    assert "name the data: --data NAME" in capsys.readouterr().err
    chosen = ["--data", "critters", "--views", "images_test", "parts_train"]
    assert main([*command, *chosen, "--representations", "tokens", "block2/embedding"]) == 0
    with np.load(tmp_path / "out/critters_images_test.npz") as file:
        assert file["tokens"].shape[1:] == (37, 128)
        assert len(file["labels"]) == len(file["tokens"])
    with np.load(tmp_path / "out/critters_parts_train.npz") as file:
        assert json.loads(str(file["metadata"]))["view"] == "patch train"
        assert json.loads(str(file["metadata"]))["split"] == "train"


@pytest.mark.slow
def test_a_wide_projection_is_exported_by_few_channels(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxpart.export.__main__.part_config", few_images)
    config = small_config("dino")
    encoder = random_encoder("dino", config)
    arrays = arrays_of(encoder.vit)
    (tmp_path / "dino").mkdir()
    write_encoder(tmp_path / "dino", "dino", config, encoder.preprocessing, arrays, {})
    command = [str(tmp_path / "dino"), str(tmp_path), "--format", "npz", "--cache", "off"]
    chosen = ["--data", "critters", "--representations", "projection", "projector3"]
    assert main([*command, *chosen]) == 0
    with np.load(tmp_path / "critters_parts.npz") as file:
        about = json.loads(str(file["metadata"]))
        few, bottleneck = (file[name].astype(np.float64) for name in ("projection", "projector3"))
    assert few.shape[1] == config.projector.bottleneck == 64
    wide = bottleneck @ np.asarray(arrays["projector.head.last.kernel"], np.float64)
    np.testing.assert_allclose(few @ few.T, wide @ wide.T, rtol=0, atol=1e-5)
    assert about["encoder_digest"] == encoder.digest
    assert about["projection"] == (
        "64 channels with the inner products, so the cosines, of the projector's 512"
    )


@pytest.mark.slow
def test_wrong_input_is_told(rundir, tmp_path, capsys, monkeypatch):
    def told(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    out = tmp_path / "out"
    assert "is neither the work directory of a run" in told(tmp_path, out)
    assert "there is no format 'csv'; choose from safetensors" in told(
        rundir, out, "--format", "csv"
    )
    assert "there is no view 'all'; choose from parts" in told(rundir, out, "--views", "all")
    assert "has no representation 'nothing'" in told(rundir, out, "--representations", "nothing")
    assert "cannot hold all tokens of an image (tokens)" in told(
        rundir, out, "--format", "parquet", "--representations", "tokens"
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "--format parquet needs pyarrow" in told(rundir, out, "--format", "parquet")
    assert not out.exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text('{"tasks": ["retrieval"]}')
    assert "has no method, so it is not of a run by this version" in told(tmp_path / "old", out)
    (tmp_path / "file").write_text("")
    assert "cannot be written: Not a directory" in told(rundir, tmp_path / "file" / "x")


def test_data_and_weights_that_changed_since_the_run_are_refused(tmp_path, capsys, monkeypatch):
    config = few_images("deit", None, projector=True)
    config.tasks = ("classification",)
    workdir = WorkDir(tmp_path, json.loads(config.to_json_best_effort()))
    train, test, _ = classification_sets("critters", config.data)
    workdir.reads("critters/classification", train, test)
    shape = ViTConfig(image_size=(8, 8), patch_size=8, width=8, depth=1, num_heads=1, mlp_width=8)
    encoder = random_encoder("deit", shape)
    monkeypatch.setattr("jaxpart.export.__main__.configured_encoder", lambda config: encoder)
    monkeypatch.setattr("jaxpart.export.__main__._export_view", lambda *args: tmp_path)
    command = [str(tmp_path), str(tmp_path / "out"), "--representations", "embedding"]
    assert main(command) == 0
    config.data.num_images += 1
    (tmp_path / "config.json").write_text(config.to_json_best_effort())
    assert main(command) == 2
    assert "critters (train) has changed since" in capsys.readouterr().err
    assert main([*command, "--views", "parts"]) == 0  # which the run did not read
    workdir.belongs_to("the encoder", "another")
    assert main(command) == 2
    assert "has different weights than when it ran; run it again" in capsys.readouterr().err


def test_the_function_of_a_run_is_run_only_if_the_user_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\ndef encode(x): pass\n")
    config = few_images("deit", None, projector=True)
    config.encoder.callable, config.encoder.image_size = "evil.py:encode", 32
    (tmp_path / "config.json").write_text(config.to_json_best_effort())
    assert main([".", "out"]) == 2
    assert capsys.readouterr().err.endswith(
        "its encoder is the function evil.py:encode, which is run only with --run-functions; pass it if "
        "you trust that code\n"
    )
    assert not (tmp_path / "ran").exists()
    assert main([".", "out", "--run-functions"]) == 2  # it returns None
    assert (tmp_path / "ran").exists()


def test_a_family_that_a_folder_names_is_no_file_to_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n")
    config = dataclasses.replace(small_config("mae"), stem="patch")
    encoder = random_encoder("mae", config)
    for name, about in (("evil.py:F", {}), ("mae", {"source": {"family": "evil.py:F"}})):
        (tmp_path / name).mkdir()
        arrays = arrays_of(encoder.vit)
        write_encoder(tmp_path / name, name, config, encoder.preprocessing, arrays, about)
        command = ["weights", name, "out.safetensors", "--layout", "timm"]
        assert main(command) == 2
        told = f"{name} was converted as evil.py:F, which is no installed family; pass --family"
        assert told in capsys.readouterr().err
        assert not (tmp_path / "ran").exists()
        assert main([*command, "--family", "mae"]) == 0


@contextlib.contextmanager
def full_disk(size):
    """No file can become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_is_told_and_the_same_content_is_the_same_file(kind, tmp_path):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"features.{kind}"
    features = {"embedding": np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32)}
    about = {"view": "patch eval", "data": "critters", "split": "test"}
    content = features, np.arange(100), [f"{i}" for i in range(100)], about
    write_features(path, *content)
    before = path.read_bytes()
    with full_disk(9000), pytest.raises(JaxpartError, match=f"{kind} cannot be written: "):
        write_features(path, *content)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]  # as it was
    write_features(path, *content)
    assert path.read_bytes() == before


@pytest.mark.parametrize("pictures", [(), ("--pictures=png",), ("--pictures=array_record",)])
def test_a_full_disk_is_told_of_views(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxpart.export.views.part_config", few_images)
    with full_disk(9000):
        status = main(["views", str(tmp_path / "out"), "--data", "critters", *pictures])
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert (status, len(errors)) == (2, 1)
    assert "cannot be written" in errors[0]
    assert not list(tmp_path.iterdir())
