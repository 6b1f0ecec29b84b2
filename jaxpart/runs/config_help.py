"""The meaning of every configuration field, for --help and for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxpart.runs.config_rules import Rule, fields_of

_HEAD = {
    "attentive.initial": "initial query and kernels: normal, truncated at one sd, or as in CAE",
    "attentive.num_heads": "attention heads of the probe",
    "batch_norm": "a BatchNorm without scale before the linear layer, as in MAE's and CAE's recipes",
    "batch_size": "items per step",
    "drop_last": "drop the last, smaller batch of an epoch",
    "end_rate": "final learning rate",
    "epochs": "passes over the training items",
    "every_step": "update the rate at every step, not every epoch",
    "lars": "LARS instead of SGD",
    "momentum": "momentum of SGD or LARS",
    "nesterov": "Nesterov momentum",
    "rates": "learning rates; a head is trained for each, and the best is reported",
    "representations": "input features; a head is trained on each",
    "scale_rates": "scale the rates by the batch size / 256",
    "warmup": "epochs in which the rate rises from 0",
    "weight_decay": "weight decay of SGD or LARS",
}

_CLASSIFICATION = {
    "bn_test": "test statistics of the attentive probe's BatchNorm; batch: as in the published code",
    "encoder_batch_size": "batch size of the encoder",
    "heads": "heads to train",
    "on_error": "raise, or skip unreadable images",
    "own_classifier": "also test the encoder's own classifier",
    "patch_pixels": "side of a part patch; 0: the encoder's input size",
    "pixels": "side of an image; 0: the encoder's input size",
    "references": "classifiers without training, on the linear head's features",
    "selection": "also choose rate and epoch on a held-out tenth of the training items",
    "views": "random crops and flips, new in every epoch; or eval: every image is encoded once",
    "workers": "processes that decode images; 0: threads",
}

MEANINGS: Mapping[str, str] = {
    "method": "the method of the bundled encoder or of the checkpoint",
    "seed": "seed of heads, shuffling, subsets and random weights",
    "seeds": "seeds (seed, seed + 1, …) to train classification heads with; their mean is reported",
    "tasks": "tasks to run",
    "report": "build the page of `python -m jaxpart.report` at the end",
    "tensorboard": "also write TensorBoard events (needs tensorboardX)",
    "encoder.checkpoint": "folder of a converted encoder, written by `python -m convert`",
    "encoder.released": "confirms that the checkpoint is the file released by the method's authors",
    "encoder.small": "without a checkpoint: the bundled small encoder, or random weights",
    "encoder.precision": "precision of matrix products",
    "encoder.patch_order": "permuted: patches against positions, an error in the published code for MAE",
    "encoder.model_devices": "devices that share the weights, if one cannot hold them",
    "encoder.callable": "instead of a checkpoint, a function: module:function, path.py:function, "
    "torch:module:function, timm:NAME or transformers:FOLDER",
    "encoder.weights": "timm: a checkpoint with timm's names, or random; empty: timm's download",
    "encoder.checkpoint_key": "the network in encoder.weights, if that holds several: teacher",
    "encoder.image_size": "side of a function's input images; 0: that of timm or transformers",
    "encoder.pixels": "a function's input: uint8 (the default), or float32 with a mean and std",
    "encoder.version": "version of a function's weights and code; without it no features are cached",
    "encoder.features": "instead of an encoder, a file of features by item: safetensors, npz or parquet",
    "data.sets": "data sets of retrieval, classification, layers, masked_parts, attention and "
    "unsupervised_parts",
    "data.root": "folder that holds them",
    "data.seed": "critters: seed of the animals; also of the examples in a report",
    "data.num_images": "critters: images of each split",
    "data.image_size": "critters: side of an image",
    "data.version": "critters: 2, parts identified by shape and position only; 1: with a colour shortcut",
    "features.cache": "where to cache features: on disk for all runs, in memory for this run, or off",
    "features.folder": "folder of the cache; empty: jaxpart/features in the user's cache folder",
    "features.precision": "bfloat16 halves the size and rounds to 3 digits",
    "data.tfds.label_map": "tfds: the feature with label maps, for segmentation",
    "data.tfds.classes": "tfds: the classes in the label maps, as ('1=pet', '2=background')",
    "data.tfds.keypoints": "tfds: the feature with keypoints, for the part tasks",
    "data.tfds.parts": "tfds: names of the keypoints, in order",
    "data.tfds.ignored": "tfds: values in the label maps to ignore",
    "retrieval.representations": "features to retrieve patches with",
    "retrieval.exclude_self": "exclude a query from its own ranking (the paper does not)",
    "retrieval.untrained": "also evaluate the same encoder with random weights",
    "retrieval.batch_size": "batch size of the encoder",
    "retrieval.patch_pixels": "side of a part patch; 0: the encoder's input size",
    "retrieval.on_error": "raise, or skip unreadable images",
    "layers.tokens": "features of every block to evaluate",
    "masked_parts.images": "number of images, sampled by the seed; 0: all",
    "masked_parts.largest_share": "largest share of the patches that a part may cover to be hidden",
    "segmentation.sets": "data sets to segment, by name in segmentation.settings, or tfds:NAME",
    "segmentation.train_images": "number of training images, sampled by the seed; 0: all",
    "segmentation.test_images": "number of test images, sampled by the seed; 0: all",
    "segmentation.in_memory": "keep images in memory after reading them once",
    "segmentation.readouts": "heads: paper (four blocks concatenated), blocks (one on each), or block3",
    "segmentation.shares": "few-shot: shares of the training images",
    "segmentation.iterations": "training steps",
    "segmentation.batch_size": "crops per step",
    "segmentation.learning_rate": "peak learning rate of AdamW",
    "segmentation.weight_decay": "weight decay of AdamW",
    "segmentation.warmup": "steps in which the rate rises",
    "segmentation.resize": "opencv, as published; or pillow, which antialiases",
    "segmentation.window_batch": "test windows per batch of the encoder",
    "segmentation.workers": "processes that make training crops; 0: threads",
    "segmentation.pictures": "test images drawn with truth and prediction",
    "segmentation.incontext.images": "training crops with labelled patches to compare with; 0: off",
    "segmentation.incontext.neighbours": "nearest patches that vote",
    "segmentation.incontext.temperature": "temperature of their votes",
    "attention.images": "number of images, sampled by the seed; 0: all",
    "correspondence.sets": "data sets of pairs",
    "correspondence.pairs": "pairs of each class, sampled by the seed; 0: all",
    "correspondence.representations": "tokens, as block8/tokens; + concatenates; empty: every block",
    "correspondence.alphas": "thresholds as shares of the reference length",
    "correspondence.reference": "the reference length: the object's box, or the image",
    "correspondence.convention": "published code to follow for cells, padding and distances",
    "correspondence.soft_window": "half width in cells of the window soft-argmax; 0: argmax",
    "correspondence.pixels": "side of the square image; 0: the encoder's input size",
    "correspondence.stride": "pixels from patch to patch; below the patch size they overlap; 0: that size",
    "correspondence.batch_size": "batch size of the encoder",
    "unsupervised_parts.methods": "methods that divide tokens into parts",
    "unsupervised_parts.parts": "numbers of parts",
    "unsupervised_parts.representations": "tokens, as block8/tokens; + concatenates; empty: every block",
    "unsupervised_parts.foreground": "masks; spectral: by the last block's tokens; auto: masks if any",
    "unsupervised_parts.images": "images of each split, sampled by the seed; 0: all",
    "unsupervised_parts.tokens": "maximum number of tokens to fit parts to, sampled by the seed",
    "unsupervised_parts.restarts": "restarts of k-means, of which the best is used",
    "unsupervised_parts.pictures": "test images whose parts a report draws",
    "unsupervised_parts.pixels": "side of the square image; 0: the encoder's input size",
    "unsupervised_parts.batch_size": "batch size of the encoder",
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
"""Meanings by the field's dotted path."""

_SETTINGS = {
    "data": "the data set",
    "kind": "part or object masks",
    "classes": "number of classes in the paper; 0: not compared",
    "train_scale": "(long side, short side) that training images are resized to",
    "test_scale": "(long side, short side) that test images are resized to",
    "crop": "side of a crop in pixels",
    "stride": "stride of the test windows, in pixels",
    "train_split": "split for training",
    "test_split": "split for testing",
}


def meaning(path: str) -> str:
    """The meaning of a field; "" if it has none."""
    if path.startswith("segmentation.settings."):
        return _SETTINGS.get(path.rpartition(".")[2], "")
    return MEANINGS.get(path, "")


def help_lines(
    config: Any, rules: Mapping[str, Rule], meaning: Callable[[str], str | None], width: int
) -> Iterator[str]:
    """Yields lines of help on each field of a configuration: its value, meaning and allowed values.

    Args:
      config: The configuration.
      rules: Allowed values by the field's dotted path.
      meaning: Returns the meaning of the field with a dotted path, if it has one.
      width: Width of a line.
    """
    for path, value in fields_of(config):
        yield f"  --config.{path}={value!r}"
        rule = rules.get(path)
        advice = "" if rule is None else rule.advice().removeprefix("give ")
        text = "; ".join(filter(None, [meaning(path), advice]))
        yield from textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
