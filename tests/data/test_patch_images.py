"""Reading patches: order, one decode per image, bounded work ahead, unreadable images."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.images import patch_eval
from jaxpart.data.parts import Patch
from jaxpart.data.patch_images import read_patches
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError

COUNT = 40


def picture(index):
    return Image.fromarray(np.full((20, 24, 3), index, np.uint8))


class Counting:
    """Forty plain images that remember how often they are read; some may be damaged."""

    info = DatasetInfo("counting", "all", "1")

    def __init__(self, damaged=()):
        self.reads = [0] * COUNT
        self._damaged = damaged
        self._lock = threading.Lock()

    def __len__(self):
        return COUNT

    def annotation(self, index):
        return Annotation(f"{index}.png")

    def __getitem__(self, index):
        with self._lock:
            self.reads[index] += 1
        buffer = io.BytesIO()
        picture(index).save(buffer, "PNG")
        cut = 40 if index in self._damaged else None
        return Record(self.annotation(index), buffer.getvalue()[:cut])


def patch(index, x=8.0, half=4):
    return Patch(index, f"{index}.png", 1, 0, x, 9.0, 2.0 * half)


PATCHES = [patch(i, x) for i in range(COUNT) for x in (6.0, 8.0, 10.0)]


@pytest.mark.parametrize("workers", [1, 3, None])
def test_patches_come_in_order_and_images_are_read_once(workers):
    source = Counting()
    read = list(read_patches(source, PATCHES, size=8, workers=workers))
    assert [i for i, _ in read] == list(range(len(PATCHES)))
    for (_, pixels), p in zip(read, PATCHES, strict=True):
        np.testing.assert_array_equal(pixels, patch_eval(picture(p.index), p.box, 8))
    assert source.reads == [1] * COUNT


def test_work_ahead_is_bounded():
    source = Counting()
    read = read_patches(source, PATCHES, size=8, workers=2)
    next(read)
    assert sum(source.reads) <= 8 + 1
    assert len(list(read)) == len(PATCHES) - 1


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    read = read_patches(Counting(), PATCHES, size=8, workers=2)
    next(read)
    del read
    assert threading.active_count() == before


def test_order_is_kept_for_any_list():
    shuffled = [PATCHES[i] for i in np.random.default_rng(0).permutation(len(PATCHES))]
    read = [pixels for _, pixels in read_patches(Counting(), shuffled, size=8)]
    assert [int(pixels[4, 4, 0]) for pixels in read] == [p.index for p in shuffled]


def test_an_unreadable_image_raises_by_default():
    read = read_patches(Counting(damaged=[3]), PATCHES, size=8)
    with pytest.raises(JaxpartError, match=r"^3\.png is not an image"):
        list(read)


def test_unreadable_images_can_be_skipped_with_the_reason():
    read = list(read_patches(Counting(damaged=[3, 39]), PATCHES, size=8, on_error="skip"))
    skipped = {i: str(error) for i, error in read if isinstance(error, JaxpartError)}
    assert list(skipped) == [9, 10, 11, 117, 118, 119]
    assert "3.png" in skipped[9]
    assert "39.png" in skipped[119]


def test_an_empty_box_costs_only_its_own_patch():
    read = list(
        read_patches(Counting(), [patch(0), patch(0, half=0), patch(0)], size=8, on_error="skip")
    )
    assert [isinstance(pixels, JaxpartError) for _, pixels in read] == [False, True, False]


def test_a_fault_of_the_program_is_never_skipped():
    class Broken(Counting):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_patches(Broken(), PATCHES, size=8, on_error="skip"))


def test_no_patches_give_nothing():
    assert list(read_patches(Counting(), [], size=8)) == []
