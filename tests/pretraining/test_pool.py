"""Training images that are read ahead: batches go on after the threads that read them have ended."""

import numpy as np

from jaxpart.data.critters import Critters
from jaxpart.pretraining.pool import loaded_supply


def test_closed_supplies_go_on_where_they_were():
    def supplied():
        return loaded_supply(Critters("train", 8, image_size=32, seed=0), 32, 8, seed=0)

    whole, stopped = supplied(), supplied()
    expected = [next(whole.batches) for _ in range(2)]
    found = [next(stopped.batches)]
    stopped.close()
    found.append(next(stopped.batches))
    for batch, wanted in zip(found, expected, strict=True):
        assert batch.ids == wanted.ids
        np.testing.assert_array_equal(batch.arrays["image"], wanted.arrays["image"])
    for supply in (whole, stopped):
        supply.close()
