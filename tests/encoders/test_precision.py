"""Precision: what is rounded, what is not, what it costs, and that nothing else decides it."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest

from jaxpart import config as configs
from jaxpart.encoders.encoder import _forward
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.loading import load_encoder, random_encoder, write_encoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.vit import ViTConfig
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError
from jaxpart.evaluation import measure
from jaxpart.runs.progress import Progress
from jaxpart.runs.table import Section, encoder_name, sections_text

BODY = {"image_size": (32, 32), "patch_size": 8, "depth": 2, "num_heads": 2, "mlp_width": 128}
BODY |= {"width": 64}
VARIANTS = {
    "bottleneck": {"projector": ProjectorConfig("bottleneck", 32, (64,), bottleneck=16)},
    "pool": {"prefix": (), "projector": ProjectorConfig("attention_pool", 64, (64,), num_heads=2)},
    "stem": {"stem": "conv", "patch_size": 16, "layer_scale": True, "qkv_bias": "qv"},
    "rotary": {"rotary": "dinov3", "gated_mlp": True, "norm": "rms", "biases": False},
    "bias": {"positions": "none", "relative_bias": "per_block"},
    "predictor": {"projector": ProjectorConfig("mlp_bn", 32, (64, 64), predictor=64)},
    "patches": {"projector": ProjectorConfig("bottleneck", 32, (64,), bottleneck=16, patch_out=8)},
    "classifier": {
        "prefix": ("cls", "dist"),
        "projector": ProjectorConfig("classifier", 10, heads=2),
        "rotary": "eva02",
        "mlp_norm": True,
        "attention_norm": True,
    },
    "shared": {"positions": "none", "relative_bias": "shared", "pooled_norm": True}
    | {"final_norm": False, "projector": ProjectorConfig("classifier", 10)},
}
HIGHEST = (jax.lax.Precision.HIGHEST,) * 2
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


def encoder_of(variant, precision):
    encoder = random_encoder("x", ViTConfig(**BODY | VARIANTS[variant]))
    return dataclasses.replace(encoder, precision=precision)


@pytest.fixture(scope="module")
def rounded():
    return encoder_of("bottleneck", "bfloat16")


@pytest.fixture(scope="module")
def exact():
    return encoder_of("bottleneck", "float32-highest")


def products(encoder, images=IMAGES):
    program = jax.make_jaxpr(lambda encoder, images: encoder(images, blocks=True))(encoder, images)
    return list(programs.operations(program.jaxpr)), programs.products(program)


@pytest.mark.parametrize("variant", VARIANTS)
def test_operands_alone_are_rounded(variant):
    operations, multiplied = products(encoder_of(variant, "bfloat16"))
    assert len(multiplied) >= 2 * 6 + 1
    for one in multiplied:
        assert [v.aval.dtype for v in one.invars] == [jnp.bfloat16] * 2
        assert one.outvars[0].aval.dtype == jnp.float32
    for one in operations:
        if any(getattr(v.aval, "dtype", None) == jnp.bfloat16 for v in one.outvars):
            assert one.primitive.name == "convert_element_type"


def test_positions_are_never_rounded(rounded):
    _, multiplied = products(rounded, np.zeros((1, 48, 32, 3), np.float32))
    whole = [one for one in multiplied if one.invars[0].aval.dtype == jnp.float32]
    assert whole  # the interpolation of positions
    assert all(one.params["precision"] == HIGHEST for one in whole)


def test_the_compiled_program_has_them(rounded):
    text = _forward.lower(rounded, IMAGES, blocks=False, attention=False).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    types = {tuple(re.findall(r"x(bf16|f32)>", line.split(" : ")[-1])) for line in lines}
    assert types == {("bf16", "bf16", "f32")}


def test_what_it_costs(rounded, exact):
    right, found = exact(IMAGES), rounded(IMAGES)
    for name in ("tokens", "embedding", "projection", "cls_token"):
        assert found[name].dtype == jnp.float32
        error = np.abs(found[name] - right[name]).max() / np.abs(right[name]).max()
        assert 1e-4 < error < 2e-2, name
    default = dataclasses.replace(exact, precision="float32")(IMAGES)
    assert np.abs(default["tokens"] - right["tokens"]).max() < 1e-5  # the same, on a CPU


@pytest.mark.parametrize(
    ("precision", "wanted"),
    [("float32-highest", jax.lax.Precision.HIGHEST), ("float32", jax.lax.Precision.DEFAULT)],
)
def test_the_users_own_setting_decides_nothing(exact, precision, wanted):
    encoder = dataclasses.replace(exact, precision=precision)
    for setting in ("bfloat16", "float32"):
        with jax.default_matmul_precision(setting):
            _, multiplied = products(encoder)
        assert {one.params["precision"] for one in multiplied} == {(wanted, wanted)}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("height", [32, 48])
def test_every_product_of_the_module_states_the_reference(variant, height):
    encoder = encoder_of(variant, "float32-highest")
    images = np.zeros((1, height, 32, 3), np.float32)
    program = jax.make_jaxpr(lambda images: encoder.model(images, blocks=True))(images)
    assert programs.precisions(program) == {HIGHEST}
    gradient = jax.make_jaxpr(jax.grad(lambda images: encoder.model(images)["embedding"].sum()))
    assert programs.precisions(gradient(images)) == {HIGHEST}


def test_the_modules_compiled_program_states_it(exact):
    text = jax.jit(lambda images: exact.model(images)).lower(IMAGES).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(lines) >= 2 * 6 + 1
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in lines)


def test_inside_a_users_own_jit(rounded, exact):
    embed = jax.jit(lambda encoder, images: encoder(images)["embedding"])
    for encoder in (rounded, exact, rounded):
        np.testing.assert_allclose(
            embed(encoder, IMAGES), encoder(IMAGES)["embedding"], atol=1e-6, rtol=0
        )
    assert embed._cache_size() == 2
    gradient = jax.eval_shape(
        jax.grad(lambda images: rounded(images)["embedding"].sum()), jnp.asarray(IMAGES)
    )
    assert (gradient.shape, gradient.dtype) == (IMAGES.shape, jnp.float32)


def test_it_is_chosen_on_loading(exact, tmp_path):
    arrays = arrays_of(exact.vit)
    write_encoder(tmp_path, "x", exact.config, Preprocessing(), arrays, {})
    assert load_encoder(tmp_path).precision == "float32-highest"
    loaded = load_encoder(tmp_path, precision="bfloat16")
    assert (loaded.precision, loaded.digest) == ("bfloat16", exact.digest)
    with pytest.raises(JaxpartError, match=r"'fp16'; choose from float32-highest, float32, bfl"):
        load_encoder(tmp_path, precision="fp16")


@pytest.mark.slow
def test_a_run_says_its_precision(tmp_path):
    config = configs.part_config("ibot", "", projector=True)
    config.tasks, config.retrieval.representations = ("retrieval",), ("embedding",)
    config.data.num_images, config.features.cache = 2, "off"
    results = {}
    for precision in ("float32-highest", "bfloat16"):
        config.encoder.precision = precision
        folder = tmp_path / precision
        results[precision] = measure(config, folder, Progress(shown=False))["encoder"]
    assert "precision" not in results["float32-highest"]
    assert results["bfloat16"]["precision"] == "bfloat16"
    titles = [
        sections_text(encoder_name(about), [Section(("a", "b"), [("1", "2")])])
        for about in results.values()
    ]
    assert ["in bfloat16" in " ".join(title.split()) for title in titles] == [False, True]
    config.encoder.precision = "half"
    with pytest.raises(JaxpartError, match=r"config\.encoder\.precision is 'half'; choose from"):
        measure(config, tmp_path / "half", Progress(shown=False))
