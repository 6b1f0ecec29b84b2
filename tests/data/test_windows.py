"""The 7 × 7 windows of docs/protocol.md."""

import numpy as np
from PIL import Image

from jaxpart.data.critters import Critters
from jaxpart.data.images import decode, image_eval
from jaxpart.data.windows import window_picture, window_view


def test_windows_of_the_enlarged_image():
    source = Critters("test", 3, image_size=96, seed=0)
    view = window_view(source, [2, 0], size=32)
    assert len(view.ids) == 98
    assert len(set(view.ids)) == 98
    cropped = image_eval(decode(source[0].image, "0"), 32)  # 32 × 256 / 224, then the middle
    enlarged = np.asarray(Image.fromarray(cropped).resize((128, 128), Image.Resampling.BICUBIC))
    assert np.array_equal(np.asarray(window_picture(source, 0, 32)), enlarged)
    first, corner, middle = view.read([0, 97, 49 + 3 * 7 + 2])
    assert np.array_equal(corner, enlarged[96:, 96:])
    assert np.array_equal(middle, enlarged[48:80, 32:64])
    assert not np.array_equal(first, enlarged[:32, :32])  # of another image
