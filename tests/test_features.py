"""Features and their cache: once encoded, kept, shared, and never used when damaged."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import json
import shutil
import types

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxpart.data.views import View
from jaxpart.encoders.encoder import Preprocessing
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.vit import ViTConfig
from jaxpart.errors import JaxpartError
from jaxpart.features import cache as feature_cache
from jaxpart.features import extract as features
from jaxpart.features.cache import Cache, Shard
from jaxpart.features.representations import check_representations, represent

ENCODER = random_encoder(
    "mae",
    ViTConfig(image_size=(16, 16), patch_size=8, width=8, depth=2, num_heads=2, mlp_width=8),
)
NAMES = ("cls_token", "tokens", "block0/embedding")


class Progress:
    """Remembers what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def bar(self, what, total):
        class Bar:
            def __enter__(self):
                return lambda count: None

            def __exit__(self, *error):
                return None

        return Bar()


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def unchanged(numbers):
    """Identities of pictures that their names say all about."""
    return ["" for _ in numbers]


class Pictures:
    """A view whose reading is counted."""

    def __init__(self, numbers, *, broken=(), data="pictures 1"):
        self.read_so_far = []

        def read(chosen):
            for i in chosen:
                self.read_so_far.append(numbers[i])
                broken_now = numbers[i] in broken
                yield JaxpartError(f"{numbers[i]} is bad") if broken_now else picture(numbers[i])

        self.view = View(data, "image eval", 16, [f"p{n}" for n in numbers], unchanged, read)


def settings(folder, *, cache="disk", precision="float32"):
    return ConfigDict({"cache": cache, "folder": str(folder), "precision": precision})


def extract(pictures, folder, names=NAMES, progress=None, encoder=ENCODER, **options):
    return features.extract(
        encoder,
        pictures.view,
        names,
        settings(folder, **options),
        progress or Progress(),
        batch_size=4,
    )


def direct(numbers, names=NAMES):
    pixels = jnp.asarray(np.stack([picture(n) for n in numbers]))
    return represent(ENCODER, pixels, names=names)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    extract(Pictures(range(6)), folder)
    return folder


@pytest.fixture
def folder(filled, tmp_path):
    shutil.copytree(filled, tmp_path / "cache")
    return tmp_path / "cache"


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_features_are_the_encoders(folder):
    found = extract(Pictures([4, 1, 9, 1]), folder)
    for name, expected in direct([4, 1, 9, 1]).items():
        assert found.features[name].shape == expected.shape
        np.testing.assert_allclose(found.features[name].whole(), expected, rtol=0, atol=1e-5)
        few = found.features[name][np.array([[3], [0]])]
        np.testing.assert_array_equal(few[:, 0], found.features[name].whole()[[3, 0]])


def test_only_what_is_new_is_read(folder):
    again = Pictures(range(8))
    assert extract(again, folder).encoded == 2
    assert again.read_so_far == [6, 7]
    once_more = Pictures(range(8))
    assert extract(once_more, folder).encoded == 0
    assert once_more.read_so_far == []
    another = Pictures(range(8))
    assert extract(another, folder, ("cls_token", "embedding")).encoded == 8


def test_what_is_absent_is_counted_and_timed(folder):
    def absent(numbers, names):
        view = Pictures(numbers).view
        return features.count_absent(ENCODER, view, names, settings(folder), Progress())

    assert absent([0, 5], NAMES) == 0
    assert absent([4, 6, 7, 6], NAMES) == 2
    assert absent([4, 6], (*NAMES, "embedding")) == 2
    assert features.seconds_per_image(ENCODER, 16, NAMES, batch_size=4) > 0


@pytest.mark.parametrize("what", ["data", "view", "precision", "preprocessing", "arithmetic"])
def test_what_is_of_something_else_is_not_used(what, folder):
    pictures, options = Pictures(range(6)), {}
    if what == "data":
        pictures = Pictures(range(6), data="pictures 2")
    elif what == "view":
        object.__setattr__(pictures.view, "kind", "image train")
    elif what == "precision":
        options["precision"] = "bfloat16"
    elif what == "arithmetic":
        options["encoder"] = dataclasses.replace(ENCODER, precision="bfloat16")
    else:
        options["encoder"] = type(ENCODER)(
            **{**vars(ENCODER), "preprocessing": Preprocessing(std=(1.0, 1.0, 1.0))}
        )
    assert extract(pictures, folder, **options).encoded == 6


def test_permuted_patches_are_drawn_by_seed_and_item(folder):
    """And never mixed with those in their order, or of another seed."""

    def permuted(numbers, seed):
        pictures = Pictures(numbers)
        object.__setattr__(pictures.view, "permuted", seed)
        found = extract(pictures, folder)
        order = features.orders(pictures.view, range(len(numbers)), 4)
        return found.encoded, found.features["tokens"].whole(), order

    encoded, tokens, order = permuted([4, 1, 9], 0)
    assert encoded == 3
    pixels = jnp.asarray(np.stack([picture(n) for n in (4, 1, 9)]))
    expected = represent(ENCODER, pixels, order, names=("tokens",))["tokens"]
    np.testing.assert_allclose(tokens, expected, rtol=0, atol=1e-5)
    assert np.abs(tokens - direct([4, 1, 9])["tokens"]).max() > 0.01
    again, same, other = permuted([9, 4], 0)
    assert again == 0
    np.testing.assert_array_equal(same, tokens[[2, 0]])
    np.testing.assert_array_equal(other, order[[2, 0]])
    assert permuted([4, 1, 9], 1)[0] == 3
    assert extract(Pictures([4, 1]), folder).encoded == 0  # in order, as they were kept


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def damage_ids(path):
    path.write_bytes(path.read_bytes().replace(b"p3", b"p7"))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-7])


def cut_off_in_the_header(path):
    path.write_bytes(path.read_bytes()[:40])


def another_version(path):
    path.write_bytes(path.read_bytes().replace(b'\\"format\\": \\"2\\"', b'\\"format\\": \\"0\\"'))


def swap(path):
    other = next(p for p in files(path.parent.parent) if p != path)
    path.write_bytes(other.read_bytes())


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    "damage",
    [damage_bit, damage_ids, cut_off, cut_off_in_the_header, another_version, swap, zeros],
)
def test_damaged_files_are_made_again_and_never_used(damage, folder):
    path = files(folder)[0]
    before = path.read_bytes()
    damage(path)
    assert path.read_bytes() != before
    progress = Progress()
    found = extract(Pictures(range(6)), folder, progress=progress)
    assert found.encoded == 6
    for name, expected in direct(range(6)).items():
        np.testing.assert_allclose(found.features[name].whole(), expected, rtol=0, atol=1e-5)
    assert sum("damaged" in line and str(path) in line for line in progress.lines) == 1
    assert extract(Pictures(range(6)), folder).encoded == 0


def test_checksums_are_computed_once_also_by_later_processes(folder, monkeypatch):
    computed, crc = [], feature_cache._crc

    def counted(data):
        computed.append(len(data))
        return crc(data)

    monkeypatch.setattr(feature_cache, "_crc", counted)

    def opened():
        computed.clear()
        feature_cache._intact.clear()  # as in another process
        return extract(Pictures(range(6)), folder).encoded, list(computed)

    rows = {file.stat().st_size for file in files(folder)}
    assert opened()[0] == 0
    again, small = opened()
    assert again == 0
    assert max(small) < min(rows) // 2  # of the ids, in their headers
    damage_bit(files(folder)[0])
    assert opened()[0] == 6


def test_a_file_that_cannot_be_opened_now_is_not_damaged(folder, monkeypatch):
    def full(self, path):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(feature_cache._Files, "_open", full)
    before = files(folder)
    with pytest.raises(JaxpartError, match="cannot be read"):
        extract(Pictures(range(6)), folder)
    assert files(folder) == before


def test_files_are_safetensors(folder):
    numpy = pytest.importorskip("safetensors.numpy")
    shapes = [numpy.load_file(path)["features"].shape for path in files(folder)]
    assert sorted(shapes) == [(6, 5, 8), (6, 8), (6, 8)]
    header = files(folder)[0].read_bytes()[8:]
    assert json.JSONDecoder().raw_decode(header.decode("utf-8", "ignore"))[0]["__metadata__"]


@pytest.mark.slow
def test_runs_at_the_same_time_do_each_other_no_harm(tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [pool.submit(extract, Pictures(range(n, 10)), tmp_path) for n in (0, 0, 3, 5)]
        found = [run.result() for run in runs]
    for start, result in zip((0, 0, 3, 5), found, strict=True):
        expected = direct(range(start, 10))["cls_token"]
        ours = result.features["cls_token"].whole()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    assert extract(Pictures(range(10)), tmp_path).encoded == 0
    assert not list(tmp_path.rglob(".*"))


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SHARD_BYTES", 1)  # every batch is a file
    stopping = Pictures(range(12))

    def read(numbers):
        yield from (picture(number) for number in numbers[:9])
        raise JaxpartError("9 is bad")

    object.__setattr__(stopping.view, "read", read)
    with pytest.raises(JaxpartError, match="9 is bad"):
        extract(stopping, tmp_path)
    again = Pictures(range(12))
    extract(again, tmp_path)
    assert again.read_so_far == list(range(4, 12))


def test_in_memory_and_not_at_all(tmp_path):
    for mode, encoded in (("ram", 0), ("off", 4)):
        feature_cache.open_cache.cache_clear()
        assert extract(Pictures(range(4)), tmp_path, cache=mode).encoded == 4
        assert extract(Pictures(range(4)), tmp_path, cache=mode).encoded == encoded
    assert not list(tmp_path.iterdir())


def test_names_of_items_may_be_any_bytes(tmp_path):
    cache, address = Cache("disk", tmp_path), {"data": "x"}
    names = [b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "café.jpg"]
    cache.write(address, Shard(names, np.eye(2, dtype=np.float32)))
    (shard,), complaints = cache.read(address)
    assert list(shard.ids) == names
    assert not complaints


def test_bfloat16_halves_the_size_and_says_what_it_costs(folder, tmp_path):
    progress = Progress()
    found = extract(Pictures(range(6)), tmp_path / "half", progress=progress, precision="bfloat16")
    exact = extract(Pictures(range(6)), folder)
    for name in NAMES:
        rounded, right = found.features[name].whole(), exact.features[name].whole()
        error = np.abs(rounded - right).max() / np.abs(right).max()
        assert found.features[name].dtype.itemsize == 2
        (said,) = (line.split()[8] for line in progress.lines if line.startswith("rounding"))
        assert 0 < error <= 1.05 * float(said) < 2**-8
    assert extract(Pictures(range(6)), tmp_path / "half", precision="bfloat16").encoded == 0


def test_unreadable_images_are_left_out_and_tried_again(tmp_path):
    found = extract(Pictures(range(6), broken=(1, 4)), tmp_path)
    assert found.kept.tolist() == [0, 2, 3, 5]
    assert [str(error) for error in found.skipped] == ["1 is bad", "4 is bad"]
    expected = direct([0, 2, 3, 5])["cls_token"]
    np.testing.assert_allclose(found.features["cls_token"].whole(), expected, rtol=0, atol=1e-5)
    again = Pictures(range(6))
    assert len(extract(again, tmp_path).kept) == 6
    assert again.read_so_far == [1, 4]
    with pytest.raises(JaxpartError, match="no image of pictures 9 can be read"):
        extract(Pictures(range(2), broken=(0, 1), data="pictures 9"), tmp_path)


def test_features_that_are_nan_name_the_first_image(tmp_path, monkeypatch):
    def poisoned(encoder, pixels, names):
        return {name: jnp.zeros((len(pixels), 8)).at[2].set(jnp.nan) for name in names}

    monkeypatch.setattr(features, "_step", poisoned)
    with pytest.raises(JaxpartError, match=r"cls_token of p2 \(pictures 1\) is NaN"):
        extract(Pictures(range(6)), tmp_path, ("cls_token",))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    usage = types.SimpleNamespace(free=10)
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(JaxpartError, match=r"cannot be written .* free\); make room there"):
        extract(Pictures(range(2)), tmp_path)
    assert not files(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(JaxpartError, match=r"features\.folder=FOLDER"):
        Cache("disk", tmp_path / "file").write({}, Shard(["a"], np.zeros((1, 2), np.float32)))


def test_several_representations_behind_each_other():
    found = direct(range(2), ("cls_token+embedding", "cls_token", "embedding"))
    both = np.concatenate([found["cls_token"], found["embedding"]], axis=1)
    np.testing.assert_array_equal(found["cls_token+embedding"], both)


def test_unknown_representations_are_refused():
    assert check_representations(ENCODER, ["block1/tokens"], tokens=True) == {
        "block1/tokens": (5, 8)
    }
    vectors = ("tokens", "block7/embedding", "block-1/embedding", "", "+", "embedding+")
    for name, tokens in (("cls_token", True), *((name, False) for name in vectors)):
        with pytest.raises(JaxpartError, match="no representation"):
            check_representations(ENCODER, [name], tokens=tokens)
