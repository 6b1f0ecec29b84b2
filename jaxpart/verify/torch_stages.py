"""A PyTorch model stage by stage: hooks take what enters and leaves its blocks.

A module is called in evaluation mode with normalised float32 images [batch, 3, height, width]. Its
blocks are the one `ModuleList` as long as the encoder is deep, found by its usual names; what enters the
first is the stage "embed", what leaves each is "block0" …. Tokens are what leaves the norm beside the
blocks, or else what the module returns; the projection is what leaves its head. A module that returns
a dictionary by our names ("tokens", "projection", …) says so itself, and `--stage NAME=MODULE` names the
submodule whose output a stage is (`--stage blocks=MODULE` that of the blocks).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxpart.errors import JaxpartError
from jaxpart.verify.stages import OUTPUTS, Stages

_BLOCKS = ("blocks", "encoder.layer", "encoder.layers", "resblocks", "layers", "layer")
_NORMS = ("norm", "layernorm", "post_layernorm", "ln_post", "final_layernorm", "post_trunk_norm")
_HEADS = ("head", "projector", "projection_head", "classifier")
OTHER_NETWORKS = ("decod", "predictor", "text", "momentum", "teacher_")
"""Parts of names of what is not the encoder."""


def run_reference(
    module: Any,
    images: Float[np.ndarray, "batch height width 3"],
    *,
    depth: int,
    named: Mapping[str, str],
) -> tuple[Stages, dict[str, str]]:
    """What a module computes, by our names.

    Args:
      module: The PyTorch module.
      images: Normalised float32 images.
      depth: Number of blocks.
      named: Submodule by stage ("blocks", "tokens", "projection", …), where the usual places are wrong.

    Returns:
      The stages that it has, and for others why not.

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
    place = named.get("blocks") or _find_blocks(modules, depth)
    blocks = list(modules[place].children())
    seen: dict[str, Any] = {}
    hooks = [blocks[0].register_forward_pre_hook(_keep_input(seen), with_kwargs=True)]
    hooks += [
        block.register_forward_hook(_keep(seen, f"block{i}")) for i, block in enumerate(blocks)
    ]
    places = _places(modules, place) | {k: v for k, v in named.items() if k != "blocks"}
    hooks += [modules[p].register_forward_hook(_keep(seen, stage)) for stage, p in places.items()]
    options = {}
    if "interpolate_pos_encoding" in inspect.signature(module.forward).parameters:
        options["interpolate_pos_encoding"] = True
    try:
        with torch.no_grad():
            inputs = torch.from_numpy(np.array(images, np.float32).transpose(0, 3, 1, 2).copy())
            returned = module(inputs, **options)
    except Exception as error:  # it is not ours
        height, width = images.shape[1:3]
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise JaxpartError(
            f"the reference cannot be run on images of {height} × {width}: {reason}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    found = {stage: _array(value) for stage, value in seen.items()}
    if hasattr(returned, "items"):
        names = {"last_hidden_state": "tokens", "logits": "projection"}
        own = {names.get(key, key): value for key, value in returned.items()}
        own = {
            key: value for key, value in own.items() if key in OUTPUTS and hasattr(value, "detach")
        }
        stated = isinstance(returned, dict) and type(returned) is dict
        for key, value in own.items():
            if (stated or key not in found) and key not in named:
                found[key] = _array(value)
    elif hasattr(returned, "detach"):
        found.setdefault("tokens" if returned.ndim == 3 else "projection", _array(returned))
    absent = {
        stage: f"not in the reference; name its submodule: --stage {stage}=…"
        for stage in OUTPUTS
        if stage not in found
    }
    return found, absent


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
    which = "several lists" if usual or lists else "no list"
    raise JaxpartError(
        f"the reference has {which} of {depth} modules {' and '.join(usual or lists)}; name its "
        f"blocks: --stage blocks=MODULE"
    )


def _places(modules: Mapping[str, Any], blocks: str) -> dict[str, str]:
    """Where the norm and the head are, beside the blocks or above them; one that does nothing last."""
    import torch

    found: dict[str, list[str]] = {"tokens": [], "projection": []}
    parent = blocks
    while parent:
        parent = parent.rpartition(".")[0]
        for stage, names in (("tokens", _NORMS), ("projection", _HEADS)):
            for name in names:
                path = f"{parent}.{name}" if parent else name
                found[stage] += [path] * (path in modules)
    for paths in found.values():
        paths.sort(key=lambda path: isinstance(modules[path], torch.nn.Identity))
    return {stage: paths[0] for stage, paths in found.items() if paths}


def _keep_input(seen: dict[str, Any]) -> Any:
    def hook(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen["embed"] = inputs[0] if inputs else named.get("hidden_states", named.get("x"))

    return hook


def _keep(seen: dict[str, Any], stage: str) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        seen[stage] = output[0] if isinstance(output, tuple | list) else output

    return hook


def _array(value: Any) -> np.ndarray:
    return value.detach().float().cpu().numpy()
