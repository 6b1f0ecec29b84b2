"""Masked parts reconstructed by decoders: an annotated part is hidden and predicted from the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, UInt8

from jaxpart.data.parts import PartSelection
from jaxpart.data.regions import part_regions, patches_of_region
from jaxpart.data.sets import find_set
from jaxpart.data.subset import drawn_images
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.configured import encoder_folder
from jaxpart.encoders.encoder import Encoder
from jaxpart.errors import JaxpartError
from jaxpart.pretraining.crops import patches_of
from jaxpart.pretraining.masked_prediction import KINDS, Predictor, load_predictor
from jaxpart.pretraining.tokenizer import nearest
from jaxpart.report.evaluate import OpenedRun, picture_source
from jaxpart.report.figures.style import QUERY, Picture, file_name, new_figure, plain
from jaxpart.runs.progress import Progress

_COLUMNS = 8
_MAX_EXAMINED = 4 * _COLUMNS
_HIDDEN_SHARES = (0.02, 0.6)
"""Parts that cover a smaller or larger share of an image's patches are not shown."""

_GREY = 0.55
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with one part each.

    Attributes:
      images: The encoder's inputs.
      names: The parts' names.
      regions: The parts' pixels.
      mask: The patches with a pixel of the part.
    """

    images: UInt8[np.ndarray, "image size size 3"]
    names: Sequence[str]
    regions: Bool[np.ndarray, "image size size"]
    mask: Bool[np.ndarray, "image patch"]


def reconstructions(
    opened_runs: Sequence[OpenedRun], progress: Progress
) -> Iterator[Picture | str]:
    """A picture for every encoder whose decoder predicts pixels or tokens with known pixels."""
    missing: dict[str, list[str]] = {}
    with progress.bar("predicting masked parts", len(opened_runs)) as advance:
        for opened in opened_runs:
            try:
                yield _picture(opened)
            except JaxpartError as error:
                missing.setdefault(str(error), []).append(opened.run.label)
            advance(1)
    for why, labels in missing.items():
        yield f"masked-part reconstructions of {', '.join(labels)}: skipped, {why}"


def _picture(opened: OpenedRun) -> Picture:
    predictor = _predictor(opened)
    examples = _examples(opened, predictor.encoder.config)
    predicted, best, denormalized = drawn(predictor, examples.images, examples.mask)
    truth = _patches(examples.images, predictor.encoder.config.patch_size)
    greyed = _with(truth, np.full_like(truth, _GREY), examples.mask, len(examples.images[0]))
    rows = (examples.images, greyed, predicted, best)
    words = ("image", "hidden", "predicted", "truth")
    count = len(examples.images)
    figure = new_figure(1.05 * count + 0.5, 1.05 * len(rows) + 0.35)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, (pictures, word) in enumerate(zip(rows, words, strict=True)):
        for column in range(count):
            axis = axes[row, column]
            axis.imshow(pictures[column])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            for spine in axis.spines.values():
                spine.set_visible(False)
            if row == 0:
                axis.contour(examples.regions[column], [0.5], colors=[QUERY], linewidths=1.2)
                axis.set_title(plain(examples.names[column].replace("_", " ")), fontsize=8)
        axes[row, 0].set_ylabel(word, fontsize=9)
    run = opened.run
    label = f"{run.label} ({run.caveat})" if run.caveat else run.label
    figure.suptitle(plain(label), x=0.01, ha="left", fontsize=9)
    note = {
        True: "Each patch is predicted without its mean and contrast, which are restored from the truth.",
        False: "The decoder predicts pixels.",
        None: "The decoder names tokens, which are drawn as their k-means centres, in the truth as well.",
    }[denormalized]
    return Picture(
        file_name("reconstructions", run.label),
        f"{label}: every patch that holds a pixel of the part (outlined in red) is hidden, and predicted "
        f"from the others. {note}",
        figure,
    )


def _predictor(opened: OpenedRun) -> Predictor:
    if opened.run.encoder["name"] not in KINDS or not isinstance(opened.encoder, Encoder):
        raise JaxpartError("the method does not predict patches")
    folder = encoder_folder(opened.config)
    if folder is None:
        raise JaxpartError("an encoder with random weights has no decoder")
    predictor = load_predictor(opened.encoder, folder)
    if predictor.config.kind != "mae" and predictor.codebook is None:
        raise JaxpartError(
            "its tokens are DALL-E's, whose decoder is not stored with the checkpoint"
        )
    return predictor


def _examples(opened: OpenedRun, config: ViTConfig) -> Examples:
    """Random images of a run's first data set, each with the part shown least often so far."""
    name, data = opened.data_set, opened.config.data
    source = picture_source(name, data)
    selection = find_set(name)[1].parts
    if selection is None and source.info.part_names:
        selection = PartSelection(source.info.part_names)
    size, least, most = config.image_size[0], *_HIDDEN_SHARES
    shown: dict[str, int] = {}
    examples = []
    for number in drawn_images(source, _MAX_EXAMINED, data.seed):
        image, regions = part_regions(source, number, selection, size=size)
        masks = {
            part: patches_of_region(region, config.patch_size) for part, region in regions.items()
        }
        fit = [part for part, mask in masks.items() if least < mask.mean() < most]
        if fit:
            part = min(fit, key=lambda part: shown.get(part, 0))
            shown[part] = shown.get(part, 0) + 1
            examples.append((image, part, regions[part], masks[part]))
        if len(examples) == _COLUMNS:
            break
    if not examples:
        raise JaxpartError(f"no part of {name} has a suitable size to be hidden")
    images, names, regions, masks = zip(*examples, strict=True)
    return Examples(np.stack(images), names, np.stack(regions), np.stack(masks))


def drawn(
    predictor: Predictor,
    images: UInt8[np.ndarray, "image size size 3"],
    mask: Bool[np.ndarray, "image patch"],
) -> tuple[np.ndarray, np.ndarray, bool | None]:
    """Images with their hidden patches as predicted, and as the best possible prediction.

    Args:
      predictor: Predicts pixels, or tokens that are stored as pixels.
      images: The encoder's inputs.
      mask: True where hidden.

    Returns:
      Both, in [0, 1], and whether each patch's true mean and deviation were restored; None if the
      predictor predicts tokens.
    """
    encoder, preprocessing = predictor.encoder, predictor.encoder.preprocessing
    side = encoder.config.patch_size
    output = predictor(images, mask)
    truth = _patches(images, side)
    denormalized = None
    if output.pixels is not None:
        targets = np.asarray(patches_of(encoder.normalize(jnp.asarray(images)), side))
        pixels, denormalized = _denormalized(output.pixels, targets, mask)
        std, mean = (_tiled(v, side) for v in (preprocessing.std, preprocessing.mean))
        predicted, best = pixels * std + mean, truth
    else:
        codebook = predictor.codebook
        assert output.logits is not None
        assert codebook is not None
        predicted = codebook[np.where(mask[..., None], output.logits, 0).argmax(axis=-1)]
        best = codebook[np.asarray(nearest(jnp.asarray(truth), jnp.asarray(codebook)))]
    size = images.shape[1]
    return _with(truth, predicted, mask, size), _with(truth, best, mask, size), denormalized


def _with(
    patches: Float[np.ndarray, "image patch pixel"],
    others: Float[np.ndarray, "image patch pixel"],
    mask: Bool[np.ndarray, "image patch"],
    size: int,
) -> Float[np.ndarray, "image size size 3"]:
    """Images whose patches come from `others` where the mask is True; values in [0, 1]."""
    chosen = np.clip(np.where(mask[..., None], others, patches), 0, 1)
    side = round((chosen.shape[-1] / 3) ** 0.5)
    pattern = "image (row column) (y x rgb) -> image (row y) (column x) rgb"
    return rearrange(chosen, pattern, row=size // side, y=side, x=side)


def _patches(
    images: UInt8[np.ndarray, "image size size 3"], side: int
) -> Float[np.ndarray, "image patch pixel"]:
    """Pixels of each patch, in [0, 1]."""
    return np.asarray(patches_of(jnp.asarray(images, jnp.float32) / 255, side))


def _tiled(values: Sequence[float], side: int) -> Float[np.ndarray, " pixel"]:
    """One number per channel for every pixel of a patch."""
    return np.tile(np.asarray(values, np.float32), side**2)


def _denormalized(
    pixels: Float[np.ndarray, "image patch pixel"],
    targets: Float[np.ndarray, "image patch pixel"],
    mask: Bool[np.ndarray, "image patch"],
) -> tuple[Float[np.ndarray, "image patch pixel"], bool]:
    """Predicted pixels on the scale of the true ones, and whether the targets were normalised per patch.

    A checkpoint does not say how its decoder's targets were scaled, so the scale with the smaller error
    relative to its variance is chosen.
    """
    mean, deviation = (
        targets.mean(axis=-1, keepdims=True),
        targets.std(axis=-1, ddof=1, keepdims=True),
    )
    deviation = np.sqrt(deviation**2 + _EPSILON)
    normal = (targets - mean) / deviation
    errors = [np.square((pixels - t)[mask]).mean() / t[mask].var() for t in (normal, targets)]
    normalized = bool(errors[0] <= errors[1])
    return (pixels * deviation + mean if normalized else pixels), normalized
