"""What a checkpoint that does not fit is said to look like: the best first, as a whole command."""

import re
import shlex

import numpy as np
import pytest
from made import WIDTH, plain_vit, under
from test_locate import plan_of
from test_sources import transformers_state

from convert.__main__ import _parser
from convert.families import FAMILIES
from convert.hints import hint
from convert.options import Options
from convert.pipeline import notes
from convert.sources import Stated
from jaxpart.errors import JaxpartError

STATE = plain_vit()
HEAD = {"head.weight": np.ones((5, WIDTH), np.float32), "head.bias": np.ones(5, np.float32)}


def hinted(family, contents, layout="original", **options):
    return hint(FAMILIES[family], contents, Options(layout, **options), "c.pth", "out")


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("layout", ["original", "timm"])
def test_what_is_named_first_is_in_the_command(family, layout):
    found = hinted(family, {"model": STATE | HEAD}, layout)
    first = re.match(r"this looks like (?:the (\w+) layout of )?(\w+)", found)
    tried = first[1] or layout
    command = found.partition("python -m convert ")[2].split()
    assert command[0] == first[2]
    assert ("--layout" in command) == (tried != "original")


def test_the_family_that_was_named_wants_its_heads():
    found = hinted("vit", STATE, "timm")
    assert found.startswith("this looks like vit or ")
    assert found.endswith(": python -m convert vit c.pth out --layout timm --num-heads N")


def test_what_only_the_family_vit_fits():
    found = hinted("dino", plain_vit(registers=4), "timm")
    assert "python -m convert vit c.pth out --layout timm --num-heads N" in found


def test_the_command_repeats_the_users_options():
    given = [
        *("--checkpoint-key", "model", "--ignore", "a.*", "--ignore", "b.*", "--num-heads", "3"),
        *("--image-size", "16x24", "--grid", "1x4", "--tokens", "cls,reg:2"),
        *("--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.1", "--eps", "1e-5"),
        *("--activation", "gelu_tanh", "--positions", "bicubic", "--name", "my own"),
        *("--decoder-num-heads", "2", "--overwrite", "--dry-run"),
    ]

    def parsed(*words):
        found = vars(_parser().parse_args(words))
        return found | {"ignore": tuple(found["ignore"])}

    options = parsed("dino", "c.pth", "out", *given)
    source = {name: options.pop(name) for name in ("family", "checkpoint", "out")}
    contents = {"model": plain_vit(registers=2)}
    found = hint(FAMILIES["dino"], contents, Stated().completed(options), "c.pth", "out")
    command = shlex.split(found.partition("python -m convert ")[2])
    assert parsed(*command) == source | options | {"layout": "timm"}
    masked = hint(FAMILIES["mae"], STATE, Options("timm", with_decoder=True), "c.pth", "out")
    assert masked.endswith(" mae c.pth out --layout timm --with-decoder --num-heads N")


def test_what_no_array_tells_of_any_vit():
    assumed = notes(plan_of(STATE, "vit"), Options(num_heads=3))[-1]
    assert "epsilon 1e-06, activation gelu" in assumed
    said = Options(num_heads=3, epsilon=1e-6, activation="gelu")
    assert "epsilon" not in notes(plan_of(STATE, "vit", epsilon=1e-6), said)[-1]


def test_images_of_other_channels_are_told():
    array = np.ones((WIDTH, 1, 4, 4), np.float32)
    with pytest.raises(JaxpartError, match="reads images of 1 channels; only 3"):
        plan_of(STATE | {"patch_embed.proj.weight": array})


def test_pretraining_by_masked_images():
    state = under("vit.", transformers_state())
    extra = {"decoder.0.weight": np.ones((3, WIDTH, 1, 1)), "decoder.0.bias": np.ones(3)}
    plan = plan_of(state | extra, "vit", "transformers")
    assert plan.ignored.keys() == extra.keys()
