"""Conversion end to end: golden checkpoints, released manifests, and all that can go wrong."""

import itertools
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

import jaxpart
from convert.__main__ import main
from convert.families import FAMILIES
from convert.locate import flat_arrays
from convert.options import Options
from convert.pipeline import convert
from convert.plan import Faults, make_plan
from jaxpart.encoders.loading import shapes_of
from jaxpart.errors import JaxpartError
from jaxpart.io.files import write_json

TOLERANCE = 1e-4
FOLDERS = {
    "beit": "beit",
    "beit_finetuned": "beit",
    "cae": "cae",
    "deit": "deit",
    "deit3": "deit",
    "deit_distilled": "deit",
    "dino": "dino",
    "dino_full": "dino",
    "dino_full_plainhead": "dino",
    "ibot": "ibot",
    "ibot_full": "ibot",
    "mae": "mae",
    "mae_full": "mae",
    "mocov3": "mocov3",
    "mocov3_convstem": "mocov3",
}
OURS = {"cls": "cls_token", "dist": "dist_token", "last_attention": "attention"}
NOT_OF_THE_ENCODER = {
    *("mask", "masked_logits", "visible_tokens", "latent_predict", "latent_target", "logits"),
    *("mask_noise", "reconstruction", "loss"),
}


def checkpoint_of(golden: pathlib.Path, folder: str) -> pathlib.Path:
    path = golden / f"encoders/{folder}"
    return path / json.loads((path / "note.json").read_text())["file"]


def channels_last(images):
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def errors(encoder, expected, has_projector):
    """Largest absolute error of everything that the original wrote down."""
    out = encoder(channels_last(expected["images"]), blocks=True, attention=True)
    found = {}
    for key in expected.files:
        if key.startswith("images") or key in NOT_OF_THE_ENCODER:
            continue
        if "projection" in key and not has_projector:
            continue
        if key.startswith("block"):
            ours = out["blocks"][int(key.removeprefix("block"))]
        elif key.startswith("tokens_"):
            size = key.removeprefix("tokens")
            ours = encoder(channels_last(expected[f"images{size}"]))["tokens"]
        else:
            ours = out[OURS.get(key, key)]
        found[key] = float(np.abs(np.asarray(ours) - expected[key]).max())
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_golden(folder, golden, tmp_path):
    convert(FOLDERS[folder], checkpoint_of(golden, folder), tmp_path / "out", num_heads=3)
    encoder = jaxpart.load_encoder(tmp_path / "out")
    expected = np.load(golden / f"encoders/{folder}/expected.npz")
    found = errors(encoder, expected, encoder.config.projector is not None)
    assert {"tokens"} <= found.keys()
    assert max(found.values()) <= TOLERANCE, found
    if folder == "ibot_full":
        assert {"projection", "patch_projection", "embedding", "cls", "block1"} <= found.keys()
    if folder == "mocov3":
        assert {"projection", "prediction"} <= found.keys()


def test_mae_with_permuted_patches(golden, tmp_path):
    """The published retrieval and classification: patch order[k] stands at position k."""
    convert("mae", checkpoint_of(golden, "mae"), tmp_path / "out", num_heads=3)
    encoder = jaxpart.load_encoder(tmp_path / "out")
    expected = np.load(golden / "protocol/mae_scrambled.npz")
    images, order = channels_last(expected["images"]), expected["noise"].argsort(axis=1)
    out = encoder(images, order=order, blocks=True)
    found = {"block0": out["blocks"][0], "block1": out["blocks"][1], **out}
    for key in set(expected.files) - {"images", "noise"}:
        error = np.abs(np.asarray(found[OURS.get(key, key)]) - expected[key]).max()
        assert error <= TOLERANCE, key
    kept = encoder(images)["tokens"]
    np.testing.assert_allclose(encoder(images, order=np.sort(order))["tokens"], kept, atol=1e-6)
    assert np.abs(np.asarray(kept) - expected["tokens"]).max() > 0.1
    with pytest.raises(JaxpartError, match=r"order has the shape \(2, 9\); give \[2, 16\]"):
        encoder(images, order=order[:, :9])


@pytest.mark.parametrize("folder", ["dino", "ibot"])
def test_image_size_moves_the_same_interpolation_to_conversion(folder, golden, tmp_path):
    expected = np.load(golden / f"encoders/{folder}/expected.npz")
    for size in ((96, 96), (64, 112)):
        out = tmp_path / str(size[1])
        source = checkpoint_of(golden, folder)
        convert(folder, source, out, num_heads=3, image_size=size)
        encoder = jaxpart.load_encoder(out)
        assert encoder.config.image_size == size
        name = f"{size[0]}x{size[1]}"
        tokens = encoder(channels_last(expected[f"images_{name}"]))["tokens"]
        assert np.abs(np.asarray(tokens) - expected[f"tokens_{name}"]).max() <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["beit", "beit_finetuned", "deit", "cae", "mocov3", "mae"])
def test_image_size_at_conversion_equals_resizing_in_the_forward_pass(folder, golden, tmp_path):
    source, family = checkpoint_of(golden, folder), FOLDERS[folder]
    convert(family, source, tmp_path / "native", num_heads=3)
    convert(family, source, tmp_path / "large", num_heads=3, image_size=(96, 64))
    images = np.random.default_rng(0).normal(size=(2, 96, 64, 3)).astype(np.float32)
    native, large = (
        jaxpart.load_encoder(tmp_path / name)(images)["tokens"] for name in ("native", "large")
    )
    assert np.abs(np.asarray(native) - np.asarray(large)).max() <= 1e-5


def filled(manifest):
    """The contents of a released checkpoint with arrays that take no memory."""
    if isinstance(manifest, dict):
        return {key: filled(value) for key, value in manifest.items()}
    if isinstance(manifest, list):
        shape, dtype = manifest
        return np.broadcast_to(np.array(0.5, dtype), shape)
    return {"Namespace": {"lr": 0.1}, "list": [{"lr": 0.1}]}.get(manifest, 1)


MANIFESTS = [
    "beit",
    "beit_finetuned",
    "cae",
    "deit",
    "deit3",
    "deit_distilled",
    "dino",
    "dino_full",
    "dino_full_plainhead",
    "ibot",
    "ibot_full",
    "mae",
    "mae_full",
    "mocov3",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_released_checkpoint_is_accounted_for(name, shared):
    file = shared / "reference" / "checkpoints" / f"{name}.json"
    contents = filled(json.loads(file.read_text())["contents"])
    plan = make_plan(FAMILIES[FOLDERS[name]], contents, Options())
    assert plan.config.width == 768
    assert plan.config.depth == 12
    assert plan.config.num_heads == 12
    assert plan.config.image_size == (224, 224)
    assert {entry.target for entry in plan.entries} == shapes_of(plan.config).keys()
    covered = {key for entry in plan.entries for key in entry.keys}
    place = plan.network.location.network
    inside = {key for key in flat_arrays(contents).arrays if key.startswith(place)}
    assert covered | plan.ignored.keys() == inside
    top = {key.partition(".")[0] for key in inside}
    assert top | set(plan.network.other_keys) == {key.partition(".")[0] for key in contents}


ALIKE = {("beit_finetuned", "data2vec"), *itertools.product(("dino", "ibot", "mae"), repeat=2)}
ALIKE |= {("deit", family) for family in ("dino", "ibot", "mae")}


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("family", [*dict.fromkeys(FOLDERS.values()), "data2vec", "dinov2"])
def test_a_wrong_family_is_told(folder, family, golden, tmp_path):
    if family == FOLDERS[folder] or (folder, family) in ALIKE:
        return  # nothing in the file tells them apart
    with pytest.raises(jaxpart.JaxpartError, match=f"this looks like .*{FOLDERS[folder]}"):
        convert(family, checkpoint_of(golden, folder), tmp_path / "out", num_heads=3)
    assert not list(tmp_path.iterdir())


def test_student(golden, tmp_path):
    source = checkpoint_of(golden, "dino_full")
    convert("dino", source, tmp_path / "teacher", num_heads=3)
    convert("dino", source, tmp_path / "student", num_heads=3, checkpoint_key="student")
    teacher, student = (jaxpart.load_encoder(tmp_path / n) for n in ("teacher", "student"))
    assert teacher.digest != student.digest
    with pytest.raises(jaxpart.JaxpartError, match="no encoder was found in it"):
        convert("dino", source, tmp_path / "none", num_heads=3, checkpoint_key="emam")


def test_all_faults_come_in_one_message(shared):
    file = shared / "reference" / "checkpoints" / "mae.json"
    contents = filled(json.loads(file.read_text())["contents"])
    del contents["model"]["norm.weight"]
    contents["model"]["blocks.3.surprise"] = np.zeros(3)
    with pytest.raises(jaxpart.JaxpartError) as caught:
        make_plan(FAMILIES["mae"], contents, Options())
    assert "model.blocks.3.surprise is not known" in str(caught.value)
    assert "norm.scale has no source array" in str(caught.value)


def test_wrong_shapes_come_in_one_message(shared):
    file = shared / "reference" / "checkpoints" / "mae.json"
    contents = filled(json.loads(file.read_text())["contents"])
    contents["model"]["norm.weight"] = np.zeros(5)
    contents["model"]["blocks.1.mlp.fc1.weight"] = "not an array"
    with pytest.raises(Faults) as caught:
        make_plan(FAMILIES["mae"], contents, Options())
    assert caught.value.faults == [
        "blocks.1.mlp.fc1.kernel has no source array",
        "model.norm.weight [5] does not fit norm.scale [768]",
    ]


def test_what_is_written(golden, tmp_path):
    convert("ibot", checkpoint_of(golden, "ibot_full"), tmp_path / "out", num_heads=3)
    about = json.loads((tmp_path / "out" / "encoder.json").read_text())
    sums = (golden / "SHA256SUMS").read_text()
    assert about["source"]["sha256"] in sums
    assert about["source"]["file"] == "checkpoint.pth"
    assert about["source"]["checkpoint_key"] == "teacher"
    assert about["family"] == "ibot"
    assert about["source"]["taken_off"] == ["teacher.backbone."]
    assert {"student", "epoch", "optimizer"} <= set(about["mapping"]["beside"])
    assert about["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_existing_folders_are_kept(golden, tmp_path):
    source, out = checkpoint_of(golden, "mae"), tmp_path / "out"
    convert("mae", source, out, num_heads=3)
    with pytest.raises(jaxpart.JaxpartError, match="--overwrite"):
        convert("mae", source, out, num_heads=3)
    convert("mae", source, out, num_heads=3, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    with pytest.raises(jaxpart.JaxpartError, match="something other than"):
        convert("mae", source, other, num_heads=3, overwrite=True)
    assert (other / "precious.txt").read_text() == "mine"


def test_a_failing_write_leaves_nothing(golden, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("jaxpart.io.checkpoints.save_arrays", full_disk)
    with pytest.raises(jaxpart.JaxpartError, match="No space left"):
        convert("mae", checkpoint_of(golden, "mae"), tmp_path / "out", num_heads=3)
    assert not list(tmp_path.iterdir())


def test_command_line(golden, tmp_path, capsys):
    source, out = str(checkpoint_of(golden, "mae")), str(tmp_path / "out")
    assert main(["mae", source, out, "--num-heads", "3", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "model.norm.weight -> norm.scale [48]" in shown
    assert not list(tmp_path.iterdir())
    assert main(["mae", source, out]) == 2
    assert "pass --num-heads" in capsys.readouterr().err
    assert main(["mae", source, out, "--num-heads", "5"]) == 2
    assert "48 cannot be split into 5 heads" in capsys.readouterr().err
    assert main(["vgg", source, out]) == 2
    assert "choose from deit" in capsys.readouterr().err
    assert main(["mae", source, out, "--num-heads", "3", "--image-size", "96x64"]) == 0
    assert jaxpart.load_encoder(out).config.image_size == (96, 64)


def test_damaged_encoders_are_told(golden, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(jaxpart.JaxpartError, match="python -m convert"):
        jaxpart.load_encoder(out)
    convert("mae", checkpoint_of(golden, "mae"), out, num_heads=3)
    about = json.loads((out / "encoder.json").read_text())
    for change, sentence in (
        ({"format": 99}, "format 99"),
        ({"digest": "0"}, r"weights .* were modified after"),
        ({"architecture": about["architecture"] | {"depth": 1}}, "do not fit"),
        ({"architecture": {}}, "damaged"),
    ):
        write_json(out / "encoder.json", about | change)
        with pytest.raises(jaxpart.JaxpartError, match=sentence):
            jaxpart.load_encoder(out)
    for text in (
        json.dumps(about | {"family": "mat"}),
        json.dumps(about).replace("checks", "cheeks"),
    ):
        (out / "encoder.json").write_text(text)
        with pytest.raises(jaxpart.JaxpartError, match=r"encoder\.json is damaged \(it"):
            jaxpart.load_encoder(out)
    (out / "encoder.json").write_text(json.dumps(about))
    shutil.rmtree(out / "weights")
    with pytest.raises(jaxpart.JaxpartError, match=r"weights .* are missing"):
        jaxpart.load_encoder(out)
