"""Label maps that are wrong are named."""

import numpy as np
import pytest

from jaxpart.errors import JaxpartError
from jaxpart.labels import check_labels


@pytest.mark.parametrize("value", [4, 254, 256, -1])
def test_label_that_is_no_class(value):
    labels = np.zeros((3, 3), np.int32)
    labels[0] = 255
    check_labels(labels, 4, where="a.png")
    labels[1, 1] = value
    with pytest.raises(JaxpartError, match=f"a.png: the label map holds {value}, but 4 classes"):
        check_labels(labels, 4, where="a.png")


def test_label_of_another_size_than_its_image():
    check_labels(np.zeros((3, 5), np.uint8), 4, where="a.png", size=(3, 5))
    with pytest.raises(JaxpartError, match=r"a.png: the label map is 5 × 3 .* image is 3 × 5"):
        check_labels(np.zeros((3, 5), np.uint8), 4, where="a.png", size=(5, 3))
