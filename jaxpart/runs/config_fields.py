"""The fields of the experiments' configurations: allowed values, meanings, and defaults.

The defaults are for the bundled data set with a bundled encoder. The fields of pretraining are in
`jaxpart.pretraining.recipe_checks`.
"""

from __future__ import annotations

from typing import Any, get_args

from jaxpart.data.critters import CRITTERS_VERSION
from jaxpart.data.resizing import RESIZES
from jaxpart.data.sets import ALIASES, SETS
from jaxpart.data.sets.pairs import ALIASES as PAIR_ALIASES
from jaxpart.data.sets.pairs import PAIR_SETS
from jaxpart.data.sets.tfds_folders import PREFIX
from jaxpart.encoders import families
from jaxpart.encoders.precision import REFERENCE, Precision
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
    Rule,
    fields_of,
    one_of,
    some_of,
)
from jaxpart.tasks import TASKS
from jaxpart.tasks.correspondence.places import CONVENTIONS
from jaxpart.tasks.unsupervised_parts.clustering import METHODS

CLASSIFICATIONS = ("classification", "object_classification")

_WORKERS = Rule("whole", low=0, high=1024)
_SIDES = Rule("whole", low=1, high=10**9, many=True, length=2)
_SETS = Rule("text", choices=tuple(SETS), aliases=ALIASES, prefix=PREFIX, many=True)
_PAIRS = Rule("text", choices=tuple(PAIR_SETS), aliases=PAIR_ALIASES, many=True)
_FEW = Rule("whole", low=1, high=1000)
_ON_ERROR = (one_of("raise", "skip"), "raise, or skip unreadable images", "raise")
_PATCH_PIXELS = (PIXELS, "side of a part patch; 0: the encoder's input size", 0)


def _head(rate: float, representation: str) -> dict[str, Any]:
    """The training recipe of a head, see `jaxpart.probes.recipe.Recipe`."""
    rates = "learning rates; a head is trained for each, and the best is reported"
    return {
        "representations": (TEXTS, "input features; a head is trained on each", (representation,)),
        "rates": (Rule("number", above=0, many=True), rates, (rate,)),
        "scale_rates": (SWITCH, "scale the rates by the batch size / 256", True),
        "end_rate": (NOT_NEGATIVE, "final learning rate", 0.0),
        "epochs": (EPOCHS, "passes over the training items", 30),
        "batch_size": (BATCH, "items per step", 256),
        "momentum": (Rule("number", low=0, below=1), "momentum of SGD or LARS", 0.9),
        "nesterov": (SWITCH, "Nesterov momentum", False),
        "weight_decay": (NOT_NEGATIVE, "weight decay of SGD or LARS", 0.0),
        "warmup": (COUNT_OR_NONE, "epochs in which the rate rises from 0", 0),
        "lars": (SWITCH, "LARS instead of SGD", False),
        "every_step": (SWITCH, "update the rate at every step, not every epoch", False),
        "drop_last": (SWITCH, "drop the last, smaller batch of an epoch", False),
    }


_NORM = "a BatchNorm without scale before the linear layer, as in MAE's and CAE's recipes"
_INITIAL = "initial query and kernels: normal, truncated at one sd, or as in CAE"
HEADS = {
    "linear": _head(0.1, "cls_token") | {"batch_norm": (SWITCH, _NORM, False)},
    "attentive": _head(0.01, "tokens")
    | {
        "num_heads": (COUNT, "attention heads of the probe", 4),
        "initial": (one_of("truncated", "cae"), _INITIAL, "truncated"),
    },
}
_CLASSIFICATION: dict[str, Any] = {
    "heads": (some_of(*HEADS), "heads to train", tuple(HEADS)),
    "references": (
        some_of("knn", "logistic"),
        "classifiers without training, on the linear head's features",
        ("knn", "logistic"),
    ),
    "bn_test": (
        one_of("running", "batch"),
        "test statistics of the attentive probe's BatchNorm; batch: as in the published code",
        "running",
    ),
    "selection": (
        SWITCH,
        "also choose rate and epoch on a held-out tenth of the training items",
        True,
    ),
    **HEADS,
    "encoder_batch_size": (BATCH, "batch size of the encoder", 64),
    "on_error": _ON_ERROR,
}
SETTING = {
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
_SQUARE = (COUNT_OR_NONE, "side of the square image; 0: the encoder's input size", 0)
_TOKENS = (TEXTS, "tokens, as block8/tokens; + concatenates; empty: every block", ())

SECTIONS: dict[str, Any] = {
    "method": (TEXT, "the method of the bundled encoder or of the checkpoint", ""),
    "seed": (SEED, "seed of heads, shuffling, subsets and random weights", 0),
    "seeds": (
        _FEW,
        "seeds (seed, seed + 1, …) to train classification heads with; their mean is reported",
        1,
    ),
    "tasks": (some_of(*TASKS), "tasks to run", ("retrieval", "classification", "segmentation")),
    "encoder": {
        "checkpoint": (TEXT, "folder of a converted encoder, written by `python -m convert`", ""),
        "small": (
            one_of("", "trained", "random"),
            "without a checkpoint: the bundled small encoder, or random weights",
            "trained",
        ),
        "precision": (one_of(*get_args(Precision)), "precision of matrix products", REFERENCE),
        "model_devices": (
            Rule("whole", low=1, high=2**20),
            "devices that share the weights, if one cannot hold them",
            1,
        ),
        "released": (
            SWITCH,
            "confirms that the checkpoint is the file released by the method's authors",
            False,
        ),
        "patch_order": (
            one_of("kept", "permuted"),
            "permuted: patches against positions, an error in the published code for MAE",
            "kept",
        ),
        "callable": (
            TEXT,
            "instead of a checkpoint, a function: module:function, path.py:function, "
            "torch:module:function, timm:NAME or transformers:FOLDER",
            "",
        ),
        "weights": (
            TEXT,
            "timm: a checkpoint with timm's names, or random; empty: timm's download",
            "",
        ),
        "checkpoint_key": (
            TEXT,
            "the network in encoder.weights, if that holds several: teacher",
            "",
        ),
        "image_size": (
            PIXELS,
            "side of a function's input images; 0: that of timm or transformers",
            0,
        ),
        "pixels": (
            one_of("", *families.PIXELS),
            "a function's input: uint8 (the default), or float32 with a mean and std",
            "",
        ),
        "version": (
            TEXT,
            "version of a function's weights and code; without it no features are cached",
            "",
        ),
        "features": (
            TEXT,
            "instead of an encoder, a file of features by item: safetensors, npz or parquet",
            "",
        ),
    },
    "data": {
        "sets": (
            _SETS,
            "data sets of retrieval, classification, layers, masked_parts, attention and "
            "unsupervised_parts",
            ("critters",),
        ),
        "root": (TEXT, "folder that holds them", ""),
        "seed": (SEED, "critters: seed of the animals; also of the examples in a report", 0),
        "num_images": (Rule("whole", low=1, high=10**7), "critters: images of each split", 600),
        "image_size": (Rule("whole", low=32, high=1024), "critters: side of an image", 96),
        "version": (
            Rule("whole", low=1, high=2),
            "critters: 2, parts identified by shape and position only; 1: with a colour shortcut",
            CRITTERS_VERSION,
        ),
        "tfds": {
            "label_map": (TEXT, "tfds: the feature with label maps, for segmentation", ""),
            "classes": (
                TEXTS,
                "tfds: the classes in the label maps, as ('1=pet', '2=background')",
                (),
            ),
            "keypoints": (TEXT, "tfds: the feature with keypoints, for the part tasks", ""),
            "parts": (TEXTS, "tfds: names of the keypoints, in order", ()),
            "ignored": (
                Rule("whole", low=0, high=IGNORE, many=True),
                "tfds: values in the label maps to ignore",
                (),
            ),
        },
    },
    "features": {
        "cache": (
            one_of("off", "ram", "disk"),
            "where to cache features: on disk for all runs, in memory for this run, or off",
            "disk",
        ),
        "folder": (
            TEXT,
            "folder of the cache; empty: jaxpart/features in the user's cache folder",
            "",
        ),
        "precision": (
            one_of(*PRECISIONS),
            "bfloat16 halves the size and rounds to 3 digits",
            "float32",
        ),
    },
    "report": (SWITCH, "build the page of `python -m jaxpart.report` at the end", False),
    "tensorboard": (SWITCH, "also write TensorBoard events (needs tensorboardX)", False),
    "retrieval": {
        "representations": (TEXTS, "features to retrieve patches with", ("embedding", "cls_token")),
        "exclude_self": (
            SWITCH,
            "exclude a query from its own ranking (the paper does not)",
            False,
        ),
        "untrained": (SWITCH, "also evaluate the same encoder with random weights", False),
        "batch_size": (BATCH, "batch size of the encoder", 64),
        "patch_pixels": _PATCH_PIXELS,
        "on_error": _ON_ERROR,
    },
    "classification": _CLASSIFICATION | {"patch_pixels": _PATCH_PIXELS},
    "object_classification": _CLASSIFICATION
    | {
        "pixels": (PIXELS, "side of an image; 0: the encoder's input size", 0),
        "workers": (_WORKERS, "processes that decode images; 0: threads", 0),
        "views": (
            one_of("random", "eval"),
            "random crops and flips, new in every epoch; or eval: every image is encoded once",
            "random",
        ),
        "own_classifier": (SWITCH, "also test the encoder's own classifier", False),
    },
    "segmentation": {
        "sets": (
            TEXTS,
            "data sets to segment, by name in segmentation.settings, or tfds:NAME",
            ("critters_part", "critters_object"),
        ),
        "train_images": (
            COUNT_OR_NONE,
            "number of training images, sampled by the seed; 0: all",
            200,
        ),
        "test_images": (COUNT_OR_NONE, "number of test images, sampled by the seed; 0: all", 60),
        "in_memory": (SWITCH, "keep images in memory after reading them once", True),
        "readouts": (
            TEXTS,
            "heads: paper (four blocks concatenated), blocks (one on each), or block3",
            ("paper", "blocks"),
        ),
        "shares": (
            Rule("number", above=0, below=1, many=True),
            "few-shot: shares of the training images",
            (0.01, 0.05, 0.1),
        ),
        "iterations": (COUNT, "training steps", 120),
        "batch_size": (COUNT, "crops per step", 16),
        "learning_rate": (POSITIVE, "peak learning rate of AdamW", 0.02),
        "weight_decay": (NOT_NEGATIVE, "weight decay of AdamW", 0.05),
        "warmup": (COUNT_OR_NONE, "steps in which the rate rises", 10),
        "resize": (
            one_of(*RESIZES),
            "opencv, as published; or pillow, which antialiases",
            "opencv",
        ),
        "window_batch": (COUNT, "test windows per batch of the encoder", 16),
        "workers": (_WORKERS, "processes that make training crops; 0: threads", 0),
        "pictures": (COUNT_OR_NONE, "test images drawn with truth and prediction", 8),
        "incontext": {
            "images": (
                COUNT_OR_NONE,
                "training crops with labelled patches to compare with; 0: off",
                200,
            ),
            "neighbours": (COUNT, "nearest patches that vote", 30),
            "temperature": (POSITIVE, "temperature of their votes", 0.02),
        },
    },
    "layers": {
        "tokens": (TEXTS, "features of every block to evaluate", ("embedding", "cls_token"))
    },
    "masked_parts": {
        "images": (COUNT_OR_NONE, "number of images, sampled by the seed; 0: all", 150),
        "largest_share": (
            Rule("number", above=0, high=1),
            "largest share of the patches that a part may cover to be hidden",
            0.5,
        ),
    },
    "attention": {"images": (COUNT_OR_NONE, "number of images, sampled by the seed; 0: all", 200)},
    "correspondence": {
        "sets": (_PAIRS, "data sets of pairs", ("critters",)),
        "pairs": (COUNT_OR_NONE, "pairs of each class, sampled by the seed; 0: all", 100),
        "representations": _TOKENS,
        "alphas": (
            Rule("number", above=0, high=1, many=True),
            "thresholds as shares of the reference length",
            (0.05, 0.1, 0.15),
        ),
        "reference": (
            one_of("box", "image"),
            "the reference length: the object's box, or the image",
            "box",
        ),
        "convention": (
            one_of(*CONVENTIONS),
            "published code to follow for cells, padding and distances",
            "jaxpart",
        ),
        "soft_window": (
            COUNT_OR_NONE,
            "half width in cells of the window soft-argmax; 0: argmax",
            0,
        ),
        "pixels": _SQUARE,
        "stride": (
            COUNT_OR_NONE,
            "pixels from patch to patch; below the patch size they overlap; 0: that size",
            0,
        ),
        "batch_size": (COUNT, "batch size of the encoder", 32),
    },
    "unsupervised_parts": {
        "methods": (some_of(*METHODS), "methods that divide tokens into parts", ("kmeans", "nmf")),
        "parts": (Rule("whole", low=2, high=1000, many=True), "numbers of parts", (8,)),
        "representations": _TOKENS,
        "foreground": (
            one_of("auto", "masks", "spectral"),
            "masks; spectral: by the last block's tokens; auto: masks if any",
            "auto",
        ),
        "images": (COUNT_OR_NONE, "images of each split, sampled by the seed; 0: all", 150),
        "tokens": (COUNT, "maximum number of tokens to fit parts to, sampled by the seed", 3000),
        "restarts": (_FEW, "restarts of k-means, of which the best is used", 3),
        "pictures": (Rule("whole", low=0, high=100), "test images whose parts a report draws", 8),
        "pixels": _SQUARE,
        "batch_size": (BATCH, "batch size of the encoder", 32),
    },
}
"""Rule, meaning and default of each field, without the settings of segmentation's data sets."""

FIELDS = {path: Field(*entry) for path, entry in fields_of(SECTIONS)} | {
    "encoders": Field(TEXTS, "a study: methods, folders of encoders, or folders of such folders")
}
"""The same by dotted path."""


def field_of(path: str) -> Field:
    """The field with a dotted path; without a rule and a meaning if there is none."""
    if path.startswith("segmentation.settings."):
        return Field(*SETTING.get(path.rpartition(".")[2], ()))
    return FIELDS.get(path, Field())
