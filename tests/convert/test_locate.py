"""Containers and wrappers of training scripts, in every layout; what is beside, and what cannot be told."""

import numpy as np
import pytest
from made import WIDTH, plain_vit, under

from convert.families import FAMILIES
from convert.locate import flat_arrays
from convert.options import Options
from convert.plan import make_plan
from jaxpart.errors import JaxpartError

STATE = plain_vit()
EMA = {key: value + 1 for key, value in STATE.items()}


def plan_of(contents, family="dino", layout="timm", **options):
    return make_plan(FAMILIES[family], contents, Options(layout, num_heads=3, **options))


def arrays_of(plan):
    return {entry.target: entry.read() for entry in plan.entries}


def same(left, right):
    left, right = arrays_of(left), arrays_of(right)
    return left.keys() == right.keys() and all((left[k] == right[k]).all() for k in left)


EXPECTED = plan_of(STATE)
CONTAINERS = {
    "timm's train.py": {
        "epoch": 3,
        "arch": "vit_base_patch16_224",
        "state_dict": STATE,
        "optimizer": {"state": {0: {"step": 1, "exp_avg": np.ones(3)}}},
        "args": None,
        "state_dict_ema": EMA,
        "metric": 81.2,
    },
    "DeiT's main.py": {
        "model": STATE,
        "optimizer": {},
        "lr_scheduler": {"base_values": [1e-3]},
        "model_ema": EMA,
        "scaler": {},
    },
    "Lightning": {
        "pytorch-lightning_version": "2.1.0",
        "state_dict": under("model.", STATE),
        "hyper_parameters": {"lr": 1},
    },
    "Lightning, a head beside": {
        "state_dict": under("model.", STATE) | {"criterion.centre": np.ones(3)},
    },
    "DeepSpeed": {"module": under("module.", STATE), "buffer_names": [], "ds_version": "0.14"},
    "DDP": under("module.", STATE),
    "torch.compile": under("_orig_mod.", STATE),
    "torch.compile of DDP": under("_orig_mod.module.", STATE),
    "blocks compiled": {
        key.replace("blocks.0.", "blocks.0._orig_mod."): v for key, v in STATE.items()
    },
    "FSDP": under("_fsdp_wrapped_module.", STATE),
    "open_clip's training": {
        "epoch": 1,
        "name": "run",
        "state_dict": under("module.visual.trunk.", STATE)
        | {
            "module.logit_scale": np.ones(()),
            "module.transformer.resblocks.0.ln_1.bias": np.ones(3),
        },
    },
    "a self-supervised teacher": {
        "backbone": STATE,
        "head": {"mlp.0.weight": np.ones((3, 3))},
    },
    "a wrapper of one's own kind": under("encoder.backbone.", STATE)
    | {"fc.weight": np.ones((2, 3))},
    "linear probing": {
        "state_dict": under("module.", STATE) | {"module.head.weight": np.ones((5, 12))}
    },
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("layout", ["timm", "original"])
def test_containers(name, layout):
    plan = plan_of(CONTAINERS[name], layout=layout)
    assert same(plan, EXPECTED)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_a_moving_average_is_chosen_by_name(key):
    container = CONTAINERS["timm's train.py" if "dict" in key else "DeiT's main.py"]
    assert same(plan_of(container, checkpoint_key=key), plan_of(EMA))
    wrapped = container | {key: under("module.", EMA)}
    assert same(plan_of(wrapped, checkpoint_key=key), plan_of(EMA))


def test_what_was_chosen_is_known():
    plan = plan_of(CONTAINERS["Lightning"])
    assert plan.network.location.prefix == "state_dict.model."
    assert plan.network.location.container == "state_dict"
    assert plan.network.other_keys == ("pytorch-lightning_version", "hyper_parameters")


def test_a_prefix_of_ones_own():
    contents = {"state_dict": under("my.tower.", STATE) | {"my.text.weight": np.ones(3)}}
    with pytest.raises(
        JaxpartError, match=r"; pass --checkpoint-key state_dict --prefix my\.tower\."
    ):
        plan_of(contents)
    for prefix in ("my.tower", "my.tower.", "state_dict.my.tower."):
        assert same(plan_of(contents, prefix=prefix), EXPECTED)
    with pytest.raises(JaxpartError, match=r"no encoder has the --prefix other\.; pass "):
        plan_of(contents, prefix="other")


def test_several_encoders_are_not_guessed():
    with pytest.raises(JaxpartError, match=r"several .* --prefix backbone\. or --prefix encoder\."):
        plan_of(under("encoder.", STATE) | under("backbone.", EMA))
    plan = plan_of(under("student.backbone.", STATE) | under("teacher.backbone.", EMA))
    assert same(plan, plan_of(EMA))  # DINO's own order
    with pytest.raises(JaxpartError, match="not stripped automatically; say which"):
        plan_of(under("student.backbone.", STATE) | under("teacher.backbone.", EMA), family="mae")


def test_every_key_of_the_network_is_accounted_for():
    stray = {"adapter.weight": np.ones(3), "adapter.bias": np.ones(3)}
    with pytest.raises(
        JaxpartError, match=r"adapter\.weight is not known to this family \(--ignore"
    ):
        plan_of(STATE | stray)
    plan = plan_of(STATE | stray, ignore=("adapter.*",))
    assert plan.ignored == dict.fromkeys(stray, "--ignore adapter.*")
    assert same(plan, EXPECTED)
    with pytest.raises(JaxpartError, match="--ignore adaptor matches no key"):
        plan_of(STATE, ignore=("adaptor",))
    with pytest.raises(JaxpartError, match=r"norm\.scale has no source array"):
        plan_of(STATE, ignore=("norm.weight",))


def test_shadowed_keys():
    shadowed = STATE | {"norm": {"weight": np.zeros(WIDTH, np.float32)}}
    with pytest.raises(JaxpartError, match=r"two arrays in it are called norm\.weight"):
        plan_of(shadowed)
    with pytest.raises(JaxpartError, match=r"both .* map to blocks\.0\.scale1"):
        plan_of(
            STATE | dict.fromkeys(("blocks.0.ls1.gamma", "blocks.0.gamma_1"), np.ones(WIDTH)),
            family="vit",
        )


def test_blocks_in_chunks():
    """DINOv2's FSDP numbers blocks through, others anew in each chunk."""
    state = plain_vit(depth=4)
    for inner in (lambda i: i, lambda i: i % 2):
        chunks = {
            key.replace(f"blocks.{key.split('.')[1]}.", f"blocks.{i // 2}.{inner(i)}.")
            if key.startswith("blocks.")
            else key: value
            for key, value in state.items()
            for i in [int(key.split(".")[1]) if key.startswith("blocks.") else 0]
        }
        assert same(plan_of(chunks), plan_of(state))
    gap = {key.replace("blocks.1.", "blocks.1.7."): value for key, value in STATE.items()}
    gap = {key.replace("blocks.0.", "blocks.0.0."): value for key, value in gap.items()}
    with pytest.raises(JaxpartError, match="have gaps"):
        plan_of(gap)


def test_what_is_no_state_dict():
    for contents in ([STATE], 3, None):
        with pytest.raises(JaxpartError, match="not a dictionary of tensors"):
            plan_of(contents)
    with pytest.raises(JaxpartError, match=r"no encoder was found in it \(its keys: epoch\)"):
        plan_of({"epoch": 1})
    assert flat_arrays({"a": {"b": np.ones(1), "c": 2}}).arrays.keys() == {"a.b"}
