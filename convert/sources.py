"""Sources of checkpoints: a file, a release @NAME, a folder, or hf:owner/name@revision:file.

A folder, local or on the hub, describes itself: transformers' `config.json`, `preprocessor_config.json` and
`processor_config.json`, timm's `config.json`, or OpenCLIP's `open_clip_config.json`.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from convert import releases
from convert.options import Options
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.families import (
    Preprocessing,
    processor_preprocessing,
    stated_preprocessing,
)
from jaxpart.errors import JaxpartError, first_line, printable
from jaxpart.io.download import RemoteFile, fetch
from jaxpart.io.files import user_cache
from jaxpart.io.text import decode_json

_HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?::([\w./-]+))?")
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_MAX_JSON = 1 << 20
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}
_TIMM_ACTIVATIONS = _ACTIVATIONS | {"gelu_tanh": "gelu_tanh"}
_TIMM_ARGUMENTS = re.compile(
    "act_layer|depth|global_pool|img_size|num_heads|patch_size|"  # read here
    "class_token|embed_dim|(use_)?fc_norm|final_norm|in_chans|init_values|mlp_ratio|no_embed_class|num_classes|"
    "(num_)?reg_tokens|pos_embed|pre_norm|use_pre_transformer_norm|proj_bias|qk_norm|qkv_(bias|fused)|"
    "scale_(mlp|norm|attn_inner|attn_norm|mlp_norm)|swiglu_mlp|use_(abs_pos_emb|(shared_)?rel_pos_bias)|"
    "dynamic_img_(size|pad)|(\\w+_)?drop(_path)?_rate|head_init_scale|weight_init|fix_init"  # of no effect
)
"""Arguments of timm's create_model that are read, that arrays show, or that change nothing."""
_ROPE_THETA = 100.0  # DINOv3's
_MODEL_TYPES = {
    "aimv2": "aimv2",
    "aimv2_vision_model": "aimv2",
    "beit": "beit",
    "data2vec-vision": "data2vec",
    "deit": "deit",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
    "dinov3_vit": "dinov3",
    "ijepa": "ijepa",
    "siglip": "siglip",
    "siglip_vision_model": "siglip",
    "siglip2": "siglip2",
    "siglip2_vision_model": "siglip2",
    "vit": "vit",
    "vit_mae": "mae",
}
_QUICK_GELU = (
    r"clip_quickgelu|clip.*\.(openai|dfn5b|metaclip_(400m|2pt5b))$|large.*clip.*\.dfn2b$|"
    r"patch32_clip.*\.laion400m_e32$|huge.*clip_224\.metaclip2_worldwide$"
)
"""timm's CLIP weights of a quick GELU, as its registry notes."""
_CLIP_OUTPUTS = (None, 0, 512, 640, 768, 1024, 1280)
"""num_classes of these weights as released; with another, timm tuned them with its own exact GELU."""
_TIMM_NAMES = (
    (r"dinov2", "dinov2"),
    (r"dinov3", "dinov3"),
    (r"siglip.*\.v2|siglip2", "siglip2"),
    (r"siglip", "siglip"),
    (rf"^vit.*({_QUICK_GELU})", "clip"),
    (r"^vit.*clip", "openclip"),
    (r"^beit(v2)?_", "beit"),
    (r"^deit", "deit"),
    (r"^eva02", "eva02"),
    (r"^aimv2", "aimv2"),
    (r"\.dino$", "dino"),
    (r"\.mae$", "mae"),
    (r"\.(augreg|orig)", "augreg"),
)
_UNSUPPORTED = re.compile(r"rope|lingbot|sapiens|_rpn_|^vit_pe_|^eva02_enormous")
"""timm's models with rotary positions other than EVA-02's and DINOv3's, or norms after each branch."""


@dataclasses.dataclass(frozen=True)
class Stated:
    """A source's description of itself; None where it has none.

    Attributes:
      family: The converter's family.
      layout: Its naming scheme.
      checkpoint_key: The network in the file.
      options: Fields of `Options` that no array holds.
      width, depth, patch_size: Must agree with the arrays.
      pool: timm's global_pool, which must be what a classifier here would read.
    """

    family: str | None = None
    layout: str | None = None
    checkpoint_key: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    width: int | None = None
    depth: int | None = None
    patch_size: int | None = None
    pool: str | None = None

    def completed(self, options: Mapping[str, Any]) -> Options:
        """The user's options, completed by the source's."""
        stated = {"layout": self.layout, "checkpoint_key": self.checkpoint_key, **self.options}
        stated |= {name: value for name, value in options.items() if value not in (None, ())}
        return Options(**{name: value for name, value in stated.items() if value is not None})

    def check(self, config: ViTConfig) -> None:
        """Raises `JaxpartError` if the arrays contradict the source's description."""
        for name in ("width", "depth", "patch_size"):
            stated, actual = getattr(self, name), getattr(config, name)
            if stated is not None and stated != actual:
                raise JaxpartError(
                    f"its config.json says {name.replace('_', ' ')} {stated}, the arrays have {actual}; "
                    f"one of the two belongs to another model"
                )
        pool, names = _pooled(config)
        if pool and self.pool not in (None, pool):
            raise JaxpartError(
                f"its config.json says global_pool {printable(self.pool) or 'none'}, but the classifier of "
                f"such arrays would read {pool} here; leave it out with --ignore '{names}', or score it "
                f"as it is, with --config.encoder.callable=timm:local-dir:FOLDER"
            )


def _pooled(config: ViTConfig) -> tuple[str, str]:
    """What an encoder's classifier reads, as timm's global_pool, and the arrays that imply it."""
    if config.pooled_norm:
        return "avg", "fc_norm.*"
    if config.projector is None:
        return "", ""
    attention = config.projector.kind == "attention_pool"
    return ("map", "attn_pool.*") if attention else ("token", "head.*")


def find_source(text: str, family: str | None) -> tuple[pathlib.Path, Stated]:
    """The file of a source, downloaded if necessary, and its description.

    Raises:
      JaxpartError: There is no such source, or it cannot be downloaded.
    """
    if text.startswith("@"):
        known = releases.RELEASES.get(text[1:])
        release = releases.find_release(text[1:], family or (known.family if known else ""))
        stated = Stated(release.family, release.layout, release.checkpoint_key)
        return _downloaded(release), stated
    if text.startswith("hf:"):
        return _from_hub(text)
    if pathlib.Path(text).is_dir():
        folder = pathlib.Path(text)
        return _of_folder(text, lambda name: folder / name if (folder / name).is_file() else None)
    return pathlib.Path(text), Stated()


def _downloaded(release: releases.Release) -> pathlib.Path:
    """The verified file of a release, in checkpoints/NAME of `user_cache`."""
    if not release.url:
        raise JaxpartError(
            f"@{release.name} cannot be downloaded automatically: {release.by_hand}; then pass the file "
            "itself"
        )
    folder = user_cache() / "checkpoints" / release.name
    return fetch(RemoteFile(release.url, release.sha256), folder)


def _of_folder(
    text: str, find: Callable[[str], pathlib.Path | None], file: str | None = None
) -> tuple[pathlib.Path, Stated]:
    for name in (file,) if file else _WEIGHTS:
        path = find(name)
        if path is not None:
            break
    else:
        expected = file or ", ".join(_WEIGHTS)
        advice = "" if file else "; name the file itself"
        raise JaxpartError(
            f"{printable(text)} holds no weights by the name of {printable(expected, 160)}{advice}"
        )
    beside = pathlib.PurePosixPath(name).parent
    if path.name.startswith("open_clip"):
        return path, _stated_by_open_clip(_json(find(str(beside / "open_clip_config.json"))))
    names = ("config.json", "preprocessor_config.json", "processor_config.json")
    config, pixels, processor = (_json(find(str(beside / name))) for name in names)
    nested = processor.get("image_processor")  # as transformers 5 saves it
    return path, stated_by(config, nested if isinstance(nested, dict) else pixels)


def _json(path: pathlib.Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    name = f"{path.name} next to the weights"
    fits = path.stat().st_size <= _MAX_JSON
    value = decode_json(path.read_bytes(), name, "download it again") if fits else None
    if not isinstance(value, dict):
        raise JaxpartError(f"{name} is not a configuration; download it again")
    return value


def _from_hub(text: str) -> tuple[pathlib.Path, Stated]:
    matched = _HUB.fullmatch(text)
    if matched is None:
        raise JaxpartError(
            f"{printable(text)} is not hf:OWNER/NAME, hf:OWNER/NAME@REVISION or …:FILE"
        )
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise JaxpartError(
            "this needs huggingface_hub, which is not installed: pip install huggingface_hub"
        ) from None
    owner_and_name, revision, file = matched.groups()

    def find(name: str) -> pathlib.Path | None:
        try:
            fetched = huggingface_hub.hf_hub_download(
                owner_and_name, name, revision=revision, endpoint=os.environ.get("HF_ENDPOINT")
            )
        except errors.EntryNotFoundError as error:
            if isinstance(error, errors.LocalEntryNotFoundError):  # the hub cannot be reached
                known = huggingface_hub.try_to_load_from_cache(
                    owner_and_name, name, revision=revision
                )
                if known is not huggingface_hub._CACHED_NO_EXIST:
                    raise
            return None
        path = pathlib.Path(fetched)
        if name.endswith(".index.json"):
            shards = _json(path).get("weight_map")
            for shard in sorted(
                {str(s) for s in (shards if isinstance(shards, dict) else {}).values()}
            ):
                find(str(pathlib.PurePosixPath(name).parent / shard))
        return path

    try:
        return _of_folder(text, find, file)
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
        reason = {
            "RepositoryNotFoundError": "there is no such repository, or you have no access to it",
            "GatedRepoError": "accept its licence first, and log in with `hf auth login`",
            "RevisionNotFoundError": f"it has no revision {revision}",
            "LocalEntryNotFoundError": "the hub cannot be reached; check the network connection",
        }.get(type(error).__name__, first_line(error))
        raise JaxpartError(
            f"{printable(text)} cannot be downloaded: {printable(reason, 150)}"
        ) from None


def stated_by(config: dict[str, Any], pixels: dict[str, Any]) -> Stated:
    """Reads the JSON files next to the weights, transformers' or timm's."""
    if isinstance(config.get("architecture"), str):
        return _stated_by_timm(config)
    if not isinstance(config.get("model_type"), str):
        return Stated(options=_pixels(processor_preprocessing(pixels)))
    vision = config.get("vision_config")
    vision = vision if isinstance(vision, dict) else config
    kind, activation = config["model_type"], _ACTIVATIONS.get(str(vision.get("hidden_act")))
    family = "clip" if kind.startswith("clip") else _MODEL_TYPES.get(kind)
    if family:
        _check_computed(vision)
    if family == "clip":
        family = "openclip" if activation == "gelu" else "clip"
        activation = activation or "quick_gelu"  # transformers' default, which its files omit
    patch = _positive_int(vision.get("patch_size"))
    options: dict[str, Any] = {
        "num_heads": _positive_int(vision.get("num_attention_heads")),
        "epsilon": _positive(vision.get("layer_norm_eps", vision.get("rms_norm_eps"))),
        "activation": None if vision.get("use_swiglu_ffn") else activation,
        "grid": _grid(vision.get("image_size"), patch) if kind != "dinov3_vit" else None,
    }
    return Stated(
        family,
        "transformers",
        options=options | _pixels(processor_preprocessing(pixels)),
        width=_positive_int(vision.get("hidden_size")),
        depth=_positive_int(vision.get("num_hidden_layers")),
        patch_size=patch,
    )


def _check_computed(vision: dict[str, Any]) -> None:
    """Raises `JaxpartError` for facts of a config.json that no array shows and no encoder here has."""
    activation, base = vision.get("hidden_act"), vision.get("rope_theta", _ROPE_THETA)
    fault = ""
    if isinstance(activation, str) and activation not in _ACTIVATIONS:
        fault = f"activation {printable(activation)}"
    elif base != _ROPE_THETA:
        fault = f"rope_theta {printable(str(base))}"
    if fault:
        raise _unsupported(fault, "transformers:FOLDER")


def _unsupported(fault: str, model: str) -> JaxpartError:
    """The error of a fact that no encoder here has, with what scores the model as it is."""
    return JaxpartError(
        f"its config.json says {fault}, which is not supported; score it as it is, with "
        f"--config.encoder.callable={model}"
    )


def _stated_by_timm(config: dict[str, Any]) -> Stated:
    trained = config.get("pretrained_cfg", config)  # older files have no such level
    trained = trained if isinstance(trained, dict) else {}
    name = config["architecture"]
    if _UNSUPPORTED.search(name):
        raise JaxpartError(
            f"timm's {printable(name)} has rotary positions unlike DINOv3's and EVA-02's, or norms after "
            f"each branch, which no family here supports; score it as it is, with "
            f"--config.encoder.callable=timm:{printable(name)}"
        )
    if isinstance(trained.get("tag"), str) and "." not in name:
        name = f"{name}.{trained['tag']}"
    family = next((family for pattern, family in _TIMM_NAMES if re.search(pattern, name)), "vit")
    arguments = config.get("model_args")  # of create_model
    arguments = arguments if isinstance(arguments, dict) else {}
    classes = config.get("num_classes", trained.get("num_classes"))
    if family == "clip" and "quickgelu" not in name and classes not in _CLIP_OUTPUTS:
        family = "openclip"
    activation = arguments.get("act_layer")
    faults = [
        f"{key} {value}" for key, value in arguments.items() if not _TIMM_ARGUMENTS.fullmatch(key)
    ]
    if activation is not None and str(activation).lower() not in _TIMM_ACTIVATIONS:
        faults = [f"activation {activation}"]
    if faults:
        model = "timm:local-dir:FOLDER or timm:hf-hub:OWNER/NAME"
        raise _unsupported(printable(faults[0]), model)
    pool = arguments.get("global_pool", config.get("global_pool"))
    patch = arguments.get("patch_size")
    if isinstance(patch, list) and len(patch) == 2 and patch[0] == patch[1]:
        patch = patch[0]
    patch = _positive_int(patch)
    in_name = re.search(r"patch(\d+)", name)
    options: dict[str, Any] = {
        "num_heads": _positive_int(arguments.get("num_heads")),
        "grid": _grid(arguments.get("img_size"), patch or (int(in_name[1]) if in_name else None)),
        "activation": _TIMM_ACTIVATIONS.get(str(activation).lower()),
        "epsilon": 1e-5 if name.startswith("beit3") else None,
    }
    return Stated(
        family,
        "timm",
        options=options | _pixels(stated_preprocessing(trained.get("mean"), trained.get("std"))),
        width=_positive_int(config.get("num_features")),
        depth=_positive_int(arguments.get("depth")),
        patch_size=patch,
        pool=pool if isinstance(pool, str) else None,
    )


def _stated_by_open_clip(config: dict[str, Any]) -> Stated:
    model, pixels = (config.get(name) for name in ("model_cfg", "preprocess_cfg"))
    vision = model.get("vision_cfg") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(vision, dict):
        return Stated()
    pixels = pixels if isinstance(pixels, dict) else {}
    if isinstance(vision.get("timm_model_name"), str):
        return _stated_by_timm(
            {"architecture": vision["timm_model_name"], "pretrained_cfg": pixels}
        )
    width, patch = (_positive_int(vision.get(name)) for name in ("width", "patch_size"))
    head_width = _positive_int(vision.get("head_width")) or 64  # open_clip's default
    options = {
        "num_heads": max(width // head_width, 1) if width else None,
        "grid": _grid(vision.get("image_size"), patch),
    }
    return Stated(
        "clip" if model.get("quick_gelu") is True else "openclip",
        options=options | _pixels(stated_preprocessing(pixels.get("mean"), pixels.get("std"))),
        width=width,
        depth=_positive_int(vision.get("layers")),
        patch_size=patch,
    )


def _positive_int(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 1 << 20 else None


def _positive(value: Any) -> float | None:
    return value if isinstance(value, float) and 0 < value < 1 else None


def _grid(size: Any, patch: int | None) -> tuple[int, int] | None:
    sides = size if isinstance(size, list) else [size, size]
    if patch is None or len(sides) != 2 or any(_positive_int(side) is None for side in sides):
        return None
    return sides[0] // patch, sides[1] // patch


def _pixels(stated: Preprocessing | None) -> dict[str, Any]:
    """A source's mean and std as fields of `Options`."""
    return {} if stated is None else {"mean": stated.mean, "std": stated.std}
