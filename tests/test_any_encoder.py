"""Encoders that are functions, and features made elsewhere: the same numbers as a converted encoder's."""

import dataclasses
import json
import runpy
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import jaxpart
from convert.pipeline import convert
from jaxpart.config import part_config
from jaxpart.encoders.callables import named_encoder, of_function
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.small import small_config
from jaxpart.encoders.torch_function import _timm_outputs, channels_first
from jaxpart.errors import JaxpartError
from jaxpart.export.__main__ import main as export
from jaxpart.features.table import read_table
from jaxpart.runs.rows import select
from jaxpart.tasks.fitting import fitted
from jaxpart.tasks.patches import layer_names
from jaxpart.tasks.segmentation.experiment import Segmentation
from jaxpart.verify.features import read_features

SIDE, FEW = 32, 40
SMALL = {
    "data.num_images": 16,
    "classification.selection": False,
    "classification.linear.epochs": 3,
    "classification.attentive.epochs": 3,
    "segmentation.sets": ("critters_part",),
    "segmentation.train_images": 8,
    "segmentation.test_images": 2,
    "segmentation.iterations": 3,
    "segmentation.warmup": 1,
    "segmentation.batch_size": 4,
    "segmentation.window_batch": 4,
    "segmentation.shares": (),
    "segmentation.incontext.images": 4,
    "segmentation.pictures": 0,
    "features.cache": "off",
}
CROPS = {
    f"segmentation.settings.critters_part.{name}": value
    for name, value in (
        ("train_scale", (96, 96)),
        ("test_scale", (96, 96)),
        ("crop", SIDE),
        ("stride", SIDE),
    )
}


def pooled(images):
    """Mean colours of 8 × 8 pixels, as tokens."""
    pixels = images.astype(jnp.float32).reshape(len(images), SIDE // 8, 8, SIDE // 8, 8, 3)
    return {"tokens": pixels.mean((2, 4))}


def made(function, **options):
    return of_function(function, **{"image_size": SIDE, "pixels": "uint8", "version": ""} | options)


def values(rows):
    return {row.key: row.value for row in rows if row.metric not in ("best_epoch", "last_epoch")}


@pytest.fixture(scope="module")
def timm_vit(tmp_path_factory):
    """A small ViT of timm, and the folder of the encoder that was converted from it."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=SIDE, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0
    ).eval()
    folder = tmp_path_factory.mktemp("timm")
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    save_file(weights, folder / "vit.safetensors")
    convert("vit", folder / "vit.safetensors", folder / "vit", num_heads=4, layout="timm",
            epsilon=1e-6, activation="gelu", positions="bicubic")  # fmt: skip
    return model, folder / "vit"


@pytest.mark.slow
def test_a_converted_encoder_and_functions_in_jax_and_pytorch_have_equal_rows(timm_vit):
    import torch

    model, folder = timm_vit
    encoder = jaxpart.load_encoder(folder)

    def in_jax(encoder, images):
        out = encoder(images, blocks=True)

        def split(tokens):
            grid = tokens[:, 1:].reshape(len(tokens), *encoder.config.grid, -1)
            return {"cls_token": tokens[:, 0], "tokens": grid}

        return split(out["tokens"]) | {"blocks": [split(block) for block in out["blocks"]]}

    class InTorch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            last, blocks = model.forward_intermediates(images, return_prefix_tokens=True)
            tokens = last[:, 1:].transpose(1, 2).reshape(blocks[0][0].shape)
            out = {"cls_token": last[:, 0], "tokens": tokens}
            return out | {"blocks": [{"tokens": t, "cls_token": p[:, 0]} for t, p in blocks]}

    options = SMALL | {
        "retrieval.representations": ("embedding", "cls_token", "block0/embedding"),
        **CROPS,
    }
    tasks = ("retrieval", "classification", "segmentation", "layers")

    def measured(one, **more):
        return jaxpart.evaluate(one, tasks=tasks, options=options, shown=False, **more)

    converted = values(measured(folder))
    assert len(converted) > 60
    assert {key.task for key in converted} == set(tasks)
    about = {"image_size": SIDE, "pixels": "imagenet"}
    for one in (jax.tree_util.Partial(in_jax, encoder), InTorch()):
        found = values(measured(one, **about))
        assert found.keys() == converted.keys()
        worst = max(abs(found[key] - converted[key]) for key in converted)
        assert worst <= 1e-4


def test_a_named_model_of_timm_is_its_converted_twin(timm_vit):
    """The same weights by config.encoder.callable=timm:NAME, from the file."""
    timm = pytest.importorskip("timm")
    _, folder = timm_vit
    name = "jaxpart_test_vit"

    def create(pretrained=False, *, img_size, num_classes, **_):
        return timm.models.vision_transformer.VisionTransformer(
            img_size=img_size,
            num_classes=num_classes,
            patch_size=8,
            embed_dim=32,
            depth=2,
            num_heads=4,
        )

    create.__name__, create.__module__ = name, "timm.models.vision_transformer"
    timm.models.register_model(create)
    options = part_config("", "", projector=False).encoder
    options.callable, options.image_size = f"timm:{name}", SIDE
    options.weights = str(folder.parent / "vit.safetensors")
    encoder = named_encoder(options, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    out = encoder(encoder.normalize(jnp.asarray(images)), blocks=True)
    ours = jaxpart.load_encoder(folder)
    half = jaxpart.FunctionEncoder(encoder.function, "half", (SIDE, SIDE), ours.preprocessing)
    assert encoder.version.startswith(named_encoder(options, seed=1).version[:64])
    expected = ours(ours.normalize(images), blocks=True)
    out = half(half.normalize(jnp.asarray(images)), blocks=True)
    for name in ("tokens", "embedding", "cls_token"):
        assert float(jnp.abs(out[name] - expected[name]).max()) <= 1e-4
    for mine, theirs in zip(out["blocks"], expected["blocks"], strict=True):
        assert float(jnp.abs(mine - theirs).max()) <= 1e-4


_VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 8,
        "intermediate_size": 24, "image_size": SIDE}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "prefix", "grids"),
    [
        ("ViT", _VIT, ("cls",), [(4, 4), (4, 4)]),
        ("SiglipVision", _VIT, (), [(4, 4), (4, 4)]),
        ("Swin", {"image_size": SIDE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 1],
                  "num_heads": [2, 2, 2], "window_size": 4}, (), [(8, 8), (4, 4), (4, 4)]),
        ("Hiera", {"image_size": [SIDE, SIDE], "embed_dim": 12, "depths": [1, 1],
                   "num_heads": [1, 2], "num_query_pool": 1}, (), [(8, 8), (4, 4)]),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, (),
         [(8, 8), (4, 4)]),
        ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, (),
         [(8, 8), (4, 4)]),
        ("SamVision", {**_VIT, "mlp_dim": 24, "output_channels": 16, "window_size": 2,
                       "global_attn_indexes": [1]}, (), [(4, 4), (4, 4)]),
        ("DINOv3ConvNext", {"hidden_sizes": [12, 12, 12, 24], "depths": [1] * 4}, (),
         [(8, 8), (4, 4), (2, 2), (1, 1)]),
        ("InternVLVision", _VIT | {"patch_size": [8, 8], "image_size": [SIDE, SIDE]}, ("cls",),
         [(4, 4), (4, 4)]),
    ],
)  # fmt: skip
def test_models_of_transformers(kind, options, prefix, grids, tmp_path):
    """The grid of each stage, tokens where they belong, and the mean and std of the folder."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    model.eval().save_pretrained(tmp_path)
    about = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3, "image_processor_type": "X"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    config = part_config("", "", projector=False).encoder
    config.callable, config.image_size = f"transformers:{tmp_path}", SIDE
    encoder = named_encoder(config, seed=0)
    assert encoder.preprocessing.mean == (0.4,) * 3
    assert encoder.prefix == prefix
    assert [encoder.grid_of(SIDE, SIDE, block) for block in range(encoder.depth)] == grids
    images = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    out = encoder(jnp.asarray(images), blocks=True)
    with torch.no_grad():
        theirs = model(torch.tensor(images.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    if theirs.ndim == 4:
        theirs = theirs.reshape(*theirs.shape[:2], -1).swapaxes(1, 2)
    cls = kind == "DINOv3ConvNext"  # a mean, which only the last stage has
    np.testing.assert_allclose(out["tokens"], theirs[:, cls:], rtol=0, atol=1e-5)
    about["do_normalize"] = False
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    assert named_encoder(config, seed=0).preprocessing.std == (1,) * 3
    half = [0.5] * 3
    for mean, std in ((0.5, 0.5), (half, [0.5, 0.5, 0]), (half, ["0.5"] * 3), (None, half)):
        stated = {"image_mean": mean, "image_std": std}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
        with pytest.raises(JaxpartError, match="states no image_mean and image_std of three"):
            named_encoder(config, seed=0)
    for content in (b"[]", b'{"image_mean"', b"\xff\xfe"):
        (tmp_path / "preprocessor_config.json").write_bytes(content)
        with pytest.raises(JaxpartError, match=r"preprocessor_config.json cannot be read"):
            named_encoder(config, seed=0)


def transformers_folder(model, folder):
    """The configuration of an encoder that is a model of transformers, and its images."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    config = part_config("", "", projector=False).encoder
    config.callable, config.image_size = f"transformers:{folder}", 2 * SIDE
    return config


def test_a_timm_model_in_transformers_is_a_timm_model(tmp_path):
    """With all of its stages, its cls token under its own name and a register under none."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("timm")
    for name, prefix in (("test_vit", ("cls",)), ("test_vit3", ()), ("test_resnet", ())):
        arguments = {} if name == "test_resnet" else {"img_size": 2 * SIDE}
        configuration = transformers.TimmWrapperConfig(architecture=name, model_args=arguments)
        model = transformers.TimmWrapperModel(configuration)
        encoder = named_encoder(transformers_folder(model, tmp_path / name), seed=0)
        assert (encoder.prefix, encoder.depth) == (prefix, len(model.timm_model.feature_info))


@pytest.mark.parametrize(("kind", "options", "sentence"), [
    ("Levit", {"image_size": 2 * SIDE, "hidden_sizes": [16, 24, 32], "depths": [1] * 3,
               "num_attention_heads": [1, 1, 2], "key_dim": [8] * 3},
     "1 patch tokens do not fill a grid of 4 × 4; write a function around it"),
    ("Pvt", {"image_size": 2 * SIDE, "hidden_sizes": [8] * 4, "depths": [1] * 4,
             "num_attention_heads": [1] * 4}, "states no patch_size; write a function around it"),
])  # fmt: skip
def test_models_of_transformers_whose_tokens_have_no_known_grid(kind, options, sentence, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**options))
    with pytest.raises(JaxpartError, match=sentence):
        named_encoder(transformers_folder(model, tmp_path), seed=0)


@pytest.mark.parametrize(("shapes", "sides", "first"), [
    ([(6, 4, 4)], (32, 32), True),
    ([(4, 4, 6)], (32, 32), False),
    ([(8, 8, 8), (4, 4, 16)], (64, 64), False),
    ([(8, 8, 8), (16, 4, 4)], (64, 64), True),
    ([(24, 3, 5)], (48, 72), True),
    ([(3, 5, 24)], (48, 72), False),
    ([(4, 4, 4)], (32, 32), None),
    ([(2, 4, 8)], (32, 64), None),
])  # fmt: skip
def test_the_axis_that_holds_the_channels_of_maps(shapes, sides, first):
    torch = pytest.importorskip("torch")
    maps = [torch.zeros(1, *shape) for shape in shapes]
    if first is None:
        with pytest.raises(ValueError, match=r"which axis .* holds the channels is unclear; write"):
            channels_first(maps, sides)
        return
    for (a, b, c), found in zip(shapes, channels_first(maps, sides), strict=True):
        assert found.shape == ((1, a, b, c) if first else (1, c, a, b))


_TIMM_VIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}


@pytest.mark.parametrize(("architecture", "options", "name"), [
    ("vit_base_patch16_224", {"reg_tokens": 1}, None),
    ("vit_base_patch16_224", {"global_pool": "avg", "fc_norm": False}, "embedding"),
    ("vit_base_patch16_224", {"global_pool": "avg"}, "pooled"),
    ("vit_base_patch16_224", {"fc_norm": True}, "pooled"),
    ("vit_base_patch16_224", {"global_pool": "avgmax"}, "pooled"),
    ("vit_base_patch16_224", {"global_pool": "max", "fc_norm": False}, "pooled"),
    ("vit_base_patch16_224", {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True},
     "pooled"),
    ("vit_base_patch16_224", {"global_pool": "map"}, "projection"),
    ("vit_base_patch16_224", {"global_pool": ""}, None),
    ("vit_relpos_small_patch16_224", {}, "pooled"),
    ("hiera_tiny_224", {"img_size": 64, "embed_dim": 8, "num_heads": 1, "stages": (1, 1, 1, 1)},
     "embedding"),
    ("hiera_tiny_224", {"img_size": 64, "embed_dim": 8, "num_heads": 1, "stages": (1, 1, 1, 1),
                        "q_pool": 2}, "embedding"),
])  # fmt: skip
def test_what_the_classifier_of_a_timm_model_reads(architecture, options, name):
    """The mean patch token as everywhere, and beside it what the classifier reads instead."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    settings = options if "hiera" in architecture else _TIMM_VIT | options
    model = timm.create_model(architecture, num_classes=0, **settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    side = settings["img_size"]
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        out = _timm_outputs(model, images)
        read = model.forward_head(model.forward_features(images), pre_logits=True)
    others = {"pooled", "projection", "embedding"} & out.keys()
    mean = out["tokens"].mean((2, 3))
    if name == "embedding" and not others:
        torch.testing.assert_close(mean, read)
    elif name:
        assert others == {name}
        torch.testing.assert_close(out[name], read)
        assert (mean - read).abs().max() > 1e-2
    else:
        assert not others
        assert "cls_token" in out
    if "hiera" in architecture:
        torch.testing.assert_close(out["tokens"], out["blocks"][-1]["tokens"])


@pytest.mark.parametrize("name", ["volo", "coat_lite_tiny", "vitamin_small_224"])
def test_timm_models_with_tokens_of_their_own_kind(name):
    """Without num_prefix_tokens, and with patches embedded by convolutions."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    cls, about, four = name == "volo", {"img_size": 64, "num_classes": 0}, (1, 1, 1, 1)
    if cls:
        model = timm.models.volo.VOLO(four, embed_dims=(16,) * 4, num_heads=(2,) * 4, **about)
    elif name == "coat_lite_tiny":
        model = timm.create_model(name, embed_dims=(8,) * 4, serial_depths=four, **about)
    else:
        vitamin = timm.models.vitamin
        convolutions = vitamin.VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
        embed = vitamin.VitCfg((8, 8, 24), (1, 1, 1), 8, conv_cfg=convolutions, head_type="1d")
        small = {"embed_dim": 24, "depth": 1, "num_heads": 3, "embed_cfg": embed}
        model = timm.create_model(name, **small, **about)
    model.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        out = _timm_outputs(model, images)
        read = model.forward_head(model.forward_features(images), pre_logits=True)
    assert ("cls_token" in out) == cls
    torch.testing.assert_close(out["cls_token" if cls else "embedding"], read)


def test_timm_models_without_one_map_of_tokens_are_refused():
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    crossvit = {"depth": ((1, 1, 0),) * 3, "embed_dim": (12, 12), "num_heads": (3, 3)}
    pit = {"base_dims": [4, 4, 4], "depth": [1, 1, 1], "heads": [1, 1, 1]}
    for name, options, sentence in (
        ("pit_ti_224", pit, "1 patch tokens do not fill a grid of 7 × 7; write a function around"),
        ("crossvit_tiny_240", crossvit, "its features are 2 arrays, not one; write a function"),
    ):
        model = timm.create_model(name, **options).eval()
        side = model.pretrained_cfg["input_size"][-1]
        with pytest.raises(ValueError, match=sentence), torch.inference_mode():
            _timm_outputs(model, torch.zeros(1, 3, side, side))


@pytest.mark.slow
def test_the_layers_of_a_classifier_do_not_matter(tmp_path):
    """With a norm of their own, as of LeViT; but those before what it reads do, and so does the size."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    options = part_config("", "", projector=False).encoder
    file = tmp_path / "weights.pth"
    options.callable, options.weights = "timm:levit_128s", str(file)
    torch.save(timm.create_model("levit_128s", num_classes=5).state_dict(), file)
    assert named_encoder(options, seed=0).trained
    further = {"head.pre_logits.fc.weight": torch.zeros(1)}
    options.callable = "timm:test_convnext"
    torch.save(timm.create_model("test_convnext", num_classes=5).state_dict() | further, file)
    with pytest.raises(JaxpartError, match=r"has head.pre_logits.fc.weight, which timm:test_conv"):
        named_encoder(options, seed=0)
    options.callable, options.image_size = "timm:test_vit", SIDE
    torch.save(timm.create_model("test_vit").state_dict(), file)
    with pytest.raises(
        JaxpartError, match=r"pos_embed .*, or give the image size that it was trai"
    ):
        named_encoder(options, seed=0)


def lost_and_renamed(weights):
    """Weights under names with a prefix, and weights without the last block."""
    yield {f"backbone.{key}": value for key, value in weights.items()}
    yield {key: value for key, value in weights.items() if ".1." not in key}


def test_a_folder_of_transformers_that_lacks_weights_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model = transformers.ViTModel(transformers.ViTConfig(**_VIT), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0], "image_std": [1]}')
    config = part_config("", "", projector=False).encoder
    config.callable = f"transformers:{tmp_path}"
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    for changed in lost_and_renamed(weights):
        save_file(changed, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(JaxpartError, match=r"has no weights for .* more; save it again"):
            named_encoder(config, seed=0)


def test_weights_of_a_timm_model_with_further_layers_are_refused(tmp_path):
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    options, file = part_config("", "", projector=False).encoder, tmp_path / "vit.pth"
    options.callable, options.weights = "timm:test_vit", str(file)
    plain = timm.create_model("test_vit", num_classes=5).state_dict()
    harmless = {"mask_token": torch.zeros(1), "decoder_embed.weight": torch.zeros(1)}
    torch.save(plain | harmless | {f"ema.{key}": value for key, value in plain.items()}, file)
    assert named_encoder(options, seed=0).trained
    scaled = timm.create_model("test_vit", init_values=1e-2).state_dict()
    torch.save({"model": scaled}, file)
    refused = r"vit.pth has blocks.0.ls1.gamma, .*, which timm:test_vit does not; name another"
    with pytest.raises(JaxpartError, match=refused):
        named_encoder(options, seed=0)


def test_a_folder_of_timm_is_its_model(tmp_path):
    """With the arguments of create_model and the mean that its config.json states, and its weights."""
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    arguments = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    model = timm.create_model("vit_base_patch16_224", num_classes=5, **arguments).eval()
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    about = {"architecture": "vit_base_patch16_224", "model_args": arguments, "pretrained_cfg": {
        "mean": [0.4] * 3, "std": [0.2] * 3, "input_size": [3, 32, 32], "num_classes": 5,
        "classifier": "head"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(about))
    config = part_config("", "", projector=False).encoder
    config.callable = f"timm:local-dir:{tmp_path}"
    encoder = named_encoder(config, seed=0)
    assert (encoder.preprocessing.mean, encoder.depth) == ((0.4,) * 3, 2)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model.forward_features(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    ours = encoder(jnp.asarray(images))["tokens"]
    np.testing.assert_allclose(ours, theirs[:, -ours.shape[1] :], rtol=0, atol=1e-5)
    about["model_args"] = arguments | {"num_heads": 3}  # the weights are the same
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert named_encoder(config, seed=0).version != encoder.version
    about["pretrained_cfg"]["std"] = [0.2, 0.2, 0]
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(JaxpartError, match="states no usable input_size, mean and std"):
        named_encoder(config, seed=0)
    for changed in lost_and_renamed(weights):
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(JaxpartError, match=r"timm cannot make .*Missing key.*; name a file of"):
            named_encoder(config, seed=0)
    (tmp_path / "config.json").unlink()
    with pytest.raises(JaxpartError, match="timm cannot make local-dir:"):
        named_encoder(config, seed=0)


def test_one_network_of_a_checkpoint_of_several(tmp_path):
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    names = ("student.module.backbone.", "teacher.backbone.")
    first, second = (timm.create_model("resnet10t", num_classes=0) for _ in names)
    file, options = tmp_path / "both.pth", part_config("", "", projector=False).encoder
    first, second = (model.state_dict() for model in (first, second))
    torch.save({names[0] + k: v for k, v in first.items()}
               | {names[1] + k: v for k, v in second.items()}, file)  # fmt: skip
    options.callable, options.weights, options.image_size = "timm:resnet10t", str(file), SIDE
    fitting = (
        "holds 2 networks that fit: student.module.backbone, teacher.backbone; choose one with"
    )
    with pytest.raises(JaxpartError, match=fitting):
        named_encoder(options, seed=0)
    options.checkpoint_key = "teacher"
    found = named_encoder(options, seed=0).version
    torch.save(second, file)
    options.checkpoint_key = ""
    assert named_encoder(options, seed=0).version == found
    options.checkpoint_key = "teach"
    with pytest.raises(JaxpartError, match="has no such network in teach; leave out"):
        named_encoder(options, seed=0)
    options.callable, options.checkpoint_key = "timm:resnet18", ""
    with pytest.raises(JaxpartError, match=r"do not fit timm:resnet18: .* is missing"):
        named_encoder(options, seed=0)
    options.callable, options.checkpoint_key = "timm:resnet10t", "teach"
    options.weights = "random"
    with pytest.raises(JaxpartError, match=r"checkpoint_key is teach, but .*weights names no file"):
        named_encoder(options, seed=0)


def test_the_mae_of_transformers_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    transformers.ViTMAEModel(transformers.ViTMAEConfig(**_VIT)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0], "image_std": [1]}')
    config = part_config("", "", projector=False).encoder
    config.callable = f"transformers:{tmp_path}"
    with pytest.raises(JaxpartError, match=r"hides patches at random; .* python -m convert mae"):
        named_encoder(config, seed=0)


def test_tokens_are_the_embedding_and_vectors_have_their_own_names():
    encoder = made(lambda x: {**pooled(x), "mine": x.astype(jnp.float32).mean((1, 2))})
    assert encoder.grid_of(SIDE, SIDE) == (4, 4)
    assert (encoder.prefix, encoder.depth) == ((), 0)
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    out = encoder(encoder.normalize(jnp.asarray(images)))
    assert {name: value.shape for name, value in out.items()} == {
        "tokens": (2, 16, 3),
        "embedding": (2, 3),
        "mine": (2, 3),
    }
    np.testing.assert_allclose(out["embedding"], images.mean((1, 2)), rtol=1e-5)
    assert made(lambda x: x.mean((1, 2))).shapes(SIDE, SIDE).keys() >= {"embedding"}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: {}, 'returns nothing; have it return "embedding"'),
        (lambda x: {"tokens": x.mean((1, 2))}, r"tokens \[1, 3\]; return \[batch, rows"),
        (lambda x: {"embedding": x.sum((1, 2))}, "embedding of uint32; return arrays of floats"),
        (lambda x: {"embedding": None}, "embedding NoneType"),
        (lambda x: {"blocks": [{"cls_token": x}]}, "block 0 without"),
        (lambda x: x @ jnp.zeros((7, 7)), r"fails on images \[1, 32, 32, 3\] of uint8 \(.*, line "),
        (lambda x: {"embedding": jnp.zeros((1, 2)), "a": jnp.zeros((2, 2))}, "of 1, 2 images"),
        (lambda x: jnp.zeros((64, 8)), "returns arrays of 64 images for 1; the first axis"),
    ],
)
def test_what_a_function_must_not_return(function, sentence):
    with pytest.raises(JaxpartError, match=sentence):
        made(function)


def test_the_failing_line_is_named_in_a_folder_called_jaxpart(tmp_path):
    file, names = tmp_path / "jaxpart" / "mine.py", {}
    exec(compile("def fails(images):\n    return images.nothing", file, "exec"), names)
    with pytest.raises(JaxpartError, match=r"fails on images .*mine\.py, line 2: AttributeError"):
        made(names["fails"])


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("nowhere:encode", {}, "nowhere:encode cannot be imported"),
        ("json:nothing", {}, "no attribute 'nothing'"),
        ("nofile.py:encode", {}, "there is no file nofile.py"),
        ("encode", {}, "give module:function"),
        ("json:__name__", {}, "is a str, which cannot be called"),
        ("json:dumps", {}, "--config.encoder.image_size=224"),
        ("json:dumps", {"weights": "x"}, "weights is for timm's models"),
        ("json:dumps", {"checkpoint_key": "x"}, "checkpoint_key is for timm's models"),
        ("timm:resnet17", {"weights": "random"}, "has no model resnet17; did you mean resnet"),
        ("timm:resnet18", {"pixels": "clip"}, "defines its own pixels and version"),
        ("transformers:/nowhere", {}, "transformers cannot load /nowhere"),
    ],
)
def test_callables_that_are_not(text, options, sentence):
    if text.startswith(("timm", "transformers")):
        pytest.importorskip(text.partition(":")[0])
    config = part_config("", "", projector=False).encoder
    config.callable = text
    config.update(options)
    with pytest.raises(JaxpartError, match=sentence):
        named_encoder(config, seed=0)


def test_what_cannot_be_measured_is_left_out_and_said():
    config, said = part_config("", "", projector=True), []
    config.tasks = ("retrieval", "classification", "segmentation", "layers", "masked_parts")
    left = fitted(config, made(lambda x: x.astype(jnp.float32).mean((1, 2))), said.append)
    assert left.tasks == ("retrieval", "classification")
    assert left.retrieval.representations == ("embedding",)
    assert (left.classification.heads, left.classification.references) == (
        ("linear",),
        ("knn", "logistic"),
    )
    assert "returns embedding: skipping segmentation, layers, masked_parts" in said[-1]
    assert config.tasks[-1] == "masked_parts"
    config.tasks = ("layers",)
    with pytest.raises(JaxpartError, match=r"none of config\.tasks \(layers\) can use"):
        fitted(config, made(pooled), said.append)


def test_options_of_the_encoder_are_used_or_refused(timm_vit, tmp_path):
    """A folder is opened as the options say; an object is what it is."""
    _, folder = timm_vit
    few = SMALL | {"data.num_images": 6, "encoder.precision": "bfloat16"}
    run = tmp_path / "run"
    jaxpart.evaluate(folder, options=few, workdir=run, shown=False)
    assert json.loads((run / "results.json").read_text())["encoder"]["precision"] == "bfloat16"
    with pytest.raises(JaxpartError, match=r"options has 'encoder\.precision', which an encoder"):
        jaxpart.evaluate(jaxpart.load_encoder(folder), options=few, shown=False)


def test_blocks_alone_are_measured():
    """Names that stand in messages for those of all blocks are none of a representation."""

    def blocks(x):
        return {"blocks": [x.astype(jnp.float32)[:, ::8, ::8]] * 2}

    config, said = part_config("", "", projector=True), []
    config.tasks = ("retrieval", "classification", "layers", "segmentation")
    encoder = made(blocks)
    left = fitted(config, encoder, said.append)
    assert left.tasks == config.tasks
    assert left.retrieval.representations == ("block1/embedding",)
    assert left.classification.linear.representations == ("block1/embedding",)
    assert layer_names(encoder, ("embedding",)) == ("block0/embedding", "block1/embedding")
    data = types.SimpleNamespace(crop=32, test=range(2))
    plan = Segmentation("", (), encoder, data, left.segmentation, 0)
    assert [pass_.names for pass_ in plan.passes()] == [("block1/tokens",)]


def test_a_vit_without_a_projector_is_retrieved_by_the_rest():
    config, said = part_config("ibot", "", projector=True), []
    left = fitted(config, random_encoder("mae", small_config("mae")), said.append)
    assert left.retrieval.representations == ("embedding", "cls_token")
    assert said == ["mae has no projection: retrieval uses embedding, cls_token"]
    config.retrieval.representations = ("projection",)  # nothing else is wanted: an error, later
    assert fitted(config, random_encoder("mae", small_config("mae")), said.append) == config


@pytest.mark.slow
def test_blocks_of_several_grids_are_segmented_by_those_of_the_last(tmp_path):
    def pyramid(images):
        fine = images.astype(jnp.float32) / 255
        coarse = pooled(images)["tokens"] / 255
        return {"tokens": coarse, "blocks": [fine, coarse, 1 - coarse]}

    rows = jaxpart.evaluate(
        pyramid,
        image_size=SIDE,
        tasks=("segmentation",),
        options=SMALL | CROPS,
        workdir=tmp_path / "run",
        shown=False,
    )
    heads = {row.head for row in select(rows, metric="mIoU")}
    assert heads == {"block1", "block2", "incontext"}
    odd = {f"segmentation.settings.critters_part.{name}": SIDE + 2 for name in ("crop", "stride")}
    with pytest.raises(
        JaxpartError, match="cannot divide crops of 34 pixels into the 4 × 4 patches"
    ):
        jaxpart.evaluate(
            lambda x: pyramid(x[:, :SIDE, :SIDE]) if x.shape[1] > SIDE else pyramid(x),
            image_size=SIDE,
            tasks=("segmentation",),
            options=SMALL | CROPS | odd,
            shown=False,
        )


def test_a_function_without_a_version_keeps_nothing_and_goes_on_nowhere(tmp_path):
    options = SMALL | {"features.cache": "disk", "features.folder": str(tmp_path / "cache")}

    def measured(**more):
        return jaxpart.evaluate(pooled, image_size=SIDE, options=options, shown=False, **more)

    measured(workdir=tmp_path / "run")
    assert not (tmp_path / "cache").exists()
    with pytest.raises(JaxpartError, match="belongs to a run for which the encoder was different"):
        measured(workdir=tmp_path / "run")
    named = values(measured(workdir=tmp_path / "named", version="1"))
    assert list((tmp_path / "cache").rglob("*.safetensors"))
    assert values(measured(workdir=tmp_path / "named", version="1")) == named


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """The items of few critters with their pictures."""
    out = tmp_path_factory.mktemp("items") / "items"
    few = part_config("", "", projector=False)
    few.data.num_images = FEW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxpart.export.views.part_config", lambda *_, **__: few)
        assert export(["views", str(out), "--pictures", "png", "--pixels", "32"]) == 0
    return out, [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def test_functions_of_one_name_are_told_apart_by_their_files(tmp_path):
    digests = []
    for name, factor in (("a", 1), ("b", 2), ("c", 1)):
        file = tmp_path / f"{name}.py"
        file.write_text(f"def encode(x):\n    return {{'embedding': {factor} * x.mean((1, 2))}}\n")
        encode = runpy.run_path(str(file))["encode"]
        digests.append(of_function(encode, image_size=SIDE, pixels="imagenet", version="1").digest)
    assert digests[0] == digests[2] != digests[1]


def test_a_folder_keeps_to_the_precision_and_size_of_an_encoder_object(tmp_path):
    def encode(images):
        return {"embedding": images.astype(jnp.float32).mean((1, 2))}

    def run(**changes):
        encoder = jaxpart.FunctionEncoder(encode, "mine", (SIDE, SIDE), version="1")
        encoder = dataclasses.replace(encoder, **changes)
        few = {"data.num_images": 8}
        jaxpart.evaluate(encoder, options=few, workdir=tmp_path, shown=False)

    run()
    with pytest.raises(JaxpartError, match=r"another configuration \(encoder\.precision"):
        run(precision="float32")
    with pytest.raises(JaxpartError, match=r"another configuration \(encoder\.image_size"):
        run(image_size=(2 * SIDE, 2 * SIDE))
    with pytest.raises(JaxpartError, match="describe a function, but this encoder is none"):
        jaxpart.evaluate(tmp_path, version="2")


@pytest.mark.slow
def test_features_computed_elsewhere(items, tmp_path):
    """Principal components of pixels, by scikit-learn, from pictures to a row of the table."""
    from PIL import Image
    from sklearn.decomposition import PCA

    folder, lines = items
    assert len({line["id"] for line in lines}) == len(lines) > 300
    pixels = np.stack([np.asarray(Image.open(folder / line["file"])) for line in lines])
    components = PCA(8, random_state=0).fit_transform(pixels.reshape(len(pixels), -1) / 255)
    ids = [line["id"] for line in lines]
    np.savez(tmp_path / "pca.npz", ids=ids, pca=components.astype(np.float32))
    save_file({"pca": components.astype(np.float32)}, tmp_path / "pca.safetensors",
              {"ids": json.dumps(ids)})  # fmt: skip
    table, same = (read_table(tmp_path / f"pca.{kind}", side=32) for kind in ("npz", "safetensors"))
    np.testing.assert_array_equal(same.arrays["pca"], table.arrays["pca"])
    assert same.row_of == table.row_of
    options = {"classification.linear.epochs": 2, "classification.selection": False}
    few = {"data.num_images": FEW}
    tasks = ("retrieval", "classification")
    rows = jaxpart.evaluate(table, tasks=tasks, options=options | few, shown=False)
    (ap,) = select(rows, task="retrieval", metric="AP", representation="pca", group="")
    assert 0.31 < ap.value < 0.32  # 0.303 if their order were another
    assert select(rows, task="classification", representation="pca")
    with pytest.raises(JaxpartError, match=r"lacks \d+ of \d+ items of critters \(patch eval\)"):
        jaxpart.evaluate(table, options={"data.num_images": FEW + 1}, shown=False)


def test_parquet_of_features(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"id": ["a", "b"], "mine": [[1.0, 2.0], [3.0, 4.0]]})
    parquet.write_table(table, tmp_path / "x.parquet")
    found = read_table(tmp_path / "x.parquet", side=32)
    np.testing.assert_array_equal(found.arrays["mine"], [[1, 2], [3, 4]])
    assert found.row_of == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.zeros((2, 3), np.float32)}, "does not say which items its features"),
        ({"ids": np.array(["a", "b"])}, "holds no features"),
        ({"ids": np.array(["a", "b"]), "x": np.zeros((3, 2))}, r"x \[3, 2\] of float64 for 2 ids"),
        ({"ids": np.array(["a", "b"]), "x": np.zeros((2, 2), int)}, "of int64 for 2 ids"),
        ({"ids": np.array(["a", "a"]), "x": np.eye(2)}, "the id 'a' twice, in rows 0 and 1"),
        ({"ids": np.array(["a", "b"]), "x": np.full((2, 1), np.nan)}, "x of 'a' is NaN"),
    ],
)
def test_files_of_features_that_are_refused(arrays, sentence, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(JaxpartError, match=sentence):
        read_table(tmp_path / "x.npz", side=32)


def test_a_file_that_unpacks_to_far_more_than_features(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxpart.io.npz._SLACK", 16 << 20)
    np.savez_compressed(tmp_path / "x.npz", embedding=np.zeros((8 << 20, 1), np.float32))
    with pytest.raises(JaxpartError, match=r"unpacks to 33554560 bytes, many times its .*; write"):
        read_table(tmp_path / "x.npz", side=SIDE)


def test_a_damaged_file_of_features(tmp_path):
    for name, content in (("x.npz", b"PK"), ("x.safetensors", b"no"), ("x.txt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JaxpartError, match="x"):
            read_table(tmp_path / name, side=32)
    with pytest.raises(JaxpartError, match="there is no file"):
        read_table(tmp_path / "absent.npz", side=32)
    misnamed = tmp_path / "misnamed.safetensors"
    with misnamed.open("wb") as file:
        np.savez(file, x=np.eye(2))
    for read in (lambda path: read_table(path, side=32), read_features):
        with pytest.raises(JaxpartError, match="is not a safetensors file"):
            read(misnamed)
    save_file({"x": np.eye(2)}, misnamed, {"ids": "["})
    with pytest.raises(JaxpartError, match=r"\(ids\) is damaged .*; write it again"):
        read_table(misnamed, side=32)
