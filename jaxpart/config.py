"""Shared by all configurations: lookup, variants, and fields."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxpart.errors import JaxpartError

CRITTERS_VERSION = 2
"""The version that the bundled small encoders were trained on; in version 1, colours identify parts."""

CRITTERS = {"num_images": 600, "image_size": 96, "version": CRITTERS_VERSION}
"""Fields of `data` that apply only to critters, with their defaults."""

_PART_TASKS = (
    "retrieval",
    "classification",
    "segmentation",
    "layers",
    "masked_parts",
    "attention",
)
"""Sections of `part_config`."""

_HERE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_HERE / "configs", _HERE.parent / "configs")
"""Folders of the bundled configurations: of an installed package, and in the source tree."""


def locate(argument: str) -> str:
    """Path of a configuration file, which may be one of those bundled with jaxpart.

    Args:
      argument: What follows --config: "configs/ibot_part.py" or "configs/ibot_part.py:paper".

    Raises:
      JaxpartError: There is no such file, on disk or bundled.
    """
    path, colon, variant = argument.partition(":")
    relative = pathlib.Path(path.removeprefix("configs/"))
    for candidate in (pathlib.Path(path), *(folder / relative for folder in _FOLDERS)):
        if candidate.is_file():
            return f"{candidate}{colon}{variant}"
    raise JaxpartError(
        f"there is no configuration {path}; bundled ones are {', '.join(embedded())}"
    )


def embedded() -> list[str]:
    """Names of the configurations bundled with jaxpart."""
    return sorted(
        {
            f"configs/{file.relative_to(folder).as_posix()}"
            for folder in _FOLDERS
            for file in folder.rglob("*.py")
        }
    )


def variant_of(argument: str | None, known: Sequence[str]) -> str:
    """The variant after the colon, "" for the default.

    Raises:
      JaxpartError: It is not one of those known.
    """
    variant = argument or ""
    if variant and variant not in known:
        advice = f"choose from {', '.join(known)}" if known else "there are none"
        raise JaxpartError(f"there is no variant {variant!r}; {advice}")
    return variant


def part_config(method: str, argument: str | None, *, projector: bool) -> ConfigDict:
    """The part tasks with one method's encoder.

    Args:
      method: "ibot", …
      argument: "" for the bundled data set and a small encoder; "paper" for CUB-200-2011 and COCO
        with the released ViT-B/16.
      projector: Whether the method's released checkpoint has a projector to compare with.
    """
    make = _paper if variant_of(argument, ["paper"]) else _embedded
    config = make(method)
    if projector:
        config.retrieval.representations = ("embedding", "projection", "cls_token")
    return config


def _embedded(method: str) -> ConfigDict:
    """The experiment on the bundled data set, with the bundled small encoder."""
    config = ConfigDict()
    config.method = method
    config.seed = 0
    config.seeds = 1  # heads trained in parallel, with seeds seed, seed + 1, …
    config.tasks = ("retrieval", "classification", "segmentation")

    config.encoder = ConfigDict()
    config.encoder.checkpoint = ""  # folder written by `python -m convert`
    # Declares that the checkpoint was converted from the file that the method's authors released: tables
    # say so, and the paper's figures are shown only next to results of such weights.
    config.encoder.released = False
    # Without a checkpoint: the bundled small encoder, or "random" weights instead.
    config.encoder.small = "trained"
    config.encoder.precision = "float32-highest"  # or "float32", JAX's default, or "bfloat16"
    # "permuted": shuffle patches against positions, as in MAE's published retrieval and classification.
    config.encoder.patch_order = "kept"
    config.encoder.model_devices = 1  # devices to shard the weights over, if one cannot hold them
    # Instead of a checkpoint: a function of images, or a file of features: docs/any-encoder.md.
    config.encoder.callable = ""
    config.encoder.weights = ""
    config.encoder.checkpoint_key = ""
    config.encoder.image_size = 0
    config.encoder.pixels = ""
    config.encoder.version = ""
    config.encoder.features = ""

    config.data = ConfigDict()
    config.data.sets = ("critters",)
    config.data.root = ""  # folder that holds CUB_200_2011 and coco
    config.data.seed = 0
    config.data.update(CRITTERS)
    config.data.tfds = ConfigDict()  # features of a tensorflow-datasets data set
    config.data.tfds.label_map = ""
    config.data.tfds.classes = ()
    config.data.tfds.ignored = ()
    config.data.tfds.keypoints = ""
    config.data.tfds.parts = ()

    config.features = ConfigDict()
    config.features.cache = "disk"  # or "ram", kept while the program runs, or "off"
    config.features.folder = ""  # by default jaxpart/features in the user's cache folder
    config.features.precision = "float32"  # or "bfloat16": half the size, rounded to 3 digits

    config.report = False  # build the page of `python -m jaxpart.report` at the end
    config.tensorboard = False  # also write TensorBoard events; needs tensorboardX

    config.retrieval = ConfigDict()
    config.retrieval.representations = ("embedding", "cls_token")
    config.retrieval.exclude_self = False  # the paper's queries retrieve themselves too
    config.retrieval.untrained = False  # also evaluate the same encoder with random weights
    config.retrieval.batch_size = 64
    config.retrieval.patch_pixels = 0  # 0: the encoder's native size
    config.retrieval.on_error = "raise"  # or "skip" images that cannot be read

    config.classification = _embedded_classification()
    config.segmentation = _embedded_segmentation()

    # Enabled with --config.tasks="('layers','masked_parts','attention')".
    config.layers = ConfigDict()  # patches are read with the options of `retrieval`
    config.layers.tokens = ("embedding", "cls_token")  # of every block's output
    config.masked_parts = ConfigDict()
    config.masked_parts.images = 150  # drawn by the seed; 0: all
    config.masked_parts.largest_share = 0.5  # of the patches; larger parts are not hidden
    config.attention = ConfigDict()
    config.attention.images = 200  # drawn by the seed; 0: all
    return config


def _paper(method: str) -> ConfigDict:
    """The paper's experiment, on CUB-200-2011 and COCO with the released ViT-B/16."""
    config = _embedded(method)
    # The paper's segmentation takes days: enable it with --config.tasks="('segmentation',)".
    config.tasks = ("retrieval", "classification")
    config.encoder.small = ""
    config.data.sets = ("cub", "coco")
    config.retrieval.patch_pixels = 224
    config.classification = _paper_classification()
    config.segmentation = _paper_segmentation()
    config.masked_parts.images = 2000
    return config


def correspondence_config(argument: str | None) -> ConfigDict:
    """Semantic correspondence.

    Args:
      argument: "" for the bundled data set and a small encoder; "spair" or "cub" for a converted
        checkpoint on these data.
    """
    variant = variant_of(argument, ["spair", "cub"])
    config = part_config("ibot", "paper" if variant else "", projector=False)
    for name in _PART_TASKS:
        del config[name]
    config.tasks = ("correspondence",)
    config.data.sets = ()
    options = ConfigDict()
    options.sets = (variant or "critters",)
    options.pairs = 100  # of each class, drawn by the seed; 0: all
    options.representations = ()  # "block8/tokens", joined by "+"; none: every block, and the last norm
    options.alphas = (0.05, 0.1, 0.15)
    options.reference = "box"  # or "image"; where there are no boxes it is the image
    options.convention = "jaxpart"  # or another code base's, see docs/tasks/correspondence.md
    options.soft_window = 0  # half width in cells of the window soft-argmax; 0: argmax
    options.pixels = 0  # side of the square; 0: the encoder's native size
    options.stride = 0  # pixels between patches, which may overlap; 0: the patch size
    options.batch_size = 32
    if variant == "spair":
        options.pairs = 0
    config.correspondence = options
    return config


def parts_config(argument: str | None) -> ConfigDict:
    """Unsupervised parts.

    Args:
      argument: "" for the bundled data set and a small encoder; "cub" for a converted checkpoint on
        CUB-200-2011.
    """
    variant = variant_of(argument, ["cub"])
    config = part_config("ibot", "paper" if variant else "", projector=False)
    for name in _PART_TASKS:
        del config[name]
    config.tasks = ("unsupervised_parts",)
    config.data.sets = (variant or "critters",)
    options = ConfigDict()
    options.methods = ("kmeans", "nmf")
    options.parts = (8,)  # numbers of parts to divide the foreground into
    options.representations = ()  # "block8/tokens", joined by "+"; none: every block, and the last norm
    # "masks"; "spectral", from the last block's tokens; or "auto": masks if there are any, else spectral
    options.foreground = "auto"
    options.images = 150  # of each split, drawn with the seed; 0: all
    options.tokens = 3000  # number of tokens to fit parts to, drawn with the seed
    options.restarts = 3  # restarts of k-means
    options.pictures = 8  # test images whose parts the report draws
    options.pixels = 0  # side of the square; 0: the encoder's native size
    options.batch_size = 32
    if variant == "cub":
        options.update(parts=(4, 8, 16), images=1000, tokens=50_000, restarts=10)
    config.unsupervised_parts = options
    return config


def study_config(argument: str | None, methods: Sequence[str]) -> ConfigDict:
    """All tasks on the bundled data set, sized for many encoders: see `jaxpart.study`.

    Args:
      argument: "": there are no variants.
      methods: The encoders bundled with jaxpart.
    """
    variant_of(argument, [])
    config = part_config("", "", projector=True)
    del config.method
    del config.encoder
    config.encoders = tuple(methods)  # methods, folders of encoders, or folders of such folders
    config.seeds = 1  # pretraining seeds of each method; all but the first are stored results
    config.tasks = (
        "object_classification",
        "retrieval",
        "classification",
        "segmentation",
        "layers",
        "masked_parts",
    )
    for heads in (config.classification, objects := object_config("", ()).object_classification):
        heads.selection = False
        heads.references = ()
        heads.linear.epochs = heads.attentive.epochs = 30
    objects.views = "eval"  # every image is encoded once
    config.object_classification = objects
    config.segmentation.readouts = ("paper",)
    config.segmentation.resize = "pillow"  # as the stored results were measured
    config.segmentation.shares = ()
    config.segmentation.incontext.images = 0
    config.segmentation.pictures = 0
    return config


def _embedded_segmentation() -> ConfigDict:
    """Heads on frozen blocks, trained in seconds on critters."""
    config = ConfigDict()
    config.sets = ("critters_part", "critters_object")
    config.train_images = 200  # number of images, drawn by the seed; 0: all
    config.test_images = 60
    config.in_memory = True  # read every image once and keep its encoded bytes in memory
    config.readouts = ("paper", "blocks")  # the paper's head, and one on each single block
    config.shares = (0.01, 0.05, 0.1)  # few-shot: shares of the training images
    config.iterations = 120
    config.batch_size = 16
    config.learning_rate = 0.02
    config.weight_decay = 0.05
    config.warmup = 10
    config.resize = "opencv"  # as published; or "pillow", which antialiases
    config.window_batch = 16  # test windows per encoder batch
    config.workers = 0  # processes that make training crops; 0: threads
    config.pictures = 8  # test images drawn with truth and prediction

    config.incontext = ConfigDict()
    config.incontext.images = 200  # training crops in the memory; 0: no in-context segmentation
    config.incontext.neighbours = 30
    config.incontext.temperature = 0.02

    # data set, kind of masks, classes in the paper, training scale, test scale, crop, stride, splits
    ade20k, pascal = ((2048, 512), (2048, 512), 512, 341), ((520, 520), (3840, 480), 480, 161)
    critters = (192, 192), (192, 192), 96, 48
    settings = {
        "ade20k_part": ("ade20k_part", "part", 209, *ade20k, "train", "val"),
        "ade20k_object": ("ade20k_object", "object", 59, *ade20k, "train", "val"),
        "ade20k": ("ade20k", "object", 150, *ade20k, "train", "val"),
        "pascal_part": ("pascal_part", "part", 193, *pascal, "train", "val"),
        "pascal_object": ("pascal_object", "object", 16, *pascal, "train", "val"),
        "pascal_part_58": ("pascal_part_58", "part", 0, *pascal, "train", "val"),
        "pascal_part_116": ("pascal_part_116", "part", 0, *pascal, "train", "val"),
        "partimagenet_part": ("partimagenet_part", "part", 0, *pascal, "train", "val"),
        "partimagenet_object": ("partimagenet_object", "object", 0, *pascal, "train", "val"),
        "paco_part": ("paco_part", "part", 0, *pascal, "train", "val"),
        "paco_object": ("paco_object", "object", 0, *pascal, "train", "val"),
        "lip": ("lip", "part", 19, (1024, 320), (4096, 320), 320, 161, "train", "val"),
        "tfds": ("tfds:", "object", 0, *pascal, "train", "test"),  # any set of tensorflow-datasets
        "critters_part": ("critters", "part", 0, *critters, "train", "test"),
        "critters_object": ("critters", "object", 0, *critters, "train", "test"),
    }
    fields = (
        "data",
        "kind",
        "classes",
        "train_scale",
        "test_scale",
        "crop",
        "stride",
        "train_split",
        "test_split",
    )
    config.settings = ConfigDict(
        {name: dict(zip(fields, row, strict=True)) for name, row in settings.items()}
    )
    return config


def _paper_segmentation() -> ConfigDict:
    """Heads on frozen blocks by the paper's recipe."""
    config = _embedded_segmentation()
    config.sets = ("ade20k_part", "ade20k_object", "ade20k", "pascal_part", "pascal_object", "lip")
    config.train_images = config.test_images = 0
    config.in_memory = False
    config.shares = ()
    config.iterations = 160_000
    config.learning_rate = 4e-4
    config.warmup = 1500
    config.incontext.images = 512
    return config


def _embedded_classification() -> ConfigDict:
    """Part classification, sized for the bundled data set."""
    config = ConfigDict()
    config.heads = ("linear", "attentive")
    config.references = ("knn", "logistic")  # no learning rate; on the linear head's features
    config.bn_test = "running"  # the attentive probe's BatchNorm; "batch" as in the published code
    config.selection = True  # also choose rate and epoch on a held-out tenth of the training set

    config.linear = _head_config(0.1)
    config.linear.representations = ("cls_token",)
    config.linear.batch_norm = False  # before the linear layer, as in MAE's and CAE's recipes

    config.attentive = _head_config(0.01)
    config.attentive.representations = ("tokens",)
    config.attentive.num_heads = 4
    config.attentive.initial = "truncated"  # or "cae": zero query, kernels from the full normal

    config.encoder_batch_size = 64
    config.patch_pixels = 0  # 0: the encoder's native size
    config.on_error = "raise"  # or "skip" images that cannot be read
    return config


def _paper_classification() -> ConfigDict:
    """Part classification by the paper's recipe."""
    config = _embedded_classification()
    for head in (config.linear, config.attentive):
        head.epochs, head.batch_size = 90, 1024
    config.attentive.num_heads = 12
    config.patch_pixels = 224
    return config


def _head_config(rate: float) -> ConfigDict:
    """A head's training recipe: the fields of `jaxpart.probes.recipe.Recipe`."""
    config = ConfigDict()
    config.rates = (rate,)  # one head is trained for each
    config.scale_rates = True  # rates are for a batch of 256 and scale linearly with batch size
    config.end_rate = 0.0  # final learning rate
    config.epochs = 30
    config.batch_size = 256
    config.momentum = 0.9
    config.nesterov = False
    config.weight_decay = 0.0
    config.warmup = 0  # epochs
    config.lars = False
    config.every_step = False  # update the rate every step instead of every epoch
    config.drop_last = False  # drop the last, smaller batch of an epoch
    return config


def object_config(argument: str | None, methods: Sequence[str]) -> ConfigDict:
    """Object classification.

    Args:
      argument: "" for the bundled data set and a small encoder; a method for ImageNet-1k with its
        released ViT-B/16.
      methods: Known methods.
    """
    method = variant_of(argument, methods)
    return _imagenet_objects(method) if method else _embedded_objects()


def _embedded_objects() -> ConfigDict:
    """The 24 kinds of critters, on random views."""
    config = _objects(_embedded("ibot"), _embedded_classification())
    config.data.sets = ("critters",)
    config.data.num_images = 240
    options = config.object_classification
    options.linear.epochs = options.attentive.epochs = 5
    return config


def _imagenet_objects(method: str) -> ConfigDict:
    """ImageNet-1k by the method's published recipe."""
    config = _objects(_paper(method), _paper_classification())
    config.data.sets = ("imagenet",)
    options = config.object_classification
    options.selection = False  # it doubles the time
    options.references = ()
    options.linear.update(_LINEAR.get(method, {}))
    options.attentive.update(_ATTENTIVE.get(method, {}))
    if method == "cae":
        options.bn_test = "batch"
    if method == "deit":
        options.own_classifier, options.heads = True, ()
    return config


def _objects(config: ConfigDict, options: ConfigDict) -> ConfigDict:
    """Turns a configuration of the part tasks into one of object classification."""
    del config.retrieval
    del config.classification
    del config.segmentation
    config.tasks = ("object_classification",)
    del options.patch_pixels
    options.pixels = 0  # 0: the encoder's native size
    options.workers = 0  # processes that decode; 0: threads
    options.views = "random"  # crops and flips, new in every epoch; "eval": fixed, encoded once
    options.own_classifier = False  # test the encoder's own classifier
    config.object_classification = options
    return config


_LARS = {
    "batch_norm": True,
    "lars": True,
    "every_step": True,
    "warmup": 10,
    "batch_size": 16384,
    "drop_last": True,
}
_LINEAR: Mapping[str, Mapping[str, Any]] = {
    "mae": _LARS,
    "cae": _LARS,
    "mocov3": {"rates": (3.0,)},
    "dino": {
        "representations": ("cls_token+embedding",),
        "rates": (0.001,),
        "epochs": 100,
    },
    "ibot": {
        "representations": ("cls_token+embedding",),
        "rates": (0.001, 0.003, 0.01, 0.03, 0.1),
        "epochs": 100,
    },
    "beit": {
        "representations": ("block8/embedding",),
        "rates": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        "epochs": 50,
    },
}
"""Each method's deviations in its published linear probe on ImageNet-1k, see configs/imagenet_probe.py."""

_ATTENTIVE: Mapping[str, Mapping[str, Any]] = {
    "cae": {
        "initial": "cae",
        "rates": (0.4,),
        "scale_rates": False,
        "end_rate": 1e-6,
        "nesterov": True,
        "every_step": True,
        "drop_last": True,
        "batch_size": 8192,
        "warmup": 10,
    }
}
"""How CAE's published attentive probe on ImageNet-1k differs from the paper's for the other methods."""


def linear_representation(method: str) -> str:
    """What the linear head of a method's published recipe for ImageNet-1k reads."""
    return _LINEAR.get(method, {}).get("representations", ("cls_token",))[0]
