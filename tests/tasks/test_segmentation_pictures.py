"""Pictures: what is drawn where."""

import io

import numpy as np
from PIL import Image

from jaxpart.data.palettes import distinct_colours
from jaxpart.tasks.segmentation.pictures import picture


def drawn(truth, prediction, names):
    image = Image.new("RGB", truth.shape[::-1], (1, 2, 3))
    with Image.open(
        io.BytesIO(picture(image, truth, prediction, names, distinct_colours(len(names))))
    ) as result:
        return np.asarray(result)


def test_image_truth_and_prediction_lie_side_by_side():
    truth = np.zeros((256, 256), np.uint8)
    truth[128:] = 255
    result = drawn(truth, np.ones_like(truth), ["a", "b"])
    first, second = distinct_colours(2).astype(int)
    row, columns = 8 + 20 + 10, [8 + i * 264 + 100 for i in range(3)]
    assert result[row, columns].tolist() == [[1, 2, 3], first.tolist(), second.tolist()]
    ignored = result[row + 200, columns]
    assert ignored[1].tolist() == [0, 0, 0]
    assert ignored[2].tolist() == (second // 4).tolist()


def test_legend_of_many_long_names_takes_several_rows():
    truth = np.tile(np.arange(40, dtype=np.uint8), (40, 1))
    names = [f"a long class name {i}" for i in range(40)]
    few = drawn(truth % 2, truth % 2, names)
    many = drawn(truth, truth, names)
    assert many.shape[1] == few.shape[1]
    assert many.shape[0] > few.shape[0] + 100
