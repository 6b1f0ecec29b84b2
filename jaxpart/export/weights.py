"""`python -m jaxpart.export weights ENCODER OUT.safetensors --layout timm`: weights for PyTorch.

The names are those of timm, of transformers or of the method's own code; PyTorch's model loads them
strictly (`safetensors.torch.load_file`).
"""

from __future__ import annotations

import argparse
import importlib
import pathlib

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import load_encoder, read_about
from jaxpart.encoders.weights import arrays_of
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.files import path_of, write_safetensors


def export_weights(
    encoder: str | pathlib.Path, out: str | pathlib.Path, layout: str, family: str | None = None
) -> list[str]:
    """Writes the state dict of an encoder as a safetensors file.

    Args:
      encoder: A converted encoder.
      out: The file, "….safetensors".
      layout: The naming scheme: "timm", "transformers" or "original".
      family: The family whose names to use, if not the one it was converted as.

    Returns:
      Lines on how to create the PyTorch model, and on what was left out.

    Raises:
      JaxpartError: The encoder cannot be read, the layout has no names for it, or the file cannot be
        written.
    """
    out = path_of(out)
    if out.suffix != ".safetensors":
        raise JaxpartError(
            f"{out} is not a safetensors file; use a name that ends with .safetensors"
        )
    metadata = read_about(encoder)
    loaded = load_encoder(encoder)
    # imported only here: `convert` knows PyTorch's names
    families = importlib.import_module("convert.families")
    state_dicts = importlib.import_module("convert.state_dict")
    if family:
        chosen = families.find_family(family)
    else:  # never a file to run: the folder may be a stranger's
        source = metadata.get("source")
        recorded = str((source.get("family") if isinstance(source, dict) else "") or loaded.name)
        chosen = families.named_family(recorded)
        if chosen is None:
            raise JaxpartError(
                f"{encoder} was converted as {printable(recorded)}, which is no installed family; pass "
                f"--family"
            )
    written = state_dicts.state_dict(chosen, layout, loaded.config, arrays_of(loaded.vit))
    write_safetensors(out, written.arrays, {"format": "pt"})
    left_out = [f"left out: {', '.join(written.left_out[:4])}… ({layout} has no names for it)"]
    model = state_dicts.timm_model(loaded.config, written.arrays) if layout == "timm" else ""
    return [
        _settings(loaded.config),
        *([f"in timm: {model}"] if model else []),
        *(left_out if written.left_out else []),
    ]


def _settings(config: ViTConfig) -> str:
    height, width = config.image_size
    return (
        f"create the model with: {config.num_heads} heads, patches of {config.patch_size}, "
        f"{height} × {width} pixels, eps {config.norm_epsilon:g}, {config.activation}"
        + (", SwiGLU" if config.gated_mlp else "")
        + (f", rotary positions ({config.rotary})" if config.rotary != "none" else "")
    )


def main(arguments: list[str]) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m jaxpart.export weights", description=__doc__)
    parser.add_argument("encoder", metavar="ENCODER", help="a converted encoder")
    parser.add_argument("out", metavar="OUT", help="the .safetensors file to write")
    parser.add_argument(
        "--layout", required=True, choices=("timm", "transformers", "original"), help="whose names"
    )
    parser.add_argument("--family", help="default: the one it was converted as")
    args = parser.parse_args(arguments)
    for line in export_weights(args.encoder, args.out, args.layout, args.family):
        print(line)
    print(args.out)
    return 0
