"""Weights cut over several devices: the same numbers, each device its part, two sums per block."""

import dataclasses

import jax
import numpy as np
import pytest
from compile_checks import exchanges
from flax import nnx
from ml_collections import ConfigDict

from jaxpart import config as configs
from jaxpart import devices
from jaxpart.data.views import View
from jaxpart.encoders.configured import configured_encoder
from jaxpart.encoders.encoder import _forward, with_config
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import make_encoder, random_encoder, shapes_of
from jaxpart.encoders.sharding import put_on_devices, sharded_axis
from jaxpart.encoders.vit import ViTConfig
from jaxpart.encoders.weights import variables_of
from jaxpart.errors import JaxpartError
from jaxpart.features.extract import extract
from jaxpart.probes.pixel import PixelHeads
from jaxpart.runs.progress import Progress
from jaxpart.tasks.segmentation.heads import Readers, window_logits

DEPTH = 2
BODY = {"image_size": (16, 16), "patch_size": 8, "width": 32, "depth": DEPTH, "num_heads": 4}
BODY |= {"mlp_width": 48}
VARIANTS = {
    "plain": {},
    "beit": {"qkv_bias": "qv", "relative_bias": "per_block", "layer_scale": True},
    "gated, with norms inside": {
        "gated_mlp": True,
        "rotary": "dinov3",
        "mlp_norm": True,
        "attention_norm": True,
    },
}
IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def arranged():
    """Leaves the mesh to other tests as it was."""
    yield
    devices.arrange(1)


def encoder_of(variant):
    """Every weight random: a bias in the wrong place is seen."""
    config, random = ViTConfig(**BODY | VARIANTS[variant]), np.random.default_rng(1)
    arrays = {
        path: random.normal(0, 0.3, shape).astype(np.float32)
        for path, shape in shapes_of(config).items()
    }
    return make_encoder("x", config, Preprocessing(), arrays, digest="", trained=False)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_by_two_devices_give_the_same_tokens(variant):
    encoder = encoder_of(variant)
    right = jax.device_get(encoder(IMAGES))
    cut = put_on_devices(encoder, 2)
    images = devices.shard(IMAGES)
    assert dict(images.sharding.mesh.shape) == {"data": 2, "model": 2}
    compiled = _forward.lower(cut, images, blocks=False, attention=False).compile()
    found = compiled(cut, images)
    for name, values in right.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5, rtol=0, err_msg=name)

    # A block exchanges its two branches' sums; norms inside a branch two numbers per token more.
    norms = 2 * 2 * DEPTH if "norms" in variant else 0
    tokens = ("all-reduce", "f32[2,5,32]")
    found = exchanges(compiled)
    assert found.pop(tokens) == 2 * DEPTH
    assert sum(found.values()) <= norms
    assert set(found) <= {("all-reduce", "f32[2,5]"), ("all-reduce", "f32[2,5,1]")}


def test_a_device_holds_its_part():
    cut = put_on_devices(encoder_of("plain"), 2)
    whole = parts = 0
    for path, leaf in variables_of(nnx.state(cut.vit)).items():
        weight = leaf[...]
        (mine,) = [s.data for s in weight.addressable_shards if s.device == jax.devices()[0]]
        if sharded_axis(path) is None:
            assert mine.shape == weight.shape
            continue
        assert mine.nbytes * 2 == weight.nbytes
        whole, parts = whole + weight.nbytes, parts + 1
    assert parts == DEPTH * 6  # kernels of qkv, out, fc1, fc2; biases of qkv and fc1
    assert whole == DEPTH * 4 * (32 * 96 + 32 * 32 + 2 * 32 * 48 + 96 + 48)


def test_an_encoder_keeps_its_own_weights():
    encoder = encoder_of("plain")
    kernel = encoder.vit.blocks[0].attention.qkv.kernel[...]
    put_on_devices(encoder, 2)
    with_config(encoder, dataclasses.replace(encoder.config, num_heads=2))
    assert encoder.vit.blocks[0].attention.qkv.kernel[...] is kernel


def test_weights_stay_cut():
    cut = put_on_devices(encoder_of("plain"), 2)
    for local in (False, True):
        again = devices.replicate(cut, local=local)
        for before, after in zip(jax.tree.leaves(cut), jax.tree.leaves(again), strict=True):
            assert after.sharding.spec == before.sharding.spec


def test_uneven_shares_are_refused():
    for count in (0, 3, 8):
        with pytest.raises(
            JaxpartError, match=rf"with 4 heads cannot be sharded over {count} devices; give"
        ):
            put_on_devices(encoder_of("plain"), count)
    encoder = random_encoder("x", ViTConfig(**BODY | {"num_heads": 8, "mlp_width": 64}))
    with pytest.raises(
        JaxpartError, match="cannot be 8, since a process has 4 devices; give a num"
    ):
        put_on_devices(encoder, 8)


@pytest.mark.slow
def test_features_and_windows_with_cut_weights():
    encoder = encoder_of("plain")
    head = PixelHeads({"paper": (0, 1)}, 32, 3, rngs=nnx.Rngs(0))
    pixels = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    view = View("pictures", "image eval", 16, "abcde", list, lambda numbers: iter(pixels[numbers]))
    options = ConfigDict({"cache": "off", "folder": "", "precision": "float32"})
    tokens, logits = [], []
    for model_devices in (1, 2):
        cut = put_on_devices(encoder, model_devices)
        found = extract(cut, view, ["tokens"], options, Progress(shown=False), batch_size=4)
        tokens.append(found.features["tokens"].whole())
        batch = devices.shard((pixels[:4], np.full((4, 2), 16, np.int32)), local=True)
        logits.append(window_logits(cut, Readers([head]))(*batch))
    np.testing.assert_allclose(*tokens, atol=1e-5, rtol=0)
    np.testing.assert_allclose(*logits, atol=1e-5, rtol=0)


def test_a_configuration_names_the_devices():
    config = configs.part_config("ibot", "", projector=True)
    config.encoder.model_devices = 2
    configured_encoder(config)
    assert devices.mesh().shape["model"] == 2
    config.encoder.model_devices = 3
    with pytest.raises(JaxpartError, match="cannot be sharded over 3 devices"):
        configured_encoder(config)
