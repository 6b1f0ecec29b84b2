"""Verification: what is the same is found the same, and each known mistake is named."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.encoder import with_config
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.verify import stages
from jaxpart.verify.__main__ import main
from jaxpart.verify.diagnosis import diagnose
from jaxpart.verify.reference import _weights

torch = pytest.importorskip("torch")
planted = pytest.importorskip("faulty_models")


@pytest.fixture(scope="module")
def moco(tmp_path_factory):
    """(checkpoint, encoder folder) of a small MoCo v3 whose first tokens are small, as real ones are."""
    from convert.pipeline import convert

    folder = tmp_path_factory.mktemp("moco")
    model = planted.model()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            noise = torch.randn(value.shape, generator=random)
            if name.endswith("running_var"):
                value.copy_(0.5 + noise.abs())
            elif value.ndim > 1 and name.endswith("weight"):
                value.copy_(noise * value[0].numel() ** -0.5)
            elif value.ndim:
                value.copy_(0.2 * noise + ("norm" in name and name.endswith("weight")))
        for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "cls_token"):
            model.get_parameter(name).mul_(0.02)
    state = {f"module.base_encoder.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, folder / "moco.pth.tar")
    convert("mocov3", folder / "moco.pth.tar", folder / "encoder", num_heads=planted.HEADS)
    return str(folder / "moco.pth.tar"), str(folder / "encoder")


def verify(moco, name, tmp_path, *options):
    """(exit status, what the JSON file says)"""
    file = tmp_path / "report.json"
    status = main(
        [
            "encoder",
            *moco,
            "--reference",
            f"module:faulty_models:{name}",
            "--json",
            str(file),
            *options,
        ]
    )
    return status, json.loads(file.read_text()) if file.exists() else None


def test_the_same_is_found_the_same(moco, tmp_path, capsys):
    status, report = verify(moco, "faithful", tmp_path)
    assert status == 0
    assert report["same"]
    (size,) = report["sizes"]
    names = [stage["stage"] for stage in size["stages"]]
    assert names == ["pixels", "normalised", "embed", "block0", "block1", "tokens", "projection"]
    for stage in size["stages"]:
        assert 0 <= stage["error"] <= 1e-4
        assert stage["cosine"] == pytest.approx(1)
        assert stage["scale"] > 0.01
    assert size["stages"][0]["note"] == "uint8, equal"
    assert size["stages"][1]["note"] == "mean and std not checked: the reference states none"
    granted = {one["name"]: one for one in report["granted"]}
    assert granted["grid"]["value"] == "4 × 4 patches of 8"
    assert granted["heads"]["value"] == "3 of 16 channels"
    assert "cannot be read off the arrays" in granted["heads"]["note"]
    assert granted["pixels"]["value"] == "mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)"
    assert (granted["epsilon"]["value"], granted["activation"]["value"]) == ("1e-06", "gelu")
    assert [name for name, one in granted.items() if not one["checked"]] == ["pixels"]
    printed = capsys.readouterr().out
    assert "same: no stage differs (pixels not checked)" in printed
    assert "NOT CHECKED: the reference states none" in " ".join(printed.split())
    assert "block1" in printed
    assert all(len(line) <= 100 for line in printed.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage", "sentences"),
    [
        ("tanh_gelu", "block0", ["GELU: gelu_tanh in the reference, gelu here"]),
        ("epsilon_5", "block0", ["LayerNorm epsilon: 1e-05 in the reference, 1e-06 here"]),
        ("epsilon_12", "block0", ["LayerNorm epsilon: 1e-12 in the reference, 1e-06 here"]),
        ("qkv_order", "block0", ["qkv order: k, q, v in the reference, q, k, v here"]),
        ("qkv_of_each_head", "block0", ["qkv order: of each head in the reference, q, k, v here"]),
        ("head_count", "block0", ["head count: 2 in the reference, 3 here"]),
        ("no_final_norm", "tokens", ["missing in the reference: the final norm"]),
        ("two_final_norms", "tokens", ["doubled in the reference: the final norm"]),
        (
            "no_second_norm",
            "block0",
            ["missing in the reference: the second norm of the blocks"],
        ),
        (
            "batch_statistics",
            "projection",
            ["BatchNorm uses the statistics of the batch in the reference, running ones here"],
        ),
        (
            "epsilon_5_and_tanh_gelu",
            "block0",
            [
                "LayerNorm epsilon: 1e-05 in the reference, 1e-06 here",
                "GELU: gelu_tanh in the reference, gelu here",
            ],
        ),
        ("unknown", "block1", []),
        ("another_token", "embed", []),
    ],
)
def test_planted_mistakes_are_named(moco, tmp_path, capsys, name, stage, sentences):
    status, report = verify(moco, name, tmp_path)
    (size,) = report["sizes"]
    assert status == 1
    assert not report["same"]
    assert size["first_departing"] == stage
    assert sorted(m["sentence"] for m in size["mistakes"]) == sorted(sentences)
    assert size["explained"] == bool(sentences)
    assert not sentences or size["mistakes"][-1]["error_after"] <= 1e-4
    printed = " ".join(capsys.readouterr().out.split())
    assert f"NOT THE SAME: the first stage that differs is {stage}" in printed
    assert all(sentence in printed for sentence in sentences)
    assert ("no known mistake explains the whole difference" in printed) == (not sentences)


@pytest.mark.slow
def test_another_size_and_the_interpolation_of_positions(moco, tmp_path):
    status, report = verify(moco, "faithful", tmp_path, "--size", "32", "--size", "48x40")
    native, other = report["sizes"]
    assert status == 1
    assert native["first_departing"] is None
    assert other["first_departing"] == "embed"
    assert [mistake["sentence"] for mistake in other["mistakes"]] == [
        "position interpolation: bicubic_antialias in the reference, sincos_wh here"
    ]
    assert other["explained"]


def test_a_module_with_names_of_its_own(moco, tmp_path, capsys):
    assert verify(moco, "renamed", tmp_path)[0] == 2
    told = capsys.readouterr().err
    assert "the reference has several lists of 2 modules stack and other; name its blocks" in told
    status, report = verify(moco, "renamed", tmp_path, "--stage", "blocks=stack")
    assert status == 0
    assert all(stage["error"] is not None for stage in report["sizes"][0]["stages"])
    assert verify(moco, "renamed", tmp_path, "--stage", "blocks=nowhere")[0] == 2
    assert "--stage blocks=nowhere: the reference has no such submodule" in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_input_is_told(moco, tmp_path, capsys):
    def told(*arguments):
        assert main(["encoder", *arguments]) == 2
        return capsys.readouterr().err

    reference = ["--reference", "module:faulty_models:faithful"]
    checkpoint, folder = moco
    assert "is not a converted encoder" in told(checkpoint, str(tmp_path), *reference)
    assert "does not exist; give the PyTorch" in told("no.pth", folder, *reference)
    assert f"{tmp_path} is a folder; give the" in told(str(tmp_path), folder, *reference)
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    assert "but from another moco.pth.tar" in told(str(other), folder, *reference)
    assert "there is no reference 'timm'" in told(*moco, "--reference", "timm")
    missing = told(*moco, "--reference", "module:no.such:thing")
    assert "module:no.such:thing cannot be imported" in missing
    wrong = told(*moco, "--reference", "module:faulty_models:no_module")
    assert "returns a str, not a torch.nn.Module" in wrong
    failed = told(*moco, "--reference", "module:faulty_models:misfit")
    assert (
        "module:faulty_models:misfit fails (RuntimeError: Error(s) in loading state_dict" in failed
    )
    assert "timm cannot make no_such_model" in told(*moco, "--reference", "timm:no_such_model")
    misfit = told(*moco, "--reference", "timm:vit_tiny_patch16_224,depth=1")
    assert "weights do not fit timm:vit_tiny_patch16_224: " in misfit
    assert "transformers has no class 'NoModel'" in told(
        *moco, "--reference", "transformers:NoModel"
    )
    assert "has no config.json" in told(*moco, "--reference", "transformers:ViTModel")
    assert "cannot be cut into patches of 8" in told(*moco, *reference, "--size", "30")
    assert "holds no .jpg" in told(*moco, *reference, "--images", str(tmp_path))


def test_a_timm_model_by_name(moco, tmp_path, capsys):
    settings = "patch_size=8,embed_dim=48,depth=2,num_heads=3"
    file = tmp_path / "report.json"
    status = main(
        [
            "encoder",
            *moco,
            "--reference",
            f"timm:vit_base_patch16_224,{settings}",
            "--json",
            str(file),
        ]
    )
    (size,) = json.loads(file.read_text())["sizes"]
    assert status == 0
    assert size["stages"][-1] == {
        **dict.fromkeys(("error", "cosine", "scale")),
        "stage": "projection",
        "note": "not compared: its shape in the reference is [4, 48]",
    }
    printed = " ".join(capsys.readouterr().out.split())
    assert "(not compared: projection; grid not checked; pixels not checked)" in printed


def test_the_network_that_was_converted_is_compared(tmp_path):
    state = {"blocks.0.norm1.weight": torch.ones(3)}
    networks = {
        f"{name}.{key}": number * value
        for number, name in enumerate(("student", "teacher", "teacher_decoder"))
        for key, value in state.items()
    }
    torch.save({"model": networks}, tmp_path / "x.pth")
    for number, name in enumerate(("student", "teacher")):
        weights = _weights(tmp_path / "x.pth", "model", [f"model.{name}."])
        np.testing.assert_array_equal(weights["blocks.0.norm1.weight"], number)


@pytest.mark.slow
def test_positions_of_another_grid_are_named(moco, tmp_path):
    settings = "patch_size=8,embed_dim=48,depth=2,num_heads=3,img_size=(16,64)"
    file = tmp_path / "report.json"
    reference = ["--reference", f"timm:vit_base_patch16_224,{settings}", "--json", str(file)]
    assert main(["encoder", *moco, *reference, "--size", "16x64", "--count", "1"]) == 1
    report = json.loads(file.read_text())
    assert report["granted"][0]["note"] == "the reference has its own"
    (size,) = report["sizes"]
    assert size["first_departing"] == "embed"
    assert [one["sentence"] for one in size["mistakes"]] == [
        "grid of the positions: 2 × 8 in the reference, 4 × 4 here"
    ]
    assert size["explained"]


@pytest.mark.slow
def test_the_gelu_of_a_pooling_head_is_named():
    projector = ProjectorConfig("attention_pool", 16, (32,), num_heads=2)
    sizes = {"image_size": (16, 16), "patch_size": 8, "width": 16, "depth": 1, "num_heads": 2}
    config = ViTConfig(**sizes, mlp_width=32, prefix=(), projector=projector)
    ours = random_encoder("siglip", config)
    other = dataclasses.replace(projector, activation="gelu_tanh")
    changed = dataclasses.replace(config, activation="gelu_tanh", projector=other)
    theirs = with_config(ours, changed)
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    reference, found = stages.run(theirs, images), stages.run(ours, images)
    findings, explained = diagnose(ours, images, reference, found, 1e-5)
    assert explained
    assert [finding.sentence for finding in findings] == [
        "GELU: gelu_tanh in the reference, gelu here",
        "GELU of the pooling head: gelu_tanh in the reference, gelu here",
    ]


def test_without_pytorch_it_is_told(moco, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["encoder", *moco, "--reference", "timm:deit"]) == 2
    told = capsys.readouterr().err
    assert "comparing with PyTorch needs torch, which is not part of jaxpart: pip install" in told


def test_a_transformers_model(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    from convert.pipeline import convert

    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 32}
    settings = transformers.ViTConfig(
        **sizes, intermediate_size=96, patch_size=8, layer_norm_eps=1e-6
    )
    torch.manual_seed(0)
    transformers.ViTModel(settings, add_pooling_layer=False).save_pretrained(tmp_path)
    checkpoint, folder = tmp_path / "model.safetensors", tmp_path / "encoder"
    convert("dino", checkpoint, folder, layout="transformers", num_heads=3)
    command = ["encoder", str(checkpoint), str(folder), "--reference", "transformers:ViTModel"]
    assert main(command) == 0
    assert "pixels not checked" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": 0.5}')
    assert main(command) == 0
    assert "the reference states none" in " ".join(capsys.readouterr().out.split())
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(half))
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "the first stage that differs is normalised" in printed
    assert "mean and std: ((0.5, 0.5, 0.5)," in printed
    assert "compared with what the reference states" in " ".join(printed.split())
    assert "NOT CHECKED" not in printed
    (tmp_path / "preprocessor_config.json").unlink()
    inside = {"image_processor": half, "processor_class": "X"}  # as transformers 5 writes it
    (tmp_path / "processor_config.json").write_text(json.dumps(inside))
    assert main(command) == 1
    assert "mean and std: ((0.5, 0.5, 0.5)," in capsys.readouterr().out
    inside["image_processor"] = {"do_normalize": False} | half
    (tmp_path / "processor_config.json").write_text(json.dumps(inside))
    assert main(command) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean and std: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))" in printed
    assert main([*command[:-1], "transformers:NoModel"]) == 2
    assert "transformers has no class 'NoModel'" in capsys.readouterr().err


@pytest.mark.slow
def test_relative_positions_at_another_size(tmp_path):
    transformers = pytest.importorskip("transformers")
    from convert.pipeline import convert

    settings = transformers.BeitConfig(
        **{"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 32},
        **{"intermediate_size": 96, "patch_size": 8, "layer_norm_eps": 1e-6, "vocab_size": 7},
        use_shared_relative_position_bias=True,
        use_mask_token=True,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    model = transformers.BeitForMaskedImageModeling(settings)
    torch.nn.init.normal_(model.get_parameter(_table_name(model)))
    model.save_pretrained(tmp_path)
    checkpoint, folder, file = (tmp_path / name for name in ("model.safetensors", "beit", "json"))
    convert("beit", checkpoint, folder, layout="transformers", num_heads=3)
    reference = ["--reference", "transformers:BeitForMaskedImageModeling", "--json", str(file)]
    sizes = ["--size", "32", "--size", "48"]
    assert main(["encoder", str(checkpoint), str(folder), *reference, *sizes]) == 1
    native, other = json.loads(file.read_text())["sizes"]
    assert native["first_departing"] is None
    assert other["first_departing"] == "block0"
    assert [mistake["sentence"] for mistake in other["mistakes"]] == [
        "position interpolation: bilinear in the reference, that of BEiT here"
    ]
    assert other["explained"]


def _table_name(model):
    return next(name for name, _ in model.named_parameters() if name.endswith("bias_table"))
