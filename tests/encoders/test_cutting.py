"""Weights cut over several devices: the same numbers, each device its part, two sums per block."""

import jax
import numpy as np
import pytest
from flax import nnx
from steady import exchanges

from jaxpart import config as configs
from jaxpart import devices, main
from jaxpart.encoders.cutting import cut_axis, put_on_devices
from jaxpart.encoders.encoder import _forward
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import make_encoder, random_encoder, shapes_of
from jaxpart.encoders.vit import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.progress import Progress
from jaxpart.workdir import WorkDir

DEPTH = 2
BODY = {"image_size": (16, 16), "patch_size": 8, "width": 32, "depth": DEPTH, "num_heads": 4}
BODY |= {"mlp_width": 48}
VARIANTS = {
    "plain": {},
    "beit": {"qkv_bias": "qv", "relative_bias": "per_block", "layer_scale": True},
    "gated": {"gated_mlp": True, "rotary": "dinov3", "norm": "rms"},
    "inner norms": {"mlp_norm": True, "attention_norm": True, "gated_mlp": True},
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
    norms = 2 * 2 * DEPTH if variant == "inner norms" else 0
    tokens = ("all-reduce", "f32[2,5,32]")
    found = exchanges(compiled)
    assert found.pop(tokens) == 2 * DEPTH
    assert sum(found.values()) <= norms
    assert set(found) <= {("all-reduce", "f32[2,5]"), ("all-reduce", "f32[2,5,1]")}


def test_a_device_holds_its_part():
    cut = put_on_devices(encoder_of("plain"), 2)
    whole = parts = 0
    for path, leaf in nnx.to_flat_state(cut.state):
        name, weight = ".".join(map(str, path)), leaf[...]
        (mine,) = [s.data for s in weight.addressable_shards if s.device == jax.devices()[0]]
        if cut_axis(name) is None:
            assert mine.shape == weight.shape
            continue
        assert mine.nbytes * 2 == weight.nbytes
        whole, parts = whole + weight.nbytes, parts + 1
    assert parts == DEPTH * 6  # kernels of qkv, out, fc1, fc2; biases of qkv and fc1
    assert whole == DEPTH * 4 * (32 * 96 + 32 * 32 + 2 * 32 * 48 + 96 + 48)


def test_weights_stay_cut():
    cut = put_on_devices(encoder_of("plain"), 2)
    for local in (False, True):
        again = devices.replicate(cut, local=local)
        for before, after in zip(jax.tree.leaves(cut), jax.tree.leaves(again), strict=True):
            assert after.sharding.spec == before.sharding.spec


def test_uneven_shares_are_refused():
    for count in (0, 3, 8):
        with pytest.raises(JaxpartError, match=rf"cut over {count} .* has 4 heads; give a config"):
            put_on_devices(encoder_of("plain"), count)
    encoder = random_encoder("x", ViTConfig(**BODY | {"num_heads": 8, "mlp_width": 64}))
    with pytest.raises(JaxpartError, match="cannot be 8 where a process has 4 devices; give a num"):
        put_on_devices(encoder, 8)


def test_a_run_with_cut_weights(tmp_path):
    config = configs.part_config("ibot", "", projector=True)
    config.tasks, config.data.num_images, config.features.cache = ("retrieval",), 6, "off"
    config.retrieval.representations = ("embedding",)
    values = []
    for model_devices in (1, 2):
        config.encoder.model_devices = model_devices
        work = WorkDir(tmp_path / str(model_devices), {})
        values.append(main.run(config, work, Progress(shown=False))["values"])
    assert values[0].keys() == values[1].keys()
    for key, value in values[0].items():
        assert abs(values[1][key] - value) <= 1e-5, key
