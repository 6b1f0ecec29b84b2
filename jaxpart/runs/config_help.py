"""What every field of a configuration means, for --help and for the table in the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from jaxpart.runs.config_rules import Rule, fields_of

_HEAD = {
    "attentive.initial": "how query and kernels start: cut off at two standard deviations, or as CAE's",
    "attentive.num_heads": "attention heads of the probe",
    "batch_norm": "a BatchNorm without scale before the linear layer, as MAE's and CAE's recipes have",
    "batch_size": "items per step",
    "drop_last": "leave out the last, smaller batch of an epoch",
    "end_rate": "what the learning rate falls to",
    "epochs": "passes over the training items",
    "every_step": "the rate falls from step to step, not from epoch to epoch",
    "lars": "LARS in place of SGD",
    "momentum": "of SGD or LARS",
    "nesterov": "Nesterov's momentum",
    "rates": "learning rates; a head is trained for each, and the best is reported",
    "representations": "what the head reads; a head is trained on each",
    "scale_rates": "rates are for a batch of 256 and grow with it",
    "warmup": "epochs in which the rate rises from 0",
    "weight_decay": "of SGD or LARS",
}

_CLASSIFICATION = {
    "bn_test": "statistics of the attentive probe's BatchNorm in the test; batch: the published code's",
    "encoder_batch_size": "images the encoder sees at a time",
    "heads": "heads to train",
    "on_error": "what happens at an image that cannot be read",
    "own_classifier": "also test the encoder's own classifier",
    "patch_pixels": "side of a part patch; 0: what the encoder was made for",
    "pixels": "side of an image; 0: what the encoder was made for",
    "references": "what is measured without training, on the linear head's features",
    "selection": "also choose rate and epoch on a held-out tenth of the training items",
    "views": "random crops and flips, anew in every epoch; or eval: every image is encoded once",
    "workers": "processes that decode images; 0: threads",
}

MEANINGS: Mapping[str, str] = {
    "method": "the method whose small encoder is measured, or whose checkpoint it is",
    "seed": "of heads, orders of items, subsets and random weights",
    "seeds": "heads are trained for seed, seed + 1, …, so many, and their mean is reported",
    "tasks": "what is measured",
    "report": "make the page of `python -m jaxpart.report` at the end",
    "tensorboard": "also write TensorBoard events (needs tensorboardX)",
    "encoder.checkpoint": "folder of a converted encoder, written by `python -m convert`",
    "encoder.released": "your word that the checkpoint is the file that the method's authors released",
    "encoder.small": "without a checkpoint: the bundled small encoder, or random weights",
    "encoder.precision": "of matrix products",
    "encoder.patch_order": "permuted: patches against positions, a slip of the published code for MAE",
    "encoder.model_devices": "devices that share the weights, where one cannot hold them",
    "encoder.callable": "in place of a checkpoint, a function: module:function, path.py:function, "
    "torch:module:function, timm:NAME or transformers:FOLDER",
    "encoder.weights": "timm: a checkpoint under its names, or random; empty: what timm downloads",
    "encoder.image_size": "side of the images that a function is given; 0: what timm or transformers say",
    "encoder.pixels": "what a function is given: uint8 (the default), or float32 with a mean and std",
    "encoder.version": "of a function's weights and code; without one no feature is kept",
    "encoder.features": "in place of an encoder, a file of features by item: safetensors, npz or parquet",
    "data.sets": "data sets of retrieval, classification, layers, masked_parts, attention and "
    "unsupervised_parts",
    "data.root": "folder that holds them",
    "data.seed": "critters: draws the animals; pictures of a report are drawn by it too",
    "data.num_images": "critters: images of each split",
    "data.image_size": "critters: side of an image",
    "data.version": "critters: 1, on which the small encoders were trained; 2: without shortcuts",
    "features.cache": "where features are kept: on disk for all runs, in memory for this one, nowhere",
    "features.folder": "of the cache; empty: jaxpart/features in the user's cache folder",
    "features.precision": "bfloat16 halves the size and rounds to 3 digits",
    "data.tfds.label_map": "tfds: the feature that holds label maps, for segmentation",
    "data.tfds.classes": "tfds: the classes in them, as ('1=pet', '2=background')",
    "data.tfds.keypoints": "tfds: the feature that holds keypoints, for the part tasks",
    "data.tfds.parts": "tfds: names of the keypoints, in their order",
    "data.tfds.ignored": "tfds: the values in them that count for nothing",
    "retrieval.representations": "what patches are retrieved by",
    "retrieval.exclude_self": "a query does not retrieve itself (the paper's do)",
    "retrieval.untrained": "also retrieve by the same encoder with random weights",
    "retrieval.batch_size": "patches the encoder sees at a time",
    "retrieval.patch_pixels": "side of a part patch; 0: what the encoder was made for",
    "retrieval.on_error": "what happens at an image that cannot be read",
    "layers.tokens": "what is taken of every block's output",
    "masked_parts.images": "images whose parts are hidden, drawn by the seed; 0: all",
    "masked_parts.largest_share": "of the patches; larger parts are not hidden",
    "segmentation.sets": "which of segmentation.settings are run",
    "segmentation.train_images": "that many, drawn by the seed; 0: all",
    "segmentation.test_images": "that many, drawn by the seed; 0: all",
    "segmentation.in_memory": "every image is read once and kept",
    "segmentation.readouts": "heads: paper (four blocks joined), blocks (one on each), or block3",
    "segmentation.shares": "few-shot: shares of the training images",
    "segmentation.iterations": "training steps",
    "segmentation.batch_size": "crops per step",
    "segmentation.learning_rate": "of AdamW, at its peak",
    "segmentation.weight_decay": "of AdamW",
    "segmentation.warmup": "steps in which the rate rises",
    "segmentation.resize": "opencv, as published; or pillow, which antialiases",
    "segmentation.window_batch": "test windows the encoder sees at a time",
    "segmentation.workers": "processes that make training crops; 0: threads",
    "segmentation.pictures": "test images drawn with truth and prediction",
    "segmentation.incontext.images": "training crops whose labelled patches are compared with; 0: without",
    "segmentation.incontext.neighbours": "nearest patches that vote",
    "segmentation.incontext.temperature": "of their votes",
    "attention.images": "images whose attention is read, drawn by the seed; 0: all",
    "correspondence.sets": "data sets of pairs",
    "correspondence.pairs": "of each class, drawn by the seed; 0: all",
    "correspondence.representations": "tokens, as block8/tokens, joined by +; empty: every block",
    "correspondence.alphas": "shares of the reference length within which a point is right",
    "correspondence.reference": "the reference length: the object's box, or the image",
    "correspondence.convention": "whose rules decide cells, padding and distances",
    "correspondence.soft_window": "half width in cells of the window soft-argmax; 0: argmax",
    "correspondence.pixels": "side of the square image; 0: what the encoder was made for",
    "correspondence.stride": "pixels from a patch to the next, below a patch they overlap; 0: a patch",
    "correspondence.batch_size": "images the encoder sees at a time",
    "unsupervised_parts.methods": "what divides tokens into parts",
    "unsupervised_parts.parts": "into how many",
    "unsupervised_parts.representations": "tokens, as block8/tokens, joined by +; empty: every block",
    "unsupervised_parts.foreground": "masks; spectral: by the last block's tokens; auto: masks if any",
    "unsupervised_parts.images": "of each split, drawn by the seed; 0: all",
    "unsupervised_parts.tokens": "that parts are fitted to at most, drawn by the seed",
    "unsupervised_parts.restarts": "starts of k-means, of which the best counts",
    "unsupervised_parts.pictures": "test images whose parts a report draws",
    "unsupervised_parts.pixels": "side of the square image; 0: what the encoder was made for",
    "unsupervised_parts.batch_size": "images the encoder sees at a time",
    **{
        f"{task}.{name}": meaning
        for task in ("classification", "object_classification")
        for name, meaning in (
            *_CLASSIFICATION.items(),
            *(
                (f"{head}.{name.removeprefix(f'{head}.')}", meaning)
                for head in ("linear", "attentive")
                for name, meaning in _HEAD.items()
            ),
        )
    },
}
"""By the field's dotted path."""

_SETTINGS = {
    "data": "the data set",
    "kind": "part or object masks",
    "classes": "in the paper; 0: not compared",
    "train_scale": "(long side, short side) that training images are brought to",
    "test_scale": "(long side, short side) that test images are brought to",
    "crop": "side of a crop in pixels",
    "stride": "of the test windows, in pixels",
    "train_split": "where heads are trained",
    "test_split": "where they are tested",
}


def meaning(path: str) -> str:
    """What a field means; empty if nothing is known of it."""
    if path.startswith("segmentation.settings."):
        return _SETTINGS.get(path.rpartition(".")[2], "")
    return MEANINGS.get(path, "")


def help_lines(config: Any, rules: Mapping[str, Rule], width: int) -> Iterator[str]:
    """Each field of a configuration: its value, what it means and what it may be.

    Args:
      config: The configuration.
      rules: What fields may be, by their dotted path.
      width: Of a line.
    """
    for path, value in fields_of(config):
        yield f"  --config.{path}={value!r}"
        rule = rules.get(path)
        advice = "" if rule is None else rule.advice().removeprefix("give ")
        said = "; ".join(filter(None, [meaning(path), advice]))
        yield from textwrap.wrap(said, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
