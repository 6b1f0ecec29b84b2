"""Segmentation of real images with converted encoders, and the published way in PyTorch beside it."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from convert.pipeline import convert
from jaxpart import config as configs
from jaxpart import devices
from jaxpart.data.images import normalize
from jaxpart.encoders.loading import load_encoder
from jaxpart.encoders.positions import resize_positions
from jaxpart.metrics.confusion import segmentation_scores
from jaxpart.probes.pixel import PixelHeads, paper_blocks
from jaxpart.runs.progress import Progress
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.segmentation.experiment import Segmentation
from jaxpart.tasks.segmentation.heads import Readers, window_logits
from jaxpart.tasks.segmentation.inputs import SegmentationSet, segmentation_set


class WholeImages(SegmentationSet):
    """Training sees the very images of the test, each whole in a crop: what can be learned by heart."""

    @property
    def train_transform(self):
        made = {}  # large photographs, decoded once

        def whole(record, random):
            if record.annotation.id not in made:
                made[record.annotation.id] = make(record, random)
            return made[record.annotation.id]

        def make(record, random):
            arrays = self.test_transform(record, random)
            height, width = arrays["image"].shape[:2]
            image = np.zeros((self.crop, self.crop, 3), np.uint8)
            label = np.full((self.crop, self.crop), 255, np.uint8)
            image[:height, :width] = arrays["image"]
            resized = Image.fromarray(arrays["label"]).resize((width, height), 0)
            label[:height, :width] = np.asarray(resized)
            return {"image": image, "label": label, "size": np.array([height, width], np.int32)}

        return whole


@pytest.fixture(scope="module")
def encoders(golden, tmp_path_factory):
    """Converted golden encoders by name."""
    loaded = {}

    def load(name):
        if name not in loaded:
            (source,) = (golden / f"encoders/{name}").glob("*.pth")
            folder = tmp_path_factory.mktemp("encoders") / name
            convert(name.split("_")[0], source, folder, num_heads=3)
            loaded[name] = devices.replicate(load_encoder(folder))
        return loaded[name]

    return load


def experiment(encoder, samples, name, split, crop, *, whole=False, **changes):
    config = configs.part_config("ibot", "paper", projector=True)
    config.data.root = str(samples)
    setting = config.segmentation.settings[name]
    setting.update({"train_split": split, "test_split": split, "crop": crop, "stride": crop // 2})
    scale = (crop, crop) if whole else (1024, crop + 32)
    setting.update({"train_scale": scale, "test_scale": scale})
    config.segmentation.update({"readouts": ("paper",), "in_memory": True, "warmup": 10} | changes)
    data = segmentation_set(name, config)
    if whole:
        fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
        data = WholeImages(**fields)
    return Segmentation("", (), devices.replicate(encoder), data, config.segmentation, 0)


def trained(one, folder):
    return one.train("all", one.data.train, one.readouts, WorkDir(folder, {}), Progress())


def scores(one, heads):
    logits = window_logits(one.encoder, Readers([heads]))
    matrices, _ = one.test(logits, 1, Progress())
    return segmentation_scores(matrices[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name", "split"),
    [("dino_full", "pascal_part", "all"), ("mae", "ade20k_part", "train")],
)
def test_real_images_are_learned_by_heart(method, name, split, encoders, samples, tmp_path):
    one = experiment(
        encoders(method),
        samples,
        name,
        split,
        128,
        whole=True,
        train_images=2,
        test_images=2,
        iterations=60,
        learning_rate=0.2,
        batch_size=4,
    )
    found = scores(one, trained(one, tmp_path))
    assert found.pixel_accuracy > 0.9


@pytest.mark.slow
def test_pytorch_twin_agrees_on_losses_and_metrics(encoders, samples, tmp_path):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_segmentation as twin

    crop, iterations, peak = 96, 15, 0.05
    one = experiment(
        encoders("dino_full"),
        samples,
        "lip",
        "train",
        crop,
        iterations=iterations,
        learning_rate=peak,
        batch_size=4,
    )
    heads = trained(one, tmp_path)
    ours = scores(one, heads)

    encoder, config = one.encoder, one.encoder.config
    backbone = twin.Backbone(encoder, paper_blocks(config.depth))
    grid = config.grid_of(crop, crop)
    positions = resize_positions(
        jnp.asarray(backbone.positions), config.grid, grid, config.position_resize
    )
    backbone.positions = twin.tensor(positions)
    fresh = PixelHeads(one.readouts, config.width, len(one.data.classes), rngs=nnx.Rngs(0))
    kernel = twin.tensor(fresh.heads[0].kernel[...]).T[:, :, None, None].contiguous()
    head = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], 1)
    head.load_state_dict({"weight": kernel, "bias": torch.zeros(len(kernel))})
    adamw = torch.optim.AdamW(head.parameters(), lr=peak, betas=(0.9, 0.999), weight_decay=0.05)

    def pixels(images):
        preprocessing = encoder.preprocessing
        values = normalize(images, preprocessing.mean, preprocessing.std)
        return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()

    batches = one.batches(one.data.train)
    for iteration in range(iterations):
        arrays = next(batches).arrays
        images = pixels(arrays["image"])
        for image, (height, width) in zip(images, arrays["size"], strict=True):
            image[:, height:], image[:, :, width:] = 0, 0
        rate = peak * (1 - iteration / iterations)
        rate *= 1 - (1 - iteration / 10) * (1 - 1e-6) if iteration < 10 else 1
        adamw.param_groups[0]["lr"] = rate
        adamw.zero_grad()
        twin.loss(head(backbone(images)), torch.from_numpy(arrays["label"]).long()).backward()
        adamw.step()
    batches.close()
    learned = head.weight.detach()[:, :, 0, 0].T.numpy()
    assert np.abs(learned - kernel[:, :, 0, 0].T.numpy()).max() > 0.1
    np.testing.assert_allclose(heads.heads[0].kernel[...], learned, atol=1e-4)

    matrix = sum(
        twin.test_image(
            backbone,
            head,
            pixels(image.image[None]),
            torch.from_numpy(image.label).long(),
            crop,
            crop // 2,
        ).numpy()
        for image in one.images()
    )
    theirs = segmentation_scores(matrix)
    for name in ("mean_iou", "mean_accuracy", "pixel_accuracy"):
        assert abs(getattr(ours, name) - getattr(theirs, name)) < 1e-4, name
