"""The published retrieval in PyTorch with transformers' CLIP: the twin of the main job on real weights.

    python tests/published_retrieval.py WEIGHTS/clip_vitb16.safetensors SHARED

prints AP and mAP, in percent, of the part patches that the published loaders list. SHARED holds the
samples, `data`, and the lists, `golden/protocol/patches.json`. Nothing of jaxpart is used.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score
from torchvision import transforms

FOLDERS = {"cub": "CUB_200_2011", "coco": "coco"}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP."""


def clip(weights):
    """The image tower of openai/clip-vit-base-patch16, filled from a file in transformers' names."""
    config = transformers.CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        projection_dim=512,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
        hidden_act="quick_gelu",
        layer_norm_eps=1e-5,
    )
    model = transformers.CLIPVisionModelWithProjection(config)
    missing, unexpected = model.load_state_dict(load_file(weights), strict=False)
    left = {key.rpartition(".")[2] for key in (*missing, *unexpected)}
    assert left <= {"position_ids"}, (missing, unexpected)
    return model.eval()


def patches(folder, listed):
    """The published crops, as CLIP is given them: float32 [patch, 3, 224, 224]."""
    bicubic = transforms.InterpolationMode.BICUBIC
    steps = (transforms.Resize(224, bicubic), transforms.CenterCrop(224), transforms.ToTensor())
    transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
    for one in listed:
        with Image.open(folder / one["image"]) as image:
            yield transform(image.convert("RGB").crop(one["box"]))


@torch.no_grad()
def features(model, images):
    """By representation: mean patch token and cls token after the final norm, and the projection."""
    found = {"embedding": [], "cls_token": [], "projection": []}
    norm = model.vision_model.post_layernorm
    images = list(images)
    for start in range(0, len(images), 32):
        out = model(torch.stack(images[start : start + 32]))
        tokens = norm(out.last_hidden_state)
        found["embedding"].append(tokens[:, 1:].mean(dim=1))
        found["cls_token"].append(tokens[:, 0])
        found["projection"].append(out.image_embeds)
    return {name: torch.cat(rows) for name, rows in found.items()}


def retrieve(rows, parts):
    """(AP, mAP): every patch against all, itself included, by cosine similarity."""
    rows = torch.nn.functional.normalize(rows, dim=1)
    similarities = (rows @ rows.T).numpy()
    parts = np.array(parts)
    each = np.array(
        [
            average_precision_score(parts == part, mine)
            for part, mine in zip(parts, similarities, strict=True)
        ]
    )
    return each.mean(), np.mean([each[parts == part].mean() for part in np.unique(parts)])


def published(weights, shared):
    """(AP, mAP) by data set and representation."""
    model, found = clip(weights), {}
    lists = json.loads((shared / "golden" / "protocol" / "patches.json").read_text())
    for data, folder in FOLDERS.items():
        listed = lists[f"{data}_retrieval"]
        seen = features(model, patches(shared / "data" / folder, listed))
        parts = [one["part_id"] for one in listed]
        found[data] = {name: retrieve(rows, parts) for name, rows in seen.items()}
    return found


if __name__ == "__main__":
    for data, results in published(sys.argv[1], pathlib.Path(sys.argv[2])).items():
        for name, (ap, mean_ap) in results.items():
            print(f"{data} {name}: AP {100 * ap:.4f}, mAP {100 * mean_ap:.4f}", flush=True)
