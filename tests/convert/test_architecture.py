"""What arrays tell of an encoder and what they do not: heads, classifiers, tokens, grids."""

import numpy as np
import pytest
from made import DEPTH, WIDTH, plain_vit, under
from test_locate import arrays_of, plan_of, same

from convert.families import FAMILIES
from convert.options import Options
from convert.pipeline import notes
from convert.plan import make_plan
from jaxpart.errors import JaxpartError

STATE = plain_vit()
HEAD = {"head.weight": np.ones((5, WIDTH), np.float32), "head.bias": np.ones(5, np.float32)}
FC_NORM = {"fc_norm.weight": STATE["norm.weight"], "fc_norm.bias": STATE["norm.bias"]}
POOLED = {key: v for key, v in STATE.items() if not key.startswith("norm.")} | FC_NORM | HEAD


@pytest.mark.parametrize("family", ["dino", "ibot", "mae", "mocov3", "dinov2"])
@pytest.mark.parametrize("layout", ["timm", "original"])
def test_a_classifier_that_the_family_has_not_is_left_out(family, layout):
    state = STATE
    if family == "dinov2":
        scales = {f"blocks.{i}.ls{n}.gamma": np.ones(WIDTH) for i in range(DEPTH) for n in (1, 2)}
        state = STATE | scales
    if (family, layout) == ("mocov3", "original"):
        state = under("module.base_encoder.", STATE)
        head = under("module.base_encoder.", HEAD)
    else:
        head = HEAD
    plan = plan_of(state | head, family, layout)
    assert plan.config.projector is None
    assert plan.ignored.keys() == head.keys()
    assert any("head.weight" in line for line in notes(plan, Options()))


@pytest.mark.parametrize("family", ["deit", "augreg"])
def test_a_classifier_that_the_family_has_is_kept(family):
    assert plan_of(STATE | HEAD, family).config.projector.out == 5


def test_a_classifier_of_the_mean_is_not_taken_for_one_of_a_register():
    state = plain_vit(registers=2, slots=2)
    del state["cls_token"]
    plan = plan_of(state | HEAD, "vit")
    assert plan.config.prefix == ("register1", "register2")
    assert plan.config.projector is None
    assert plan.ignored.keys() == HEAD.keys()


@pytest.mark.parametrize("name", ["head.0", "fc", "classifier", "linear"])
def test_classifiers_of_linear_probes(name):
    probe = {f"{name}.weight": np.ones((5, WIDTH)), f"{name}.bias": np.ones(5)}
    assert same(plan_of(STATE | probe), plan_of(STATE))


@pytest.mark.parametrize("layout", ["timm", "original"])
def test_fine_tuned_on_mean_patches(layout):
    config = plan_of(POOLED, "mae", layout).config
    assert (config.final_norm, config.pooled_norm) == (False, True)
    assert config.projector.out == 5
    with pytest.raises(JaxpartError, match=r"norm\.scale has no source array"):
        plan_of({key: v for key, v in STATE.items() if not key.startswith("norm.")}, "mae", layout)


@pytest.mark.parametrize("old", [True, False])
def test_both_weight_norms(old):
    rng = np.random.default_rng(0)
    g, v = rng.normal(size=(7, 1)), rng.normal(size=(7, 4))
    names = ("weight_g", "weight_v")
    if not old:
        names = tuple(f"parametrizations.weight.original{i}" for i in (0, 1))
    head = {f"head.last_layer.{name}": array for name, array in zip(names, (g, v), strict=True)}
    for i, shape in {0: (6, WIDTH), 2: (4, 6)}.items():
        head |= {f"head.mlp.{i}.weight": np.ones(shape), f"head.mlp.{i}.bias": np.ones(shape[0])}
    plan = plan_of({"teacher": under("backbone.", STATE) | head}, layout="original")
    found = arrays_of(plan)["projector.head.last.kernel"]
    np.testing.assert_allclose(found, (g * v / np.linalg.norm(v, axis=1)[:, None]).T, rtol=1e-6)
    assert plan.config.projector.hidden == (6,)


def test_beit_v2s_second_head_is_left_out():
    state = {key: v for key, v in STATE.items() if not key.startswith("pos_embed")}
    state |= {"rel_pos_bias.relative_position_bias_table": np.ones((9 + 3, 3))}
    state |= {f"cls_pt_layers.0.{name}": np.ones(3) for name in ("gamma_1", "norm1.weight")}
    plan = make_plan(FAMILIES["beit"], {"model": state}, Options())
    assert plan.config.num_heads == 3
    assert all(key.startswith("model.cls_pt_layers.") for key in plan.ignored)
    assert plan.config.image_size == (8, 8)


def test_a_vit_without_positions_is_refused():
    state = {key: v for key, v in STATE.items() if not key.startswith("pos_embed")}
    with pytest.raises(JaxpartError, match="it stores no positions; rotary ones leave no trace"):
        plan_of(state, "vit")


def test_heads_are_said():
    plan = make_plan(FAMILIES["dino"], STATE, Options("timm", num_heads=3))
    assert "heads" not in notes(plan, Options("timm", num_heads=3))[-1]
    assert "3 heads (by width 12" in notes(plan, Options("timm"))[-1]
    with pytest.raises(JaxpartError, match="--num-heads must be at least 1, not 0"):
        Options(num_heads=0)
    for wrong in (
        {"mean": (123.7, 116.3, 103.5)},
        {"mean": (float("nan"),) * 3},
        {"std": (58.4,) * 3},
    ):
        with pytest.raises(JaxpartError, match="but must be given for pixels from 0 to 1"):
            Options(**wrong)
    with pytest.raises(JaxpartError, match="no released dino has width 12"):
        make_plan(FAMILIES["dino"], STATE, Options("timm"))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.complex64])
def test_quantised_weights_are_told(dtype):
    plan = plan_of(STATE | {"blocks.0.attn.proj.weight": np.ones((WIDTH, WIDTH), dtype)})
    with pytest.raises(JaxpartError, match=rf"proj\.weight holds {np.dtype(dtype)} numbers"):
        arrays_of(plan)


REGISTERS = {
    "without positions": (1, 1),
    "inside the positions": (4, 4),
    "positions of patches alone": (0, 0),
}


@pytest.mark.parametrize("name", REGISTERS)
def test_registers(name):
    slots, _stored = REGISTERS[name]
    state = plain_vit(16, registers=3, slots=slots)
    plan = plan_of(state, "vit")
    assert plan.config.prefix == ("cls", "register1", "register2", "register3")
    assert plan.config.prefix_positions == (slots > 0)
    found = arrays_of(plan)["positions"]
    assert len(found) == 16 + (4 if slots else 0)
    if slots == 1:
        assert (found[1:4] == 0).all()
    np.testing.assert_array_equal(found[-16:], state["pos_embed"][0, -16:])
    assert plan.config.image_size == (16, 16)


def test_the_grid():
    state = plain_vit(16)
    assert plan_of(state).config.grid == (4, 4)
    assert plan_of(state, grid=(2, 8)).config.image_size == (8, 32)
    assert plan_of(state, grid=(2, 8), image_size=(16, 16)).config.grid == (2, 8)
    assert plan_of(state, image_size=(8, 32)).config.grid == (4, 4)  # though 2 × 8 are as many
    assert plan_of(plain_vit(15), image_size=(12, 20)).config.grid == (3, 5)
    assert plan_of(state, grid=(4, 4), image_size=(8, 32)).config.grid == (4, 4)
    assert plan_of(state, image_size=(24, 24)).config.grid == (4, 4)
    with pytest.raises(JaxpartError, match="16 stored positions do not match a grid of 3 × 5"):
        plan_of(state, grid=(3, 5))
    with pytest.raises(JaxpartError, match=r"7 stored .* do not form a square; .* --grid 14x28"):
        plan_of(plain_vit(7))


def test_positions_that_fill_a_square_only_without_that_of_cls_are_said():
    """2 × 4 patches and cls have as many positions as 3 × 3 patches."""
    plan = plan_of(plain_vit(8))
    assert "positions of 3 × 3 patches, none of cls" in notes(plan, Options("timm"))[-1]
    assert "none of cls" not in notes(plan_of(plain_vit(16)), Options("timm"))[-1]


def test_any_plain_vit():
    """A subclass of timm's ViT with a prefix of its own and one more token takes one command."""
    state = plain_vit(slots=2)
    state["scale_token"] = np.ones((1, 1, WIDTH), np.float32)
    options = {"prefix": "net.tower", "tokens": (("cls", 1), ("scale", 1)), "epsilon": 1e-3}
    options |= {"activation": "silu", "positions": "bicubic_offset"}
    plan = plan_of(under("net.tower.", state), "vit", **options)
    config = plan.config
    assert config.prefix == ("cls", "scale")
    assert (config.norm_epsilon, config.activation) == (1e-3, "silu")
    assert config.position_resize == "bicubic_offset"
    prefix = arrays_of(plan)["prefix_tokens"]
    np.testing.assert_array_equal(prefix, np.stack([state["cls_token"][0, 0], np.ones(WIDTH)]))
    with pytest.raises(JaxpartError, match=r"cannot be read from the arrays, .* pass --num-heads"):
        make_plan(FAMILIES["vit"], state, Options("timm"))


def test_packed_and_unpacked_attention():
    unpacked = dict(STATE)
    for i in range(DEPTH):
        for kind in ("weight", "bias"):
            parts = np.split(unpacked.pop(f"blocks.{i}.attn.qkv.{kind}"), 3)
            for letter, part in zip("qkv", parts, strict=True):
                unpacked[f"blocks.{i}.attn.{letter}_proj.{kind}"] = part
    assert same(plan_of(unpacked), plan_of(STATE))
    del unpacked["blocks.1.attn.k_proj.weight"]
    with pytest.raises(
        JaxpartError,
        match=r"cannot be made of blocks\.1\.attn\.q_proj\.weight and .*v_proj\.weight alone",
    ):
        plan_of(unpacked)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    state = STATE | {"blocks.1.norm1.bias": np.full(WIDTH, value, np.float32)}
    with pytest.raises(
        JaxpartError, match=r"blocks\.1\.norm1\.bias has values that are not finite"
    ):
        arrays_of(plan_of(state))


@pytest.mark.parametrize(("key", "shape"), [
    ("blocks.0.norm1.weight", (0,)),
    ("blocks.0.norm1.weight", ()),
    ("patch_embed.proj.weight", ()),
    ("patch_embed.proj.weight", (12, 3, 4, 8)),
    ("patch_embed.proj.weight", (12, 2)),
    ("pos_embed", ()),
    ("pos_embed", (0, 12)),
    ("blocks.0.mlp.fc2.weight", (5,)),
    ("blocks.0.attn.qkv.weight", (1,)),
    ("cls_token", (0, 0, 0)),
])  # fmt: skip
def test_impossible_shapes_end_in_a_sentence(key, shape):
    with pytest.raises(JaxpartError):
        plan_of(STATE | {key: np.zeros(shape, np.float32)})
