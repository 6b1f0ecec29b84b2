"""Real trained weights, where they are unpacked: tokens, blocks and projection agree with transformers."""

import os
import pathlib

import numpy as np
import pytest
from twins import blocks_of, encoder_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
WEIGHTS = pathlib.Path(os.environ.get("JAXPART_WEIGHTS", ROOT.parent.parent / "weights"))
LIMIT = 1e-4  # of the largest value


def theirs(model, images):
    """Output of every block of a transformers model, its tokens and its projection."""
    import torch

    found = []
    for block in blocks_of(model):
        block.register_forward_hook(
            lambda _, __, out: found.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        out = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return [value.numpy() for value in found], out


def check(encoder, images, blocks, outputs):
    ours = encoder(images, blocks=True)
    pairs = [*zip(blocks, ours["blocks"], strict=True)]
    pairs += [(value.numpy(), ours[name]) for name, value in outputs.items()]
    for value, other in pairs:
        error = np.abs(value - np.asarray(other)).max() / np.abs(value).max()
        assert error <= LIMIT, error


def file(name):
    path = WEIGHTS / name
    if not path.is_file():
        pytest.skip(f"{name} is not here; JAXPART_WEIGHTS names the folder that holds it")
    return path


def filled(kind, config, path, folder):
    config.save_pretrained(folder)
    (folder / "model.safetensors").symlink_to(path)
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert set(report["missing_keys"]) <= {"embeddings.mask_token"}
    assert not report["unexpected_keys"]
    return model.eval()


def pictures():
    return np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)


@pytest.mark.slow
def test_clip(tmp_path):
    path, transformers = file("clip_vitb16.safetensors"), pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(patch_size=16, projection_dim=512)
    model = filled(transformers.CLIPVisionModelWithProjection, config, path, tmp_path)
    images = pictures()
    blocks, out = theirs(model, images)
    encoder = encoder_of(path, "clip", "transformers")
    tokens = model.vision_model.post_layernorm(out.last_hidden_state).detach()
    check(encoder, images, blocks, {"tokens": tokens, "projection": out.image_embeds})


@pytest.mark.slow
def test_dinov2(tmp_path):
    path, transformers = file("dinov2_small.safetensors"), pytest.importorskip("transformers")
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518)
    config.patch_size = 14
    model = filled(transformers.Dinov2Model, config, path, tmp_path)
    images = pictures()
    blocks, out = theirs(model, images)
    encoder = encoder_of(path, "dinov2", "transformers")
    check(encoder, images, blocks, {"tokens": out.last_hidden_state})
