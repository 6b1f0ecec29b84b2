"""A frozen encoder: a ViT and the preprocessing that it was trained with."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from jaxpart import devices
from jaxpart.cpu.microbatch import in_microbatches
from jaxpart.encoders.architecture import ViTConfig, chosen
from jaxpart.encoders.families import Preprocessing
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.precision import REFERENCE, Precision, check_precision, set_precision
from jaxpart.encoders.vit import ViT, with_architecture
from jaxpart.errors import JaxpartError


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["vit"],
    meta_fields=["name", "preprocessing", "digest", "trained", "precision"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen encoder.

    Called directly, it is compiled once per image shape. It is a pytree whose leaves are its weights,
    so it can be an argument of your own jitted function:

        embed = jax.jit(lambda encoder, images: encoder(images)["embedding"])

    Attributes:
      name: The method, "ibot".
      vit: The network. It is frozen: train a copy, `model`.
      preprocessing: Mean and std of its pixels.
      digest: sha256 over everything that determines its output: names, shapes and values of all
        weights, architecture and preprocessing.
      trained: False for random weights, whose results say nothing about a method.
      precision: Precision of its matrix products; change it with `dataclasses.replace`.
    """

    name: str
    vit: ViT
    preprocessing: Preprocessing
    digest: str
    trained: bool
    precision: Precision = REFERENCE

    def __post_init__(self) -> None:
        """Raises `JaxpartError` for an unknown precision."""
        check_precision(self.precision)

    def __repr__(self) -> str:
        """A summary in a few lines, with non-default fields of the architecture."""
        # Inside JAX's transformations leaves may be anything.
        count = sum(getattr(leaf, "size", 0) for leaf in jax.tree.leaves(self.vit))
        state = "trained" if self.trained else "UNTRAINED"
        return (
            f"Encoder({self.name!r}, {state}, {count:,} parameters, {self.precision},\n"
            f"    {chosen(self.config)},\n"
            f"    {self.preprocessing},\n"
            f"    digest={self.digest!r})"
        )

    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        *,
        order: Int[Array, "batch patch"] | None = None,
        blocks: bool = False,
        attention: bool = False,
    ) -> dict[str, Any]:
        """Runs the encoder, with matrix products in its precision and everything else in float32.

        Args:
          images: float32, already normalised (see `normalize`); sides a multiple of the patch size.
          order: Permutation of each image's patches, counted row by row, against their positions, as in
            MAE's published retrieval and classification. Default: none.
          blocks: Whether to return the output of every block and of every layer of the projector.
          attention: Whether to return the attention weights of the last block.

        Returns:
          A dictionary of float32 arrays:
          - "tokens" [batch, prefix + patches, width], after the final norm;
          - "embedding" [batch, width], the mean of the patch tokens;
          - "cls_token", "dist_token", "register1_token"… [batch, width], where they exist;
          - "pooled" [batch, width], the mean patch token after its LayerNorm, if `pooled_norm`;
          - "projection" [batch, out], if there is a projector, pooling head or classifier;
          - "patch_projection" [batch, patch, out] (iBOT), "prediction" [batch, out] (MoCo v3);
          - "blocks", a tuple of [batch, token, width], before the final norm, if requested; with it
            "projector" and "predictor", tuples of [batch, channel]: each layer's output as the next
            one sees it (after normalisation and activation), the last being "projection" and
            "prediction"; empty if there is none;
          - "attention" [batch, head, query, key], if requested.

        Raises:
          JaxpartError: `images` has another dtype or shape, or does not fit the patch size; `order` has
            another shape.
        """
        check_shape(images)
        if images.dtype != jnp.float32:
            raise JaxpartError(
                f"images are {images.dtype}; give float32, as encoder.normalize returns for uint8"
            )
        rows, columns = self.config.grid_of(*images.shape[1:3])
        if order is not None and tuple(order.shape) != (len(images), rows * columns):
            raise JaxpartError(
                f"order has the shape {tuple(order.shape)}; give [{len(images)}, {rows * columns}], a "
                f"permutation of the patches for each image"
            )
        return _forward(self, images, order, blocks=blocks, attention=attention)

    def normalize(
        self, images: UInt8[Array, "batch height width 3"]
    ) -> Float[Array, "batch height width 3"]:
        """Converts uint8 pixels to float32, normalised by the encoder's mean and std.

        Raises:
          JaxpartError: `images` is not uint8.
        """
        check_pixels(images)
        if images.shape[-1] != 3:  # any number of leading axes
            check_shape(images)
        return normalized(images, self.preprocessing)

    @property
    def config(self) -> ViTConfig:
        """Architecture."""
        return self.vit.config

    @property
    def jittable(self) -> bool:
        """True: it can be part of a compiled program."""
        return True

    @property
    def image_size(self) -> Grid:
        """Its native (height, width) in pixels."""
        return self.config.image_size

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the tokens before the patch tokens."""
        return self.config.prefix

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.config.depth

    @property
    def identity(self) -> Hashable:
        """Equal for encoders with the same outputs."""
        return self.digest, self.precision, self.config

    def cache_key(self, name: str) -> dict[str, str]:
        """Key of a representation in the feature cache, in addition to data and view."""
        # A narrowed encoder is the same up to the projector.
        config = dataclasses.replace(self.config, projector=None)
        about = f"{self.digest} {config!r} {self.preprocessing!r}"
        # JAX's default precision depends on the device.
        backend = f" on {devices.backend()}" if self.precision == "float32" else ""
        if self.config.projector and "proj" in name:
            name = f"{name} of a projector of {self.config.projector.out} channels"
        return {
            "encoder": hashlib.sha256(about.encode()).hexdigest(),
            "encoder_precision": self.precision + backend,
            "representation": name,
        }

    def check_size(self, height: int, width: int) -> None:
        """Raises `JaxpartError` if images of this size cannot be cut into patches."""
        patch = self.config.patch_size
        if height % patch or width % patch:
            raise JaxpartError(
                f"images of {height} × {width} pixels cannot be cut into patches of {patch}; give a "
                f"multiple of {patch}, as {max(min(height, width) // patch, 1) * patch}"
            )

    def grid_of(self, height: int, width: int, block: int | None = None) -> Grid:
        """Patches along (height, width) of images, the same for all blocks.

        Raises:
          JaxpartError: Images of this size cannot be cut into patches.
        """
        return self.config.grid_of(height, width)

    def shapes(self, height: int, width: int) -> dict[str, Any]:
        """Shape and dtype of every output for one image, blocks included.

        Raises:
          JaxpartError: Images of this size cannot be cut into patches.
        """
        images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        return jax.eval_shape(lambda encoder, images: encoder(images, blocks=True), self, images)

    @property
    def model(self) -> ViT:
        """A copy of the network, a Flax NNX module, for training or inspection; its products have the
        encoder's precision.
        """
        model = nnx.clone(self.vit)
        set_precision(model, self.precision)
        return model


def check_shape(images: Array) -> None:
    """Raises `JaxpartError` if images are not [batch, height, width, 3]."""
    shape = tuple(images.shape)
    if len(shape) == 4 and shape[-1] == 3:
        return
    channels_first = len(shape) == 4 and shape[1] == 3
    advice = ", as images.transpose(0, 2, 3, 1) does for PyTorch's" if channels_first else ""
    raise JaxpartError(f"images have the shape {shape}; give [batch, height, width, 3]{advice}")


def check_pixels(images: Array) -> None:
    """Raises `JaxpartError` if images are not uint8."""
    if images.dtype != jnp.uint8:
        raise JaxpartError(f"images are {images.dtype}; normalize takes uint8 pixels of 0 to 255")


def normalized(
    images: UInt8[Array, "*batch height width 3"], preprocessing: Preprocessing
) -> Float[Array, "*batch height width 3"]:
    """Pixels as float32, scaled to [0, 1] and normalised by mean and std."""
    mean, std = (
        jnp.asarray(value, jnp.float32) for value in (preprocessing.mean, preprocessing.std)
    )
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std


@functools.partial(jax.jit, static_argnames=("blocks", "attention"))
def _forward(
    encoder: Encoder,
    images: Array,
    order: Array | None = None,
    *,
    blocks: bool,
    attention: bool,
) -> dict[str, Any]:
    run = functools.partial(encoder.model, blocks=blocks, attention=attention)
    return in_microbatches(run, images, order, config=encoder.config)


def with_stride(encoder: Encoder, stride: int) -> Encoder:
    """The encoder with patches `stride` pixels apart, for denser tokens.

    Raises:
      JaxpartError: The stride is invalid, see `ViTConfig`.
    """
    return with_config(encoder, dataclasses.replace(encoder.config, stride=stride))


def with_config(encoder: Encoder, config: ViTConfig) -> Encoder:
    """The encoder's weights in another architecture, which must have weights of the same sizes."""
    return dataclasses.replace(encoder, vit=with_architecture(encoder.vit, config))
