"""The fields of the experiments' configurations: allowed values, and meanings for --help and docs.

Those of pretraining are in `jaxpart.pretraining.recipe_checks`.
"""

from __future__ import annotations

from typing import get_args

from jaxpart.data.resizing import RESIZES
from jaxpart.data.sets import ALIASES, SETS
from jaxpart.data.sets.pairs import ALIASES as PAIR_ALIASES
from jaxpart.data.sets.pairs import PAIR_SETS
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.encoders import families
from jaxpart.encoders.precision import Precision
from jaxpart.features.cache import PRECISIONS
from jaxpart.labels import IGNORE
from jaxpart.runs.config_rules import (
    BATCH,
    COUNT,
    COUNT_OR_NONE,
    EPOCHS,
    NOT_NEGATIVE,
    PIXELS,
    POSITIVE,
    SEED,
    SWITCH,
    TEXT,
    TEXTS,
    Field,
    Fields,
    Rule,
    one_of,
    some_of,
)
from jaxpart.tasks import TASKS
from jaxpart.tasks.correspondence.places import CONVENTIONS
from jaxpart.tasks.unsupervised_parts.clustering import METHODS

CLASSIFICATIONS = ("classification", "object_classification")
HEADS = ("linear", "attentive")

_WORKERS = Rule("whole", low=0, high=1024)
_SIDES = Rule("whole", low=1, high=10**9, many=True, length=2)

_HEAD: Fields = {
    "representations": (TEXTS, "input features; a head is trained on each"),
    "rates": (
        Rule("number", above=0, many=True),
        "learning rates; a head is trained for each, and the best is reported",
    ),
    "epochs": (EPOCHS, "passes over the training items"),
    "batch_size": (BATCH, "items per step"),
    "momentum": (Rule("number", low=0, below=1), "momentum of SGD or LARS"),
    "weight_decay": (NOT_NEGATIVE, "weight decay of SGD or LARS"),
    "warmup": (COUNT_OR_NONE, "epochs in which the rate rises from 0"),
    "lars": (SWITCH, "LARS instead of SGD"),
    "nesterov": (SWITCH, "Nesterov momentum"),
    "scale_rates": (SWITCH, "scale the rates by the batch size / 256"),
    "end_rate": (NOT_NEGATIVE, "final learning rate"),
    "drop_last": (SWITCH, "drop the last, smaller batch of an epoch"),
    "initial": (
        one_of("truncated", "cae"),
        "initial query and kernels: normal, truncated at one sd, or as in CAE",
    ),
    "every_step": (SWITCH, "update the rate at every step, not every epoch"),
    "batch_norm": (
        SWITCH,
        "a BatchNorm without scale before the linear layer, as in MAE's and CAE's recipes",
    ),
    "num_heads": (COUNT, "attention heads of the probe"),
}

_CLASSIFICATION: Fields = {
    "heads": (some_of(*HEADS), "heads to train"),
    "references": (
        some_of("knn", "logistic"),
        "classifiers without training, on the linear head's features",
    ),
    "bn_test": (
        one_of("running", "batch"),
        "test statistics of the attentive probe's BatchNorm; batch: as in the published code",
    ),
    "selection": (SWITCH, "also choose rate and epoch on a held-out tenth of the training items"),
    "encoder_batch_size": (BATCH, "batch size of the encoder"),
    "patch_pixels": (PIXELS, "side of a part patch; 0: the encoder's input size"),
    "pixels": (PIXELS, "side of an image; 0: the encoder's input size"),
    "workers": (_WORKERS, "processes that decode images; 0: threads"),
    "views": (
        one_of("random", "eval"),
        "random crops and flips, new in every epoch; or eval: every image is encoded once",
    ),
    "own_classifier": (SWITCH, "also test the encoder's own classifier"),
    "on_error": (one_of("raise", "skip"), "raise, or skip unreadable images"),
    **{f"{head}.{name}": field for head in HEADS for name, field in _HEAD.items()},
}

_SETTING: Fields = {
    "data": (TEXT, "the data set"),
    "kind": (one_of("part", "object"), "part or object masks"),
    "classes": (COUNT_OR_NONE, "number of classes in the paper; 0: not compared"),
    "train_scale": (_SIDES, "(long side, short side) that training images are resized to"),
    "test_scale": (_SIDES, "(long side, short side) that test images are resized to"),
    "crop": (COUNT, "side of a crop in pixels"),
    "stride": (COUNT, "stride of the test windows, in pixels"),
    "train_split": (TEXT, "split for training"),
    "test_split": (TEXT, "split for testing"),
}

FIELDS: Fields = {
    "method": (TEXT, "the method of the bundled encoder or of the checkpoint"),
    "seed": (SEED, "seed of heads, shuffling, subsets and random weights"),
    "seeds": (
        Rule("whole", low=1, high=1000),
        "seeds (seed, seed + 1, …) to train classification heads with; their mean is reported",
    ),
    "tasks": (some_of(*TASKS), "tasks to run"),
    "encoders": (TEXTS, "a study: methods, folders of encoders, or folders of such folders"),
    "encoder.checkpoint": (TEXT, "folder of a converted encoder, written by `python -m convert`"),
    "encoder.small": (
        one_of("", "trained", "random"),
        "without a checkpoint: the bundled small encoder, or random weights",
    ),
    "encoder.precision": (one_of(*get_args(Precision)), "precision of matrix products"),
    "encoder.model_devices": (
        Rule("whole", low=1, high=2**20),
        "devices that share the weights, if one cannot hold them",
    ),
    "encoder.released": (
        SWITCH,
        "confirms that the checkpoint is the file released by the method's authors",
    ),
    "encoder.patch_order": (
        one_of("kept", "permuted"),
        "permuted: patches against positions, an error in the published code for MAE",
    ),
    "encoder.callable": (
        TEXT,
        "instead of a checkpoint, a function: module:function, path.py:function, "
        "torch:module:function, timm:NAME or transformers:FOLDER",
    ),
    "encoder.weights": (
        TEXT,
        "timm: a checkpoint with timm's names, or random; empty: timm's download",
    ),
    "encoder.checkpoint_key": (
        TEXT,
        "the network in encoder.weights, if that holds several: teacher",
    ),
    "encoder.image_size": (
        PIXELS,
        "side of a function's input images; 0: that of timm or transformers",
    ),
    "encoder.pixels": (
        one_of("", *families.PIXELS),
        "a function's input: uint8 (the default), or float32 with a mean and std",
    ),
    "encoder.version": (
        TEXT,
        "version of a function's weights and code; without it no features are cached",
    ),
    "encoder.features": (
        TEXT,
        "instead of an encoder, a file of features by item: safetensors, npz or parquet",
    ),
    "data.sets": (
        Rule("text", choices=tuple(SETS), aliases=ALIASES, prefix=PREFIX, many=True),
        "data sets of retrieval, classification, layers, masked_parts, attention and unsupervised_parts",
    ),
    "data.root": (TEXT, "folder that holds them"),
    "data.seed": (SEED, "critters: seed of the animals; also of the examples in a report"),
    "data.num_images": (Rule("whole", low=1, high=10**7), "critters: images of each split"),
    "data.image_size": (Rule("whole", low=32, high=1024), "critters: side of an image"),
    "data.version": (
        Rule("whole", low=1, high=2),
        "critters: 2, parts identified by shape and position only; 1: with a colour shortcut",
    ),
    "data.tfds.label_map": (TEXT, "tfds: the feature with label maps, for segmentation"),
    "data.tfds.classes": (
        TEXTS,
        "tfds: the classes in the label maps, as ('1=pet', '2=background')",
    ),
    "data.tfds.keypoints": (TEXT, "tfds: the feature with keypoints, for the part tasks"),
    "data.tfds.parts": (TEXTS, "tfds: names of the keypoints, in order"),
    "data.tfds.ignored": (
        Rule("whole", low=0, high=IGNORE, many=True),
        "tfds: values in the label maps to ignore",
    ),
    "features.cache": (
        one_of("off", "ram", "disk"),
        "where to cache features: on disk for all runs, in memory for this run, or off",
    ),
    "features.folder": (
        TEXT,
        "folder of the cache; empty: jaxpart/features in the user's cache folder",
    ),
    "features.precision": (one_of(*PRECISIONS), "bfloat16 halves the size and rounds to 3 digits"),
    "report": (SWITCH, "build the page of `python -m jaxpart.report` at the end"),
    "tensorboard": (SWITCH, "also write TensorBoard events (needs tensorboardX)"),
    "retrieval.representations": (TEXTS, "features to retrieve patches with"),
    "retrieval.exclude_self": (SWITCH, "exclude a query from its own ranking (the paper does not)"),
    "retrieval.untrained": (SWITCH, "also evaluate the same encoder with random weights"),
    "retrieval.batch_size": (BATCH, "batch size of the encoder"),
    "retrieval.patch_pixels": (PIXELS, "side of a part patch; 0: the encoder's input size"),
    "retrieval.on_error": (one_of("raise", "skip"), "raise, or skip unreadable images"),
    **{
        f"{task}.{name}": field
        for task in CLASSIFICATIONS
        for name, field in _CLASSIFICATION.items()
    },
    "segmentation.sets": (
        TEXTS,
        "data sets to segment, by name in segmentation.settings, or tfds:NAME",
    ),
    "segmentation.train_images": (
        COUNT_OR_NONE,
        "number of training images, sampled by the seed; 0: all",
    ),
    "segmentation.test_images": (
        COUNT_OR_NONE,
        "number of test images, sampled by the seed; 0: all",
    ),
    "segmentation.in_memory": (SWITCH, "keep images in memory after reading them once"),
    "segmentation.readouts": (
        TEXTS,
        "heads: paper (four blocks concatenated), blocks (one on each), or block3",
    ),
    "segmentation.shares": (
        Rule("number", above=0, below=1, many=True),
        "few-shot: shares of the training images",
    ),
    "segmentation.iterations": (COUNT, "training steps"),
    "segmentation.batch_size": (COUNT, "crops per step"),
    "segmentation.learning_rate": (POSITIVE, "peak learning rate of AdamW"),
    "segmentation.weight_decay": (NOT_NEGATIVE, "weight decay of AdamW"),
    "segmentation.warmup": (COUNT_OR_NONE, "steps in which the rate rises"),
    "segmentation.resize": (one_of(*RESIZES), "opencv, as published; or pillow, which antialiases"),
    "segmentation.window_batch": (COUNT, "test windows per batch of the encoder"),
    "segmentation.workers": (_WORKERS, "processes that make training crops; 0: threads"),
    "segmentation.pictures": (COUNT_OR_NONE, "test images drawn with truth and prediction"),
    "segmentation.incontext.images": (
        COUNT_OR_NONE,
        "training crops with labelled patches to compare with; 0: off",
    ),
    "segmentation.incontext.neighbours": (COUNT, "nearest patches that vote"),
    "segmentation.incontext.temperature": (POSITIVE, "temperature of their votes"),
    "layers.tokens": (TEXTS, "features of every block to evaluate"),
    "masked_parts.images": (COUNT_OR_NONE, "number of images, sampled by the seed; 0: all"),
    "masked_parts.largest_share": (
        Rule("number", above=0, high=1),
        "largest share of the patches that a part may cover to be hidden",
    ),
    "attention.images": (COUNT_OR_NONE, "number of images, sampled by the seed; 0: all"),
    "correspondence.sets": (
        Rule("text", choices=tuple(PAIR_SETS), aliases=PAIR_ALIASES, many=True),
        "data sets of pairs",
    ),
    "correspondence.pairs": (COUNT_OR_NONE, "pairs of each class, sampled by the seed; 0: all"),
    "correspondence.representations": (
        TEXTS,
        "tokens, as block8/tokens; + concatenates; empty: every block",
    ),
    "correspondence.alphas": (
        Rule("number", above=0, high=1, many=True),
        "thresholds as shares of the reference length",
    ),
    "correspondence.reference": (
        one_of("box", "image"),
        "the reference length: the object's box, or the image",
    ),
    "correspondence.convention": (
        one_of(*CONVENTIONS),
        "published code to follow for cells, padding and distances",
    ),
    "correspondence.soft_window": (
        COUNT_OR_NONE,
        "half width in cells of the window soft-argmax; 0: argmax",
    ),
    "correspondence.pixels": (
        COUNT_OR_NONE,
        "side of the square image; 0: the encoder's input size",
    ),
    "correspondence.stride": (
        COUNT_OR_NONE,
        "pixels from patch to patch; below the patch size they overlap; 0: that size",
    ),
    "correspondence.batch_size": (COUNT, "batch size of the encoder"),
    "unsupervised_parts.methods": (some_of(*METHODS), "methods that divide tokens into parts"),
    "unsupervised_parts.parts": (Rule("whole", low=2, high=1000, many=True), "numbers of parts"),
    "unsupervised_parts.representations": (
        TEXTS,
        "tokens, as block8/tokens; + concatenates; empty: every block",
    ),
    "unsupervised_parts.foreground": (
        one_of("auto", "masks", "spectral"),
        "masks; spectral: by the last block's tokens; auto: masks if any",
    ),
    "unsupervised_parts.images": (
        COUNT_OR_NONE,
        "images of each split, sampled by the seed; 0: all",
    ),
    "unsupervised_parts.tokens": (
        COUNT,
        "maximum number of tokens to fit parts to, sampled by the seed",
    ),
    "unsupervised_parts.restarts": (
        Rule("whole", low=1, high=1000),
        "restarts of k-means, of which the best is used",
    ),
    "unsupervised_parts.pictures": (
        Rule("whole", low=0, high=100),
        "test images whose parts a report draws",
    ),
    "unsupervised_parts.pixels": (
        COUNT_OR_NONE,
        "side of the square image; 0: the encoder's input size",
    ),
    "unsupervised_parts.batch_size": (BATCH, "batch size of the encoder"),
}
"""By the field's dotted path, without the settings of segmentation's data sets."""


def field_of(path: str) -> Field | None:
    """The field with a dotted path; None if there is none."""
    if path.startswith("segmentation.settings."):
        return _SETTING.get(path.rpartition(".")[2])
    return FIELDS.get(path)
