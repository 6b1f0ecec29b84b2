"""Runs a PyTorch model stage by stage: hooks record the inputs and outputs of its blocks.

A module is called in evaluation mode with normalised float32 images [batch, 3, height, width]. Its
blocks are the one `ModuleList` whose length is the encoder's depth, found by its usual names. The first
block's input is the stage "embed", the blocks' outputs are "block0", …. Tokens are the output of the norm
next to the blocks, or else of the module; the projection is the output of the head. A module may return
a dictionary with our names ("tokens", "projection", …), and `--stage NAME=MODULE` sets the submodule
whose output a stage is (`--stage blocks=MODULE` sets the blocks).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpart.errors import JaxpartError, first_line
from jaxpart.verify.stages import OUTPUTS, Stages

_BLOCKS = ("blocks", "encoder.layer", "encoder.layers", "resblocks", "layers", "layer")
_NORMS = ("norm", "layernorm", "post_layernorm", "ln_post", "final_layernorm", "post_trunk_norm")
_HEADS = ("head", "projector", "projection_head", "classifier")
OTHER_NETWORKS = ("decod", "predictor", "text", "momentum", "teacher_")
"""Parts of the names of other networks, such as decoders."""


def run_reference(
    module: Any,
    images: Float[np.ndarray, "batch height width 3"],
    *,
    depth: int,
    named: Mapping[str, str],
) -> tuple[Stages, dict[str, str]]:
    """Runs a module and returns its stages by our names.

    Args:
      module: The PyTorch module.
      images: Normalised float32 images.
      depth: Number of blocks.
      named: Submodule by stage ("blocks", "tokens", "projection", …), if the automatic choice is wrong.

    Returns:
      The stages that it has, and the reasons why it lacks others.

    Raises:
      JaxpartError: Its blocks cannot be found, or it cannot be run.
    """
    import torch

    modules = dict(module.named_modules())
    for stage, path in named.items():
        if path not in modules:
            raise JaxpartError(
                f"--stage {stage}={path}: the reference has no such submodule; it has "
                f"{', '.join(list(modules)[1:9])} …"
            )
    blocks_path = named.get("blocks") or _find_blocks(modules, depth)
    blocks = list(modules[blocks_path].children())
    recorded: dict[str, Any] = {}
    hooks = [blocks[0].register_forward_pre_hook(_record_input(recorded), with_kwargs=True)]
    hooks += [
        block.register_forward_hook(_record(recorded, f"block{i}"))
        for i, block in enumerate(blocks)
    ]
    modules_of = _norm_and_head(modules, blocks_path) | {
        k: v for k, v in named.items() if k != "blocks"
    }
    hooks += [
        modules[p].register_forward_hook(_record(recorded, stage))
        for stage, p in modules_of.items()
    ]
    options = {}
    if "interpolate_pos_encoding" in inspect.signature(module.forward).parameters:
        options["interpolate_pos_encoding"] = True
    try:
        with torch.no_grad():
            inputs = torch.from_numpy(np.array(images, np.float32).transpose(0, 3, 1, 2).copy())
            returned = module(inputs, **options)
    except Exception as error:  # a foreign module may raise anything
        height, width = images.shape[1:3]
        raise JaxpartError(
            f"the reference cannot be run on images of {height} × {width}: {first_line(error)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    stages = {stage: _array(value) for stage, value in recorded.items()}
    if hasattr(returned, "items"):
        names = {"last_hidden_state": "tokens", "logits": "projection"}
        outputs = {names.get(key, key): value for key, value in returned.items()}
        outputs = {
            key: value
            for key, value in outputs.items()
            if key in OUTPUTS and hasattr(value, "detach")
        }
        plain_dict = type(returned) is dict
        for key, value in outputs.items():
            if (plain_dict or key not in stages) and key not in named:
                stages[key] = _array(value)
    elif hasattr(returned, "detach"):
        stages.setdefault("tokens" if returned.ndim == 3 else "projection", _array(returned))
    absent = {
        stage: f"not in the reference; name its submodule: --stage {stage}=…"
        for stage in OUTPUTS
        if stage not in stages
    }
    return stages, absent


def _find_blocks(modules: Mapping[str, Any], depth: int) -> str:
    import torch

    lists = [
        path
        for path, module in modules.items()
        if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential)
        and len(module) == depth
        and not any(word in path for word in OTHER_NETWORKS)
    ]
    usual = [path for path in lists if f".{path}".endswith(tuple(f".{name}" for name in _BLOCKS))]
    if len(usual) == 1:
        return usual[0]
    if not usual and len(lists) == 1:
        return lists[0]
    how_many = "several lists" if usual or lists else "no list"
    raise JaxpartError(
        f"the reference has {how_many} of {depth} modules {' and '.join(usual or lists)}; name its "
        f"blocks: --stage blocks=MODULE"
    )


def _norm_and_head(modules: Mapping[str, Any], blocks: str) -> dict[str, str]:
    """Paths of the norm and the head, next to the blocks or above; an identity only without another."""
    import torch

    candidates: dict[str, list[str]] = {"tokens": [], "projection": []}
    parent = blocks
    while parent:
        parent = parent.rpartition(".")[0]
        for stage, names in (("tokens", _NORMS), ("projection", _HEADS)):
            for name in names:
                path = f"{parent}.{name}" if parent else name
                candidates[stage] += [path] * (path in modules)
    for paths in candidates.values():
        paths.sort(key=lambda path: isinstance(modules[path], torch.nn.Identity))
    return {stage: paths[0] for stage, paths in candidates.items() if paths}


def _record_input(recorded: dict[str, Any]) -> Any:
    def hook(module: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        recorded["embed"] = (
            inputs[0] if inputs else keywords.get("hidden_states", keywords.get("x"))
        )

    return hook


def _record(recorded: dict[str, Any], stage: str) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        recorded[stage] = output[0] if isinstance(output, tuple | list) else output

    return hook


def _array(value: Any) -> np.ndarray:
    return value.detach().float().cpu().numpy()
