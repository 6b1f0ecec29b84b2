"""The explorer in Chromium, with 2000 patches: python -m benchmarks explorer

With four pairs of representations: its file size, the time from opening it to the first
paint and the first neighbours, and from a click on a patch to the painted result, with three queries side
by side.
"""

from __future__ import annotations

import pathlib
import shutil
import statistics
import tempfile

from benchmarks.timing import Row, missing, value
from jaxpart.report.explorer import explorer
from tests.report.made_patches import patch_set

CLICK = """async (count) => {
    const times = [];
    for (let number = 0; number < count; number++) {
        const tiles = document.querySelectorAll(".pane .tile");
        const start = performance.now();
        tiles[number % tiles.length].click();
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now() - start);
    }
    return times;
}"""
"""Clicks on patches one by one; returns the milliseconds until each result is painted."""


def rows(quick: bool) -> list[Row]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return [missing("the explorer", "no chromium")]
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return [missing("the explorer", "no playwright")]
    runs = 1 if quick else 3
    paints, drawn, clicks = [], [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = pathlib.Path(folder) / "explorer.html"
        patches = patch_set(images=20 if quick else 1000, each=2, pairs=4, side=224)
        file.write_text(explorer([patches]), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-warm]")
            for mark, times in (("first-contentful-paint", paints), ("drawn", drawn)):
                times.append(page.evaluate(f"performance.getEntriesByName('{mark}')[0].startTime"))
            page.click("#add")
            page.click("#add")
            clicks += page.evaluate(CLICK, 9)
            page.close()
        browser.close()
        megabytes = file.stat().st_size / 1e6
    return [
        value("file", megabytes, "MB", most=25),
        value("first paint", statistics.median(paints), "ms", most=2000),
        value("first neighbours", statistics.median(drawn), "ms", most=2000),
        value("click to painted result, 3 queries", statistics.median(clicks), "ms", most=100),
    ]
