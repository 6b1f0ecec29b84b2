"""ImageNet's transforms: pixels beside torchvision, distributions of the random crop."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.augment import ImageEval, ImageTrain, random_box
from jaxpart.data.source import Annotation, Record
from jaxpart.errors import JaxpartError

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
SIZES = [(100, 75), (60, 90), (53, 47), (240, 60)]


def jpeg(width, height, seed=0, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.convert(mode).save(file, "JPEG")
    return file.getvalue()


def record(data, label=None):
    return Record(Annotation("a.jpg", label=label), data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_eval_is_torchvisions_to_the_bit(size, mode):
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose(
        [
            transforms.Resize(64, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(56),
        ]
    )
    data = jpeg(*size, mode=mode)
    out = ImageEval(56)(record(data, 3), np.random.default_rng(0))
    np.testing.assert_array_equal(out["image"], theirs(Image.open(io.BytesIO(data)).convert("RGB")))
    assert out["label"] == 3
    assert out["label"].dtype == np.int32


@pytest.mark.parametrize("size", SIZES)
def test_train_is_torchvisions_to_the_bit_given_the_box(size):
    functional = pytest.importorskip("torchvision.transforms.functional")
    data = jpeg(*size)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    flips = 0
    for seed in range(6):
        out = ImageTrain(32)(record(data), np.random.default_rng(seed))
        same = np.random.default_rng(seed)
        left, top, right, bottom = random_box(size, same, scale=SCALE, ratio=RATIO)
        expected = functional.resized_crop(
            image,
            top,
            left,
            bottom - top,
            right - left,
            [32, 32],
            functional.InterpolationMode.BICUBIC,
        )
        if same.random() < 0.5:
            expected, flips = functional.hflip(expected), flips + 1
        np.testing.assert_array_equal(out["image"], expected)
        assert list(out) == ["image"]
    assert 0 < flips < 6


def boxes(size, count=2000, scale=SCALE, ratio=RATIO):
    random = np.random.default_rng(0)
    return np.array([random_box(size, random, scale=scale, ratio=ratio) for _ in range(count)])


def test_area_ratio_and_place_are_uniform():
    """Crops of at most a quarter always fit, so that nothing is drawn again."""
    found = boxes((600, 600), scale=(0.05, 0.25))
    across, down = (found[:, 2:] - found[:, :2]).T
    for values, low, high in (
        (across * down / 600**2, 0.05, 0.25),
        (np.log(across / down), np.log(3 / 4), np.log(4 / 3)),
        (found[:, 0] / (600 - across), 0, 1),
        (found[:, 1] / (600 - down), 0, 1),
    ):
        counts = np.histogram(values, np.linspace(low, high, 6))[0]
        assert counts.min() > 320  # 400 expected
        assert counts.sum() >= 1980  # rounding to pixels carries a few over the ends


@pytest.mark.parametrize("size", SIZES)
def test_the_distribution_is_torchvisions(size):
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms")
    torch.manual_seed(0)
    image, count = Image.new("RGB", size), 1000
    theirs = np.array(
        [transforms.RandomResizedCrop.get_params(image, SCALE, RATIO) for _ in range(count)]
    )
    theirs = theirs[:, [1, 0, 3, 2]]  # left, top, width, height
    ours = boxes(size, count)
    ours[:, 2:] -= ours[:, :2]
    error = np.sqrt(theirs.var(0) / count * 2) + 1e-9
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.12, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1000, 10), (493, 0, 506, 10)),  # 13 across, so that the ratio is 4 / 3
        ((10, 1000), (0, 493, 10, 506)),
    ],
)
def test_where_no_crop_fits_the_middle_is_taken(size, box):
    random = np.random.default_rng(0)
    assert random_box(size, random, scale=(1.0, 1.0), ratio=RATIO) == box
    assert random_box((9, 8), random, scale=(2.0, 2.0), ratio=RATIO) == (0, 0, 9, 8)


def test_half_is_flipped():
    image = Image.fromarray(np.tile(np.arange(0, 240, 8, dtype=np.uint8), (30, 1)))
    file = io.BytesIO()
    image.save(file, "PNG")
    item, random = record(file.getvalue()), np.random.default_rng(0)
    out = [ImageTrain(8)(item, random)["image"][0, :, 0].astype(int) for _ in range(300)]
    assert 115 < sum(row[0] > row[-1] for row in out) < 185


def test_unreadable_images_are_named():
    for transform in (ImageTrain(8), ImageEval(8)):
        with pytest.raises(JaxpartError, match=r"^a\.jpg is truncated"):
            transform(record(jpeg(40, 40)[:300]), np.random.default_rng(0))
