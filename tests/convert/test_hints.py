"""What a checkpoint that does not fit is said to look like: the best first, as a whole command."""

import re

import numpy as np
import pytest
from made import WIDTH, plain_vit, under
from test_locate import plan_of
from test_sources import transformers_state

from convert.families import FAMILIES
from convert.hints import hint
from convert.options import Options
from convert.pipeline import notes
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
