"""Pictures drawn per second on one core: python -m benchmarks.critters"""

from __future__ import annotations

from benchmarks.timing import medians, report
from jaxpart.data.critters import Critters

IMAGES, RUNS = 200, 7


def main() -> None:
    critters = Critters("train", IMAGES, image_size=96)
    seconds = medians(
        RUNS,
        drawn=lambda: [critters.draw(i) for i in range(IMAGES)],
        encoded=lambda: [critters[i] for i in range(IMAGES)],
    )
    report(
        {
            "pictures with masks drawn per second (goal 200)": IMAGES / seconds["drawn"],
            "the same, encoded as PNG": IMAGES / seconds["encoded"],
        },
        __doc__ or "",
    )


if __name__ == "__main__":
    main()
