"""The report's first page in a real browser."""

import io

import numpy as np
import pytest
from made_runs import made_run
from PIL import Image

from jaxpart.io.files import write_json
from jaxpart.report.__main__ import main
from jaxpart.runs.rows import Row
from jaxpart.study.entries import STORED, read_study

BLOCKS = [f"block{i}" for i in range(12)]
ROWS = [
    *(Row("cub_parts", "retrieval", "AP", 0.4, representation=r, low=0.3, high=0.5)
      for r in ("embedding", "projection")),
    Row("cub_parts", "retrieval", "AP", 0.45, "baseline", "pixels12_grey"),
    Row("cub_parts", "classification", "best", 0.9, "linear", "cls_token"),
    *(Row("critters_part", "segmentation", "mIoU", 0.25, head, low=0.2, high=0.3)
      for head in ("paper", *BLOCKS)),
]  # fmt: skip

SIDEWAYS = """() => [...document.querySelectorAll(".scroll")].filter(
    (one) => one.checkVisibility() && one.scrollWidth > one.clientWidth).length"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The tables and charts of a run of our own weights on CUB."""
    folder = tmp_path_factory.mktemp("page")
    run = made_run(folder / "run", rows=ROWS, weights="yours")
    assert main([str(run), "--out", str(folder / "out"), "--tables-only"]) == 0
    return folder / "out" / "index.html"


@pytest.fixture
def opened(browser, report):
    contexts = []

    def open_page(fragment="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.goto(f"{report.as_uri()}{fragment}")
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_the_summary_first_and_nothing_empty(opened, screenshots):
    page = opened(viewport={"width": 1440, "height": 1000})
    sections = page.locator("main > section").evaluate_all("all => all.map((one) => one.id)")
    assert sections == ["summary", "pictures", "tables", "runs", "missing"]
    summary = page.locator("#summary").inner_text()
    assert "iBOT is not above 12 × 12 pixels, grey (45.0)" in summary
    assert "baseline: 12 × 12 pixels, grey" in summary
    # Tables without a result are folded up; of the others, columns without one are left out.
    assert not page.locator("#table2_object_segmentation").is_visible()
    assert "COCO" not in page.locator("#table3_part_retrieval").inner_text()
    page.locator("#tables > details > summary").click()
    heads = page.locator("#table2_object_segmentation thead").inner_text().split()
    assert "paper" in heads
    assert "ours" not in heads
    # What would be wide is high.
    assert page.locator("#critters_part_segmentation tbody tr").count() == 1 + len(BLOCKS)
    assert page.evaluate(SIDEWAYS) == 0
    page.screenshot(path=screenshots / "page.png", full_page=True)


def test_anchors_land(opened):
    page = opened("#tables", viewport={"width": 1440, "height": 700})
    sizes = page.locator("img").evaluate_all(
        "all => all.map((one) => [one.getAttribute('width'), one.getAttribute('height')])"
    )
    assert sizes
    assert all(int(width) > 50 and int(height) > 50 for width, height in sizes)
    before = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("""async () => {
        for (const one of document.images) one.loading = "eager";
        await Promise.all([...document.images].map((one) => one.decode()));
    }""")
    assert page.evaluate("document.documentElement.scrollHeight") == pytest.approx(before, abs=8)
    assert 0 <= page.locator("#tables").bounding_box()["y"] < 60


def test_a_phone_in_the_dark(opened, screenshots):
    page = opened(viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 60
    # Charts are inverted.
    chart = page.locator(".card.chart").first
    chart.scroll_into_view_if_needed()
    chart.locator("img").evaluate("(one) => one.decode()")
    with Image.open(io.BytesIO(chart.screenshot())) as shown:
        pixels = np.asarray(shown.convert("L"))
    assert np.median(pixels) < 60
    assert pixels.max() > 200  # what is written in it
    page.screenshot(path=screenshots / "page_phone.png", full_page=True)


def test_the_claims_of_a_study(browser, tmp_path):
    stored = read_study(STORED)
    folder = tmp_path / "study"
    folder.mkdir()
    made_run(folder / "one", rows=ROWS[:3])  # without blocks, a long line of what is missing
    write_json(folder / "results.json", stored.document() | {"runs": ["one"]})
    assert main([str(folder), "--out", str(tmp_path / "out"), "--tables-only"]) == 0
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "out" / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#summary + #claims .claim").count() == 5
    first = page.locator(".claim").first
    assert first.locator(".verdict").inner_text() in ("holds", "does not hold", "undecided")
    first.locator("summary").click()
    assert "DeiT above DINO" in first.inner_text()
    page.close()
