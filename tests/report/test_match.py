"""Two images matched, in a real browser."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpart.report.encoded_images import EncodedImages
from jaxpart.report.match import in_bytes, match

ROWS = COLUMNS = 4


def seen(images=3, width=32, side=64, rows=ROWS, label="iBOT", caveat="", names=None, seed=0):
    rng = np.random.default_rng(seed)
    names = names or [f"test/{i:06d}.jpg" for i in range(images)]
    pixels = rng.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    tokens = rng.standard_normal((images, rows, rows, width)).astype(np.float32)
    return EncodedImages(label, caveat, names, pixels, tokens, None)


def cosines(one, left, patch, right):
    flat = one.tokens.reshape(len(one.images), -1, one.tokens.shape[-1])
    flat = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
    return flat[right] @ flat[left, patch]


def said(page):
    return page.locator("#said").inner_text()


def expected(one, left, patch, right):
    values = cosines(one, left, patch, right)
    best = int(values.argmax())
    return f"row {best // COLUMNS + 1}, column {best % COLUMNS + 1}", float(values[best])


def check(page, one, left, patch, right):
    place, value = expected(one, left, patch, right)
    assert place in said(page)
    assert float(said(page).split("cosine ")[1]) == pytest.approx(value, abs=0.01)
    low = float(page.locator("#low").inner_text())
    assert low == pytest.approx(cosines(one, left, patch, right).min(), abs=0.015)


def test_click_swap_and_keys(visit, screenshots):
    one = seen()
    page = visit(None, text=match([one]), viewport={"width": 1440, "height": 900})
    check(page, one, 0, 10, 1)
    box = page.locator("#left").bounding_box()
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.9 * box["height"])
    check(page, one, 0, 13, 1)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # at the edge: stays
    check(page, one, 0, 11, 1)
    page.locator("#rightstrip button").nth(2).click()
    check(page, one, 0, 11, 2)
    best = int(cosines(one, 0, 11, 2).argmax())
    page.click("#swap")
    check(page, one, 2, best, 0)
    page.locator("#leftstrip button").nth(0).click()
    assert said(page).endswith("cosine 1.000")  # a patch and itself
    page.screenshot(path=screenshots / "match.png")


def test_several_encoders_on_a_phone_in_the_dark(visit, screenshots):
    other = seen(images=2, rows=3, label="DINO", caveat="UNTRAINED", seed=1)
    page = visit(
        None,
        text=match([seen(), other]),
        viewport={"width": 390, "height": 800},
        color_scheme="dark",
    )
    page.locator("#rightstrip button").nth(2).click()
    page.locator("#model").select_option("1")
    assert page.locator("#caveat").inner_text() == "UNTRAINED"
    assert page.locator("#rightstrip button").count() == 2
    assert page.locator("canvas.heat").get_attribute("width") == "3"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=screenshots / "match_phone.png")


def test_hostile_names(visit):
    attack = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
    one = seen(label=attack, caveat=attack, names=[attack] * 3)
    page = visit(None, text=match([one]))
    assert page.locator("#caveat").inner_text() == attack
    assert page.evaluate("window.hacked") is None


def test_one_image_alone(visit):
    page = visit(None, text=match([seen(images=1)]))
    assert said(page).endswith("cosine 1.000")


@pytest.mark.slow
def test_the_size_is_bounded():
    one = seen(images=40, width=1536, rows=16, side=16)
    text = match([one, dataclasses.replace(one, label="other")])
    assert len(text) < 20e6
    assert text.count('"pixels"') == 2 * 15


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 192, 768]), st.floats(1, 60))
def test_directions_survive_bytes(seed, width, outlier):
    """Of random tokens with one channel that outweighs the others, as trained encoders have."""
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((20, width)) + rng.standard_normal(width)
    tokens[:, rng.integers(width)] *= outlier
    rounded = in_bytes(tokens).astype(float)

    def similarities(rows):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T

    assert np.abs(similarities(rounded) - similarities(tokens)).max() < 0.01
    assert not in_bytes(np.zeros((1, 4))).any()
