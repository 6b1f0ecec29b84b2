"""Images drawn per second on one core: python -m benchmarks critters"""

from __future__ import annotations

from benchmarks.timing import Row, medians, value
from jaxpart.data.critters import Critters


def rows(quick: bool) -> list[Row]:
    images, runs = (5, 1) if quick else (200, 7)
    critters = Critters("train", images, image_size=96, version=1)
    second = Critters("train", images, image_size=96, version=2)
    seconds = medians(
        runs,
        drawn=lambda: [critters.draw(i) for i in range(images)],
        second=lambda: [second.draw(i) for i in range(images)],
        encoded=lambda: [critters[i] for i in range(images)],
    )
    return [
        value("version 1, with masks", images / seconds["drawn"], "images/s", least=200),
        value("version 2, with masks", images / seconds["second"], "images/s", least=200),
        value("version 1, encoded as PNG", images / seconds["encoded"], "images/s"),
    ]
