"""Folders, the hub and `auto`: what a source says of itself is used, and checked against the arrays."""

import contextlib
import http.server
import json
import threading

import numpy as np
import pytest
from made import DEPTH, PATCH, WIDTH, plain_vit

import jaxpart
from convert.__main__ import main
from convert.sources import find_source, stated_by
from jaxpart.errors import JaxpartError

save_file = pytest.importorskip("safetensors.numpy").save_file

TRANSFORMERS = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "blocks.": "encoder.layer.",
}
CONFIG = {
    "model_type": "vit",
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 3,
    "patch_size": PATCH,
    "image_size": 2 * PATCH,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-12,
}
PIXELS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}


def transformers_state():
    state = {}
    for key, value in plain_vit().items():
        if ".attn.qkv." in key:
            lead, _, kind = key.partition(".attn.qkv.")
            lead = lead.replace("blocks.", "encoder.layer.")
            for name, part in zip(("query", "key", "value"), np.split(value, 3), strict=True):
                state[f"{lead}.attention.attention.{name}.{kind}"] = part
            continue
        if key.startswith("norm."):
            key = key.replace("norm.", "layernorm.")
        else:
            for ours, theirs in TRANSFORMERS.items():
                key = key.replace(ours, theirs)
        state[key] = value
    return {key: np.ascontiguousarray(value) for key, value in state.items()}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(transformers_state(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    return folder


def check(out):
    about = json.loads((out / "encoder.json").read_text())
    architecture = about["architecture"]
    assert about["preprocessing"] == {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert architecture["num_heads"] == 3
    assert architecture["activation"] == "gelu_tanh"
    assert architecture["norm_epsilon"] == 1e-12
    return about


@pytest.mark.parametrize("family", ["auto", "dino", "vit"])
def test_a_folder(family, folder, tmp_path, capsys):
    assert main([family, str(folder), str(tmp_path / "out")]) == 0
    assert ("family, as the checkpoint states: vit\n" in capsys.readouterr().out) == (
        family == "auto"
    )
    check(tmp_path / "out")


def test_pixels_as_transformers_5_saves_them(folder, tmp_path):
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": PIXELS}))
    assert main(["auto", str(folder), str(tmp_path / "out")]) == 0
    check(tmp_path / "out")


@pytest.mark.parametrize("quick", [True, False])
def test_a_folder_of_open_clip(quick, tmp_path, capsys):
    shapes = {
        "class_embedding": (WIDTH,), "positional_embedding": (5, WIDTH), "proj": (WIDTH, 6),
        "conv1.weight": (WIDTH, 3, PATCH, PATCH),
    }  # fmt: skip
    norms = ["ln_pre", "ln_post"]
    for block in ("transformer.resblocks.0", "transformer.resblocks.1"):
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        for name, outputs, inputs in (
            ("attn.in_proj_", 3, 1), ("attn.out_proj.", 1, 1), ("mlp.c_fc.", 2, 1), ("mlp.c_proj.", 1, 2),
        ):  # fmt: skip
            shapes[f"{block}.{name}weight"] = (outputs * WIDTH, inputs * WIDTH)
            shapes[f"{block}.{name}bias"] = (outputs * WIDTH,)
    shapes |= {f"{norm}.{kind}": (WIDTH,) for norm in norms for kind in ("weight", "bias")}
    state = {f"visual.{name}": np.ones(shape, np.float32) for name, shape in shapes.items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    vision = {
        "width": WIDTH,
        "layers": DEPTH,
        "head_width": 4,
        "patch_size": PATCH,
        "image_size": 8,
    }
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3}
    config = {"model_cfg": {"vision_cfg": vision}, "preprocess_cfg": pixels}
    config["model_cfg"] |= {"quick_gelu": True} if quick else {}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert main(["auto", str(tmp_path), str(tmp_path / "out")]) == 0
    about = json.loads((tmp_path / "out" / "encoder.json").read_text())
    assert about["preprocessing"] == {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert about["architecture"]["num_heads"] == 3
    assert about["architecture"]["activation"] == ("quick_gelu" if quick else "gelu")
    vision["layers"] = 5
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert main(["auto", str(tmp_path), str(tmp_path / "other")]) == 2
    assert "config.json says depth 5, the arrays have 2" in capsys.readouterr().err


def test_the_users_word_goes_first(folder, tmp_path):
    out = tmp_path / "out"
    assert main(["auto", str(folder), str(out), "--num-heads", "2", "--eps", "1e-3"]) == 0
    architecture = json.loads((out / "encoder.json").read_text())["architecture"]
    assert (architecture["num_heads"], architecture["norm_epsilon"]) == (2, 1e-3)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"num_hidden_layers": 5}, "config.json says depth 5, the arrays have 2"),
    ({"hidden_size": 24}, "config.json says width 24, the arrays have 12"),
    ({"image_size": 40}, "4 stored positions do not match a grid of 10 × 10"),
    ({"model_type": "resnet"}, "does not state its family; name it"),
    ({"hidden_act": "relu"}, "config.json says activation relu, which is not supported"),
    ({"rope_theta": 50.0}, "config.json says rope_theta 50.0, which is not supported"),
])  # fmt: skip
def test_what_contradicts_itself(change, sentence, folder, tmp_path, capsys):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    assert main(["auto", str(folder), str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "damaged (Expecting value"),
        ("[" * 100_000, "damaged (it is nested too deeply); download it again"),
        ("[1]", "not a configuration"),
        ('"a"', "not a configuration"),
        ('{"a": 1}' + " " * (1 << 20), "not a configuration"),
    ],
)
def test_damaged_configurations(text, fault, folder, tmp_path, capsys):
    (folder / "config.json").write_text(text)
    assert main(["auto", str(folder), str(tmp_path / "out")]) == 2
    assert f"config.json next to the weights is {fault}" in capsys.readouterr().err


@pytest.mark.parametrize(("fact", "option", "value"), [
    ({"hidden_act": "gelu_fast"}, "activation", "gelu_tanh"),
    ({"hidden_act": "gelu_python"}, "activation", "gelu"),
    ({"layer_norm_eps": 1e-3}, "epsilon", 1e-3),
    ({"rms_norm_eps": 1e-3}, "epsilon", 1e-3),
])  # fmt: skip
def test_what_a_configuration_states(fact, option, value):
    assert stated_by({"model_type": "aimv2_vision_model"} | fact, {}).options[option] == value


def test_pixels_that_are_not_normalised():
    stated = stated_by({"model_type": "vit"}, PIXELS | {"do_normalize": False})
    assert (stated.options["mean"], stated.options["std"]) == ((0, 0, 0), (1, 1, 1))


def test_strange_values_are_not_taken():
    strange = {
        "model_type": "vit",
        "num_attention_heads": "x",
        "layer_norm_eps": -1,
        "patch_size": {},
    }
    stated = stated_by(
        strange | {"image_size": [1]}, {"image_mean": [9, 9, 9], "image_std": [0, 0, 0]}
    )
    assert all(value is None for value in stated.options.values())


@pytest.mark.parametrize(("name", "family"), [
    ("vit_small_patch14_dinov2.lvd142m", "dinov2"),
    ("vit_base_patch16_224.dino", "dino"),
    ("vit_base_patch16_224.mae", "mae"),
    ("vit_base_patch16_224.augreg_in21k", "augreg"),
    ("vit_base_patch16_siglip_224.v2_webli", "siglip2"),
    ("vit_base_patch16_clip_224.laion2b", "openclip"),
    ("vit_base_patch16_clip_quickgelu_224.openai", "clip"),
    ("beitv2_base_patch16_224.in1k_ft_in22k", "beit"),
    ("beit3_base_patch16_224.in22k_ft_in1k", "vit"),
    ("vit_betwixt_patch16_reg4_gap_256.sbb_in1k", "vit"),
])  # fmt: skip
@pytest.mark.parametrize("old", [False, True])
def test_timms_names(name, family, old):
    trained = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    config = {"architecture": name, "num_features": 768}
    stated = stated_by(config | (trained if old else {"pretrained_cfg": trained}), {})
    assert (stated.family, stated.layout, stated.width) == (family, "timm", 768)
    assert stated.options["mean"] == (0.5, 0.5, 0.5)
    assert stated.options.get("epsilon") == (1e-5 if name.startswith("beit3") else None)


@pytest.mark.parametrize("name", [
    "vit_medium_patch16_rope_reg1_gap_256", "vit_small_patch16_rope_ape_224",
    "vit_pe_core_base_patch16_224", "eva02_enormous_patch14_clip_224", "vit_base_patch16_rpn_224",
])  # fmt: skip
def test_timms_models_that_compute_what_no_array_shows(name):
    with pytest.raises(JaxpartError, match=f"score it as it is, with .*callable=timm:{name}"):
        stated_by({"architecture": name, "pretrained_cfg": {}}, {})


def test_arguments_of_timms_create_model():
    arguments = {"num_heads": 5, "depth": 3, "patch_size": 8, "img_size": [32, 64]}
    arguments |= {"drop_path_rate": 0.1, "attn_drop_rate": 0.0, "head_init_scale": 0.001}
    config = {"architecture": "vit_base_patch16_224", "pretrained_cfg": {}}
    stated = stated_by(config | {"model_args": arguments | {"act_layer": "quick_gelu"}}, {})
    assert (stated.depth, stated.patch_size) == (3, 8)
    options = {name: value for name, value in stated.options.items() if value is not None}
    assert options == {"num_heads": 5, "grid": (4, 8), "activation": "quick_gelu"}
    alone = stated_by(config | {"model_args": {"img_size": [512, 128], "act_layer": "GELU"}}, {})
    assert (alone.options["grid"], alone.options["activation"]) == ((32, 8), "gelu")
    assert stated_by(config | {"model_args": {"patch_size": [[8], 8]}}, {}).patch_size is None
    for name, value in (
        ("act_layer", "mish"),
        ("rope_temperature", 10_000.0),
        ("rope_grid_indexing", "xy"),
        ("use_post_norm", True),
        ("pool_include_prefix", True),
        ("unheard_of", False),
    ):
        with pytest.raises(JaxpartError, match=f"{value}, which is not supported"):
            stated_by(config | {"model_args": {name: value}}, {})


@pytest.mark.parametrize(("architecture", "tag", "classes", "family"), [
    ("vit_base_patch16_clip_224", "openai", 512, "clip"),
    ("vit_base_patch16_clip_224", "openai", 10, "openclip"),
    ("vit_base_patch16_clip_quickgelu_224", "openai", 10, "clip"),
    ("vit_base_patch16_clip_224", "openai_ft_in1k", 1000, "openclip"),
])  # fmt: skip
def test_the_activation_of_a_clip_that_was_tuned_in_timm(architecture, tag, classes, family):
    """timm's own export keeps the tag of the weights that it began with."""
    config = {"architecture": architecture, "num_classes": classes, "pretrained_cfg": {"tag": tag}}
    assert stated_by(config, {}).family == family


@pytest.mark.parametrize(("norm", "stated", "read", "names"), [
    ("norm", "token", "token", "head.*"),
    ("norm", "avg", "token", "head.*"),
    ("norm", "", "token", "head.*"),
    ("fc_norm", "avg", "avg", "fc_norm.*"),
    ("fc_norm", "max", "avg", "fc_norm.*"),
    ("fc_norm", "token", "avg", "fc_norm.*"),
])  # fmt: skip
def test_what_the_classifier_of_a_timm_model_reads(norm, stated, read, names, tmp_path, capsys):
    state = plain_vit() | {"head.weight": np.ones((5, WIDTH), np.float32)}
    state["head.bias"] = np.ones(5, np.float32)
    state = {key.replace("norm.", f"{norm}.") if key.startswith("norm.") else key: value
             for key, value in state.items()}  # fmt: skip
    save_file(state, tmp_path / "model.safetensors")
    arguments = {"num_heads": 3, "global_pool": stated}
    config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "global_pool": "avg"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["auto", str(tmp_path), str(tmp_path / "out")]
    assert main(words) == (0 if stated == read else 2)
    said = capsys.readouterr()
    if stated == read:
        assert f"a classifier of {'cls' if read == 'token' else 'the mean patch'}" in said.out
        return
    sentence = (
        f"says global_pool {stated or 'none'}, but the classifier of such arrays would read {read}"
    )
    assert f"{sentence} here; leave it out with --ignore '{names}'" in said.err
    ignored = ["--ignore", names] + (["--ignore", "head.*"] if norm == "fc_norm" else [])
    assert main([*words, *ignored]) == 0


def test_sharded(tmp_path, capsys):
    state = plain_vit()
    names = list(state)
    shards = {
        "model-00001-of-00002.safetensors": names[:9],
        "model-00002-of-00002.safetensors": names[9:],
    }
    for file, part in shards.items():
        save_file({name: state[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    timm = ["--layout", "timm", "--num-heads", "3"]
    save_file(state, tmp_path / "whole.safetensors")
    assert main(["dino", str(path), str(tmp_path / "a"), *timm]) == 0
    assert main(["dino", str(tmp_path / "whole.safetensors"), str(tmp_path / "b"), *timm]) == 0
    digests = [jaxpart.load_encoder(tmp_path / name).digest for name in "ab"]
    assert digests[0] == digests[1]
    assert main(["dino", str(tmp_path / next(iter(shards))), str(tmp_path / "c"), *timm]) == 2
    assert (
        "it is shard 1 of 2; give the index, model.safetensors.index.json"
        in capsys.readouterr().err
    )
    for changed, sentence in (
        ({names[0]: "../model-00001-of-00002.safetensors"}, "is not a file beside it"),
        (
            {"other": "model-00001-of-00002.safetensors"},
            "lacks other, which the index lists",
        ),
        ({names[0]: "model-00003-of-00003.safetensors"}, "is missing beside it"),
        ({names[0]: "model.safetensors.index.json"}, "is not a file beside it"),
    ):
        path.write_text(json.dumps({"weight_map": index["weight_map"] | changed}))
        assert main(["dino", str(path), str(tmp_path / "c"), *timm]) == 2
        assert sentence in capsys.readouterr().err
    path.write_text('{"a": 1}')
    assert main(["dino", str(path), str(tmp_path / "c"), *timm]) == 2
    assert "not the index of a sharded checkpoint" in capsys.readouterr().err


@pytest.fixture
def hub(folder, monkeypatch, tmp_path):
    """A hub on this machine, which holds one repository; the files that it was asked for."""
    constants = pytest.importorskip("huggingface_hub.constants")
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            repository, _, rest = self.path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            path = folder / name
            asked.append((revision, name))
            known = repository == "owner/model" and revision in ("main", "a" * 40)
            if not known or not path.is_file():
                self.send_response(404)
                error = "EntryNotFound" if known else "RepoNotFound"
                self.send_header("X-Error-Code", error)
                self.send_header("X-Repo-Commit", "a" * 40)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", f'"{len(data)}-{name.replace("/", "-")}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("source", [
    "hf:owner/model",
    "hf:owner/model@main",
    f"hf:owner/model@{'a' * 40}:model.safetensors",
])  # fmt: skip
def test_the_hub(source, hub, tmp_path):
    assert main(["auto", source, str(tmp_path / "out")]) == 0
    about = check(tmp_path / "out")
    assert about["source"]["address"] == source
    assert about["source"]["revision"] == "a" * 40
    assert main(["dino", source, str(tmp_path / "again")]) == 0


def test_a_file_in_a_folder_on_the_hub_is_described_beside_it(hub, folder, monkeypatch, tmp_path):
    """Without a connection too, though not every file that might describe it exists."""
    (folder / "models/vision").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        (folder / name).rename(folder / "models/vision" / name)
    (folder / "config.json").write_text("{}")
    source = "hf:owner/model:models/vision/model.safetensors"
    for out in ("out", "offline"):
        assert main(["auto", source, str(tmp_path / out)]) == 0
        assert check(tmp_path / out)["source"]["revision"] == "a" * 40
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert ("main", "models/vision/processor_config.json") in hub


def test_what_the_hub_has_not(hub, tmp_path, capsys):
    for source, sentence in (
        ("hf:owner/none", "there is no such repository, or you have no access to it"),
        ("hf:owner/model:other.bin", "holds no weights by the name of other.bin"),
        ("hf:owner", "is not hf:OWNER/NAME"),
    ):
        assert main(["dino", source, str(tmp_path / "out")]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sharded_on_the_hub(hub, folder, tmp_path):
    state = transformers_state()
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(state, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert main(["auto", "hf:owner/model", str(tmp_path / "out")]) == 0
    check(tmp_path / "out")


def test_a_file_does_not_say_what_it_is(tmp_path, capsys):
    save_file(plain_vit(), tmp_path / "model.safetensors")
    assert main(["auto", str(tmp_path / "model.safetensors"), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "does not state its family; name it instead of auto" in said
    assert "this looks like" in said
    assert "python -m convert" in said
    assert main(["auto", str(tmp_path / "none.pth"), str(tmp_path / "out")]) == 2
    assert "none.pth does not exist" in capsys.readouterr().err
    with pytest.raises(jaxpart.JaxpartError, match=r"holds no weights by .*; name the file itself"):
        find_source(str(tmp_path / ".."), None)
