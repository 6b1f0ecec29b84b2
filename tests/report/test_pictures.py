"""A page of a folder of images without annotations."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxpart.errors import JaxpartError
from jaxpart.report import encoded_images
from jaxpart.report.__main__ import main
from jaxpart.report.pictures import named

ATTACK = "<img src=x onerror=window.hacked=1>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, one of them on its side, and a file that is none."""
    images = tmp_path_factory.mktemp("pictures") / "mine"
    (images / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)

    def picture(height=80, width=100):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        return coarse.resize((width, height), Image.Resampling.BICUBIC)

    for name in ("a.png", "below/b.png", "c.webp", "f.png", ATTACK):
        picture().save(images / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    picture().save(images / "d.jpg", exif=turned)
    (images / "e.png").write_bytes(b"no picture")
    return images


@pytest.mark.slow
def test_a_page(folder, tmp_path, capsys, browser, screenshots):
    out = tmp_path / "out"
    arguments = ["--pictures", str(folder), "--encoder", "ibot", "--out", str(out)]
    assert main([*arguments, "--images", "6"]) == 0
    said = capsys.readouterr().err
    assert ": 5 of the 7 images" in said
    assert "e.png: skipped" in said
    text = (out / "index.html").read_text()
    names = re.findall(r'src="figures/(.+?)\.png"', text)
    assert names == ["principal_components", "attention_iBOT"]
    assert all((out / "figures" / f"{name}.svg").is_file() for name in names)
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto((out / "index.html").as_uri())
    assert "5 of 7 images" in page.locator("header").inner_text()
    assert "pretrained on drawn critters" in page.locator("header").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=screenshots / "pictures.png", full_page=True)
    page.locator("nav a").click()
    assert page.locator("#leftstrip button").count() == 5
    assert page.locator(f'#leftstrip [aria-label="{ATTACK}"]').count() == 1
    assert page.evaluate("window.hacked") is None
    context.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name work directories of finished runs, or --pictures"),
        (["--pictures", "."], "name work directories of finished runs, or --pictures"),
        (["run", "--encoder", "ibot"], "name work directories of finished runs, or --pictures"),
        (["run", "--pictures", ".", "--encoder", "ibot"], "name work directories"),
        (["--pictures", "missing", "--encoder", "ibot"], "missing is missing"),
        (["--pictures", "empty", "--encoder", "ibot"], "empty"),
        (["--pictures", "damaged", "--encoder", "ibot"], "no image of damaged can be read"),
        (["--pictures", "damaged", "--encoder", "nothing"], "there is no encoder 'nothing'"),
        (["--pictures", "damaged", "--encoder", "empty"], "is not a converted encoder"),
        (["--pictures", "damaged", "--encoder", "ibot", "--slide"], "are for runs"),
        (["--pictures", "damaged", "--encoder", "ibot", "--images", "0"], "cannot be 0"),
    ],
)
def test_wrong_input(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"no picture")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "damaged"}


@pytest.mark.slow
def test_images_in_batches_are_the_encoder_s(monkeypatch):
    frozen, *_ = named("ibot")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    monkeypatch.setattr(encoded_images, "_IMAGES", 2)
    found = encoded_images.encode_images(frozen, list(pixels), "abc", "iBOT", "")
    out = frozen(frozen.normalize(jnp.asarray(pixels)), attention=True)
    np.testing.assert_allclose(found.tokens.reshape(3, 36, -1), out["tokens"][:, 1:], atol=1e-5)
    weights = out["attention"][:, :, 0, 1:]
    np.testing.assert_allclose(found.attention.reshape(weights.shape), weights, atol=1e-6)


def test_encoders_by_name():
    frozen, label, caveat = named("ibot")
    assert (frozen.name, label) == ("ibot", "iBOT")
    assert "critters" in caveat
    with pytest.raises(JaxpartError, match="there is no encoder"):
        named("beit3")
