"""Trained heads from a run's work directory."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxpart.errors import JaxpartError
from jaxpart.io.npz import read_npz
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.linear import LinearHead


def load_head(file: str | pathlib.Path, name: str, *, seed: int = 0) -> LinearHead | AttentiveHead:
    """Loads a head from heads/TASK_DATA.npz; call it with features and statistics="running" for logits.

    Args:
      file: The file.
      name: Kind, representation and reading, as in "linear/cls_token/best": "best" is the head after
        its best test epoch, "chosen" after the epoch chosen without the test set, "last" at the end.
      seed: Index of the run's seed, from 0.

    Raises:
      JaxpartError: The file cannot be read or has no such head.
    """
    if seed < 0:
        raise JaxpartError(f"there is no seed {seed}; seeds are counted from 0")
    stored = read_npz(file, "run its configuration again")
    known = sorted({key.rpartition("/")[0] for key in stored if key.endswith("/kernel")})
    if name not in known:
        raise JaxpartError(f"{file} has no head {name!r}; it has {', '.join(known)}")
    keys = [key for key in stored if key.startswith(f"{name}/")]
    if not all(np.issubdtype(stored[key].dtype, np.floating) for key in keys):
        raise JaxpartError(
            f"{file} is damaged: {name} is not a numeric array; run its configuration again"
        )
    try:
        arrays = {key.removeprefix(f"{name}/"): stored[key][seed] for key in keys}
    except IndexError:
        raise JaxpartError(f"{file} has no seed number {seed} of {name}") from None
    num_heads = stored.get(f"{name.rpartition('/')[0]}/num_heads")
    try:
        return _head(arrays, num_heads)
    except (KeyError, TypeError, ValueError) as error:
        raise JaxpartError(
            f"{file} is damaged: the arrays of {name} do not form a head; run its configuration again"
        ) from error


def _head(
    arrays: Mapping[str, np.ndarray], num_heads: np.ndarray | None
) -> LinearHead | AttentiveHead:
    """A linear head, or an attentive one if `num_heads` is given."""

    def make() -> LinearHead | AttentiveHead:
        width, classes = arrays["kernel"].shape
        if num_heads is None:
            batch_norm = "norm.mean" in arrays
            return LinearHead(width, classes, batch_norm=batch_norm, rngs=nnx.Rngs(0))
        return AttentiveHead(width, classes, num_heads=int(num_heads), rngs=nnx.Rngs(0))

    head = nnx.eval_shape(make)  # a damaged file must not claim memory for arrays that it lacks
    state = nnx.state(head)
    for path, leaf in nnx.to_flat_state(state):
        array = arrays[".".join(map(str, path))]
        if array.shape != leaf.shape:
            raise ValueError(f"{path} has the shape {array.shape}")
        leaf.set_value(jnp.asarray(array))
    nnx.update(head, state)
    return head
