"""The explorer in a real browser."""

import dataclasses

import numpy as np
import pytest
from made_patches import patch_set

CONTRAST = """() => {
    const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((value) => {
            const share = value / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.05 + 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ground = (one) => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
        }
    };
    const texts = "p, dt, dd, .name, .similarity, .mark, label, b, h1";
    const shown = [...document.querySelectorAll(texts)].filter(
        (one) => one.checkVisibility() && one.textContent.trim());
    return Math.min(...shown.map((one) => {
        const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
        return Math.max(a / b, b / a);
    }));
}"""

UNLABELLED = """() => [...document.querySelectorAll("button, select, input, [role=button]")].filter(
    (one) => one.checkVisibility() && !one.textContent.trim() && !one.labels?.length
        && !one.getAttribute("aria-label")).length"""


def tiles(page, column):
    return page.locator(".pane").nth(column).locator(".tile")


def point_at(page, patch):
    page.locator(f"#picture [data-patch='{patch}']").click(force=True)  # others may lie above it


def names_of(page, column):
    return tiles(page, column).locator(".name").all_inner_texts()


@pytest.mark.slow
def test_load_click_compare(visit, screenshots):
    one = patch_set(pairs=5)
    page = visit([one], viewport={"width": 1440, "height": 1000})
    assert page.locator(".pane").count() == 2
    pair = one.pairs[0]
    expected = [one.parts[one.part[i]] for i in pair.neighbours[0]]
    assert names_of(page, 0) == expected
    similar = tiles(page, 0).locator(".similarity").all_inner_texts()
    assert [float(text) for text in similar] == pytest.approx(pair.similarities[0], abs=6e-4)
    right = [one.part[i] == one.part[0] for i in pair.neighbours[0]]
    assert page.locator(".pane").first.locator(".tile.right").count() == sum(right)
    assert f"AP {100 * pair.ap[0]:.1f} %" in page.locator(".score").first.inner_text()
    # A patch of the picture, then a neighbour of it.
    point_at(page, 2)
    assert names_of(page, 1) == [one.parts[one.part[i]] for i in one.pairs[1].neighbours[2]]
    tiles(page, 0).nth(3).click()
    query = int(pair.neighbours[2][3])
    assert f"patch={query}" in page.url
    assert one.images[one.image[query]] in page.locator("#facts").inner_text()
    # Up to four columns, each with any encoder and representation.
    page.click("#add")
    page.click("#add")
    assert page.locator(".pane").count() == 4
    assert page.locator("#add").is_disabled()
    page.locator(".pane select").nth(3).select_option("4")
    expected = [one.parts[one.part[i]] for i in one.pairs[4].neighbours[query]]
    assert names_of(page, 3) == expected
    page.screenshot(path=screenshots / "compare.png")
    # The address shows the same elsewhere.
    again = visit(None, fragment="#" + page.url.split("#")[1])
    assert names_of(again, 3) == expected
    assert again.locator(".pane").count() == 4


@pytest.mark.slow
def test_search_keyboard_theme_and_phone(visit, screenshots):
    one = patch_set(images=60, each=2)
    windows = dataclasses.replace(
        patch_set(images=2, each=49), name="windows", kind="windows", thumbnails=None
    )
    windows = dataclasses.replace(
        windows,
        part=np.full(98, -1, np.int32),
        parts=(),
        pairs=[dataclasses.replace(pair, ap=None, mean_ap=None) for pair in windows.pairs],
    )
    page = visit([one, windows], viewport={"width": 390, "height": 800}, color_scheme="dark")
    status = page.locator("#status")
    first = status.inner_text()
    page.keyboard.press("ArrowRight")
    assert "patch=1" in page.url
    assert status.inner_text() != first
    page.keyboard.press("ArrowDown")
    assert one.images[1] in page.locator("#facts").inner_text()
    page.keyboard.press("/")
    page.keyboard.type("00003")
    assert page.locator("#found").inner_text() == "1–11 of 11 images"
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert one.images[3] in page.locator("#facts").inner_text()
    page.locator("#part").select_option(label="wing")
    assert page.locator("#facts").inner_text().startswith("Part\nwing")
    page.locator("#part").blur()
    page.keyboard.press("-")
    assert page.locator(".pane").count() == 1
    page.keyboard.press("+")
    assert page.locator(".pane").count() == 2
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("2: ")
    shown = page.evaluate("[...document.querySelectorAll('.pane')].map((one) => one.ariaLabel)")
    query = int(page.url.split("patch=")[1].split("&")[0])
    neighbours = one.pairs[[pair.name for pair in one.pairs].index(shown[0])].neighbours
    page.keyboard.press("Enter")
    assert f"patch={neighbours[query][1]}&" in page.url
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("1: ")
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing but the columns scrolls sideways
    page.screenshot(path=screenshots / "phone.png", full_page=True)
    page.locator("#set").select_option(label="windows")
    assert page.locator("#picture [data-patch]").count() == 49
    assert page.locator(".tile.right, .tile.wrong").count() == 0
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowDown")
    assert "row 5, column 4" in page.locator("#facts").inner_text()


def test_labels_and_contrast(visit):
    page = visit([patch_set()])
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(CONTRAST) >= 4.5
    page.keyboard.press("d")
    assert page.evaluate(CONTRAST) >= 4.5


def test_begins_with_encoded_against_projected(visit):
    one = patch_set(pairs=4)
    named = [("DeiT", "embedding"), ("DINO", "projection"), ("iBOT", "projection"),
             ("iBOT", "embedding")]  # fmt: skip
    pairs = [
        dataclasses.replace(pair, encoder=encoder, representation=name)
        for pair, (encoder, name) in zip(one.pairs, named, strict=True)
    ]
    page = visit([dataclasses.replace(one, pairs=pairs)])
    chosen = page.locator(".pane select").evaluate_all("all => all.map((one) => one.value)")
    assert chosen == ["3", "2"]
    assert dataclasses.replace(one, pairs=pairs[:3]).first == [0, 1]
    assert dataclasses.replace(one, pairs=pairs[:1]).first == [0]


def test_nothing_to_show(visit):
    page = visit([])
    assert "no patches to show" in page.locator("#empty").inner_text()
    alone = patch_set(images=1, each=1)
    page = visit([alone], fragment="#set=x&patch=-3&pair=y&part=z")
    assert "no other patch" in page.locator(".pane").first.inner_text()


def test_hostile_names(visit, browser):
    attack = "<img src=x onerror='window.hacked=1'>"
    ends = "</script><script>window.hacked=1</script><!--<script>"
    ids = [attack, ends, "a\u202eb", "", "&amp;", "'\"`${1}"]
    one = patch_set(parts=(attack, ends, "__proto__"), ids=ids)
    one = dataclasses.replace(
        one,
        name=ends,
        pairs=[dataclasses.replace(pair, encoder=ends, caveat=attack) for pair in one.pairs],
    )
    page = visit([one])
    assert page.locator("#facts").inner_text().endswith(attack)
    assert page.locator(".caveat").first.inner_text() == attack
    assert page.locator("img").count() == 0
    point_at(page, 1)
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1


def test_the_policy_forbids_network_and_other_scripts(browser, tmp_path):
    from jaxpart.report.explorer import explorer

    file = tmp_path / "explorer.html"
    file.write_text(explorer([patch_set()]), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert (
        page.evaluate("fetch('https://example.org').then(() => 'got', () => 'refused')")
        == "refused"
    )
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked=1'>");
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    page.close()


@pytest.mark.slow
def test_two_thousand_patches_and_four_pairs(visit, tmp_path, screenshots):
    one = patch_set(images=1000, each=2, pairs=4, side=224)
    page = visit([one], viewport={"width": 1440, "height": 1000})
    assert (tmp_path / "explorer.html").stat().st_size < 25e6
    page.wait_for_selector("html[data-warm]")
    page.click("#add")
    page.click("#add")
    shown = page.locator(".pane .tile").count()
    page.locator(".pane .tile").nth(1).click()
    assert page.locator(".pane .tile").count() == shown
    page.screenshot(path=screenshots / "large.png")
