"""`convert --with-decoder`: what stands behind the encoder, against the original PyTorch code."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

import jaxpart
from convert.__main__ import main
from convert.families import FAMILIES
from convert.options import Options
from convert.pipeline import convert
from convert.plan import Faults, make_plan
from jaxpart.io.files import write_json
from jaxpart.pretraining import beit, cae, mae, masks
from jaxpart.pretraining.decoders import load_decoder
from jaxpart.pretraining.encode import encode

TOLERANCE = 1e-4


def checkpoint(golden, name):
    folder = golden / f"encoders/{name}"
    return folder / json.loads((folder / "note.json").read_text())["file"]


def converted(golden, tmp_path, family, name):
    convert(family, checkpoint(golden, name), tmp_path / "out", num_heads=3, with_decoder=True)
    expected = dict(np.load(golden / f"encoders/{name}/expected.npz"))
    images = expected["images"].transpose(0, 2, 3, 1)
    encoder = jaxpart.load_encoder(tmp_path / "out")
    return encoder.model, load_decoder(tmp_path / "out"), images, expected


def close(ours, expected):
    assert ours.shape == expected.shape
    assert np.abs(np.asarray(ours) - expected).max() <= TOLERANCE


def test_mae(golden, tmp_path):
    vit, decoder, images, expected = converted(golden, tmp_path, "mae", "mae_full")
    mask = expected["mask"]
    prediction = nnx.jit(mae.reconstruct, static_argnums=4)(vit, decoder, images, mask, 12)
    close(prediction, expected["reconstruction"])


def test_beit(golden, tmp_path):
    vit, decoder, images, expected = converted(golden, tmp_path, "beit", "beit")
    logits = nnx.jit(beit.masked_logits)(vit, decoder, images, expected["mask"])
    close(logits, expected["masked_logits"])


@pytest.mark.slow
def test_cae(golden, tmp_path):
    vit, decoder, images, expected = converted(golden, tmp_path, "cae", "cae")
    found = nnx.jit(cae.predict, static_argnums=4)(vit, decoder, images, expected["mask"], 8)
    visible = masks.split(expected["mask"], 8)[0]
    close(nnx.jit(encode)(vit, images, visible=visible), expected["visible_tokens"])
    close(found.predicted, expected["latent_predict"])
    close(found.target, expected["latent_target"])
    close(found.logits, expected["logits"])


def filled(manifest):
    """The contents of a released checkpoint with arrays that take no memory."""
    if isinstance(manifest, dict):
        return {key: filled(value) for key, value in manifest.items()}
    if isinstance(manifest, list):
        return np.broadcast_to(np.array(0.5, manifest[1]), manifest[0])
    return 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae_full", "beit", "cae"])
def test_released_checkpoints_are_accounted_for(name, shared):
    file = shared / "reference" / "checkpoints" / f"{name}.json"
    contents = filled(json.loads(file.read_text())["contents"])
    family = FAMILIES[name.removesuffix("_full")]
    plan = make_plan(family, contents, Options(with_decoder=True))
    assert any(entry.target.startswith("decoder.") for entry in plan.entries)
    left = [key for key in plan.ignored if key.startswith("model.")]
    assert left == (["model.rel_pos_bias.relative_position_index"] if name == "beit" else [])
    contents["model"]["decoder_blocks.9.surprise"] = np.zeros(3)
    contents["model"]["decoder.surprise"] = contents["model"]["lm_head.surprise"] = np.zeros(3)
    del contents["model"]["mask_token"]
    with pytest.raises(Faults) as caught:
        make_plan(family, contents, Options(with_decoder=True))
    unknown = [fault for fault in caught.value.faults if "surprise is not known" in fault]
    assert len(unknown) == 3
    assert [*unknown, "decoder.mask_token has no source array"] == caught.value.faults


@pytest.mark.slow
def test_command_line(golden, tmp_path, capsys):
    out = str(tmp_path / "out")
    given = ["mae", str(checkpoint(golden, "mae_full")), out, "--num-heads", "3"]
    assert main([*given, "--with-decoder", "--decoder-num-heads", "2", "--image-size", "96"]) == 0
    decoder = load_decoder(out)
    assert decoder.config.num_heads == 2
    assert decoder.config.grid == (4, 4)
    images = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype(np.float32)
    mask = masks.random_mask(jax.random.key(0), (1, 36), 27)
    vit = jaxpart.load_encoder(out).model
    found = nnx.jit(mae.reconstruct, static_argnums=4)(vit, decoder, images, mask, 27)
    assert found.shape == (1, 36, 768)
    capsys.readouterr()
    assert main([*given, "--overwrite"]) == 0
    with pytest.raises(jaxpart.JaxpartError, match=r"holds no decoder; convert .*--with-decoder"):
        load_decoder(out)
    for family, name, sentence in (
        ("mae", "mae", "holds no decoder"),
        ("deit", "deit", "deit has no decoder"),
    ):
        given = [family, str(checkpoint(golden, name)), str(tmp_path / name), "--num-heads", "3"]
        assert main([*given, "--with-decoder"]) == 2
        assert sentence in capsys.readouterr().err


def test_a_changed_decoder_is_told(golden, tmp_path):
    converted(golden, tmp_path, "beit", "beit")
    file = tmp_path / "out" / "encoder.json"
    about = json.loads(file.read_text())
    for change, sentence in (
        ({"out": 3}, "do not fit"),
        ({"digest": "0"}, "was modified"),
        ({"kind": "os"}, "damaged"),
        ({"colour": 1}, "damaged"),
        ({"depth": 1000000}, "damaged"),
        ({"width": "4"}, "damaged"),
    ):
        write_json(file, about | {"decoder": about["decoder"] | change})
        with pytest.raises(jaxpart.JaxpartError, match=sentence):
            load_decoder(tmp_path / "out")
