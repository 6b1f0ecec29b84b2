"""Twins: a PyTorch model with random weights and the encoder converted from its state dict."""

import dataclasses
import pathlib
import re

import jax
import numpy as np

from convert.families import FAMILIES
from convert.options import Options
from convert.plan import make_plan
from jaxpart.encoders.encoder import Encoder
from jaxpart.encoders.families import families
from jaxpart.encoders.loading import make_encoder
from jaxpart.io.tensor_files import open_checkpoint

TOLERANCE = 1e-4


def randomise(model, seed=0):
    """Weights of which none is trivial, and outputs of each layer with a standard deviation near 1."""
    import torch

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=random)
            if value.ndim > 1 and name.endswith("weight") and "position" not in name:
                value.copy_(noise * value[0].numel() ** -0.5)
            elif name.endswith("weight"):
                value.copy_(1 + 0.2 * noise if value.ndim == 1 else 0.5 * noise)
            elif "gamma" in name or "lambda" in name:
                value.copy_(0.5 + 0.2 * noise)
            else:
                value.copy_((0.2 if value.ndim == 1 else 0.7) * noise)
    return model.eval()


def save(model, layout, folder):
    """A checkpoint as the library itself writes it."""
    if layout == "transformers":
        model.save_pretrained(folder)
        return folder / "model.safetensors"
    import torch

    torch.save(model.state_dict(), folder / "model.pth")
    return folder / "model.pth"


def encoder_of(path, family, layout, **options) -> Encoder:
    """The encoder that `convert` would write, without writing it."""
    contents = open_checkpoint(path).contents
    plan = make_plan(FAMILIES[family], contents, Options(layout=layout, **options))
    arrays = {entry.target: entry.read() for entry in plan.entries}
    return make_encoder(
        family, plan.config, families()[family].preprocessing, arrays, digest="", trained=True
    )


TIMM = {"patch_size": 8, "img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3}
TIMM |= {"dynamic_img_size": True}
BODY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32}
BODY |= {"patch_size": 8, "intermediate_size": 96}
"""Settings of tiny models of timm and transformers."""


def forward_features(model, images):
    """Tokens of a timm model."""
    return model.forward_features(images)


def with_logits(model, images):
    """Tokens of a timm model, and what its head makes of them."""
    tokens = model.forward_features(images)
    return {"tokens": tokens, "projection": model.forward_head(tokens)}


def last_hidden_state(model, images, **options):
    """Tokens of a transformers model."""
    return model(images, **options).last_hidden_state


def check_facts(encoder, family):
    """Asserts that the table of families says of an encoder what it is."""
    facts, config = families()[family], encoder.config
    known = facts.prefix.replace(
        "register1 … register4", "register1, register2, register3, register4"
    )
    assert (", ".join(config.prefix) or "none") in known
    assert config.projector is None or facts.projector != "none"
    assert ("rotary" in facts.positions) == (config.rotary != "none")
    assert ("relative biases" in facts.positions) == (config.relative_bias != "none")
    assert ("learned" in facts.positions) == (config.positions == "learned")
    assert ("sin-cos" in facts.positions) == (config.positions == "sincos")


def renamed(arrays, names):
    """Arrays under other names: (regular expression, replacement), one after the other."""
    for old, new in names:
        arrays = {re.sub(old, new, key): value for key, value in arrays.items()}
    return arrays


def same_weights(left, right):
    """Whether two encoders have bitwise the same weights under the same paths."""
    pairs = zip(*(jax.tree_util.tree_leaves_with_path(e.vit) for e in (left, right)), strict=True)
    return all(p == q and (np.asarray(a) == np.asarray(b)).all() for (p, a), (q, b) in pairs)


def blocks_of(model):
    """The blocks of a transformers model's encoder."""
    import torch

    lists = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)}
    (blocks,) = (
        m for n, m in lists.items() if n.endswith(("layers", "layer")) and "decod" not in n
    )
    return blocks


@dataclasses.dataclass
class Twin:
    """A PyTorch model and its Flax encoder.

    Attributes:
      model: The PyTorch model, in evaluation mode.
      blocks: Its transformer blocks.
      encoder: The encoder converted from its checkpoint.
      path: The checkpoint.
    """

    model: object
    blocks: list
    encoder: Encoder
    path: pathlib.Path

    def compare(self, size, tokens, **outputs):
        """Asserts that every block and every named output agree on images of a size.

        Args:
          size: (height, width) in pixels.
          tokens: (model, [batch, 3, height, width]) → tokens, or a dictionary by our names.
        """
        import torch

        images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
        theirs = []
        hooks = [
            block.register_forward_hook(
                lambda _, __, out: theirs.append(out[0] if isinstance(out, tuple) else out)
            )
            for block in self.blocks
        ]
        with torch.no_grad():
            expected = tokens(self.model, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        for hook in hooks:
            hook.remove()
        if not isinstance(expected, dict):
            expected = {"tokens": expected}
        out = self.encoder(images, blocks=True)
        assert len(theirs) == len(out["blocks"]) > 0
        pairs = {
            f"block{i}": pair for i, pair in enumerate(zip(theirs, out["blocks"], strict=True))
        }
        pairs |= {name: (value, out[name]) for name, value in expected.items()}
        errors = {}
        for name, (torch_value, ours) in pairs.items():
            value = np.asarray(torch_value)
            assert value.shape == ours.shape, name
            assert 0.3 < value.std() < 5, f"{name} has a standard deviation of {value.std()}"
            errors[name] = float(np.abs(value - np.asarray(ours)).max())
        assert max(errors.values()) <= TOLERANCE, errors
