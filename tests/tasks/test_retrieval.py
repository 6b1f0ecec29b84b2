"""Part retrieval and its baselines: of the same patches, read once, and what tables say of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from carried_out import NOTHING, QUIET, carried_out
from sklearn.metrics import average_precision_score

from jaxpart import devices
from jaxpart.config import part_config
from jaxpart.data.parts import part_patches
from jaxpart.data.sets import retrieval_set
from jaxpart.data.views import patch_view
from jaxpart.encoders.loading import random_encoder
from jaxpart.encoders.narrowing import narrowed
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.chance import chance_retrieval
from jaxpart.runs.rows import Key, Row, by_key, find_row
from jaxpart.tasks import layers, retrieval
from jaxpart.tasks.plans import carry_out

SIZE = 32


@pytest.fixture(scope="module")
def encoder():
    """A tiny iBOT, whose projector ends in 512 channels of 64."""
    body = {"image_size": (SIZE, SIZE), "patch_size": 8, "width": 16, "depth": 1, "mlp_width": 16}
    config = dataclasses.replace(small_config("ibot"), **body)
    return devices.replicate(random_encoder("ibot", config))


@pytest.fixture
def config(tmp_path):
    made = part_config("ibot", "", projector=True)
    made.data.num_images = 8
    made.tasks = ("retrieval",)
    made.features.folder = str(tmp_path / "cache")
    return made


def retrieved(name, *, head="", group="", task="retrieval", metric="AP"):
    """The key of a result on critters."""
    return Key("critters", task, metric, head, name, group)


def patches_of(config):
    source, selection = retrieval_set("critters", config.data)
    return source, selection, part_patches(source, selection)


def pixels_of(config):
    source, _, patches = patches_of(config)
    return np.stack(list(patch_view(source, patches, size=SIZE).read(range(len(patches)))))


def cells(pixels):
    """Means of 12 × 12 equal cells, by sums over pixels cut into 12 parts each way."""
    fine = pixels.astype(np.float64).repeat(12, axis=1).repeat(12, axis=2) / 255
    return fine.reshape(len(pixels), 12, SIZE, 12, SIZE, 3).mean(axis=(2, 4))


def reference_ap(rows, parts, *, exclude_self):
    rows = (rows - rows.mean(axis=0)).reshape(len(rows), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = []
    for i, part in enumerate(parts):
        kept = np.arange(len(rows)) != i if exclude_self else np.full(len(rows), True)
        right = np.array(parts)[kept] == part
        found.append(average_precision_score(right, (rows @ rows[i])[kept]))
    return np.mean(found)


@pytest.mark.slow
@pytest.mark.parametrize("exclude_self", [False, True])
def test_baselines(encoder, config, exclude_self):
    config.retrieval.exclude_self = exclude_self
    config.tasks = ("retrieval", "layers")
    rows = by_key(carried_out(retrieval, encoder, config))
    source, selection, patches = patches_of(config)
    parts = [selection.parts[patch.part] for patch in patches]
    means = cells(pixels_of(config))
    expected = {
        "mean_colour": means.mean(axis=(1, 2)),
        "pixels12_colour": means,
        "pixels12_grey": means.mean(axis=3),
    }
    for name, vectors in expected.items():
        row = rows[retrieved(name, head="baseline")]
        assert row.value == pytest.approx(
            reference_ap(vectors, parts, exclude_self=exclude_self), abs=1e-4
        )
        assert row.low <= row.value <= row.high
        assert {retrieved(name, head="baseline", group=p) for p in parts} <= rows.keys()
    chance = chance_retrieval(parts, exclude_self=exclude_self)
    row = rows[retrieved("chance", head="baseline")]
    assert (row.value, row.interval) == (chance.ap, None)
    assert rows[retrieved("chance", head="baseline", metric="mAP")].value == chance.mean_ap
    assert {key.head for key in rows} == {"", "baseline"}

    deep = by_key(carried_out(layers, encoder, config))
    kinds = [source.annotation(patch.index).label for patch in patches]

    def at(name, what, head="baseline"):
        return deep[retrieved(name, head=head, group=what, task="layers")].value

    assert at("chance", "parts") == chance.ap
    assert at("chance", "objects") == chance_retrieval(kinds, exclude_self=exclude_self).ap
    for name, vectors in expected.items():
        for what, labels in (("parts", parts), ("objects", kinds)):
            assert at(name, what) == pytest.approx(
                reference_ap(vectors, labels, exclude_self=exclude_self), abs=1e-4
            )
    assert at("projector4", "parts", head="") == rows[retrieved("projection")].value


def test_tables_have_them_and_say_who_does_not_beat_them():
    found = [Row("cub", "retrieval", "patches", 9)]
    for head, name, ap in (
        ("", "embedding", 0.4),
        ("", "block0/embedding", 0.3),
        ("baseline", "chance", 0.25),
        ("baseline", "pixels12_grey", 0.3),
        ("untrained", "embedding", 0.2),
    ):
        ends = {} if name == "chance" else {"low": ap, "high": ap}
        found += [Row("cub", "retrieval", "AP", ap, head, name, **ends)]
        found += [Row("cub", "retrieval", "mAP", ap, head, name)]
        found += [Row("cub", "retrieval", "AP", ap, head, name, group="eye")]
    rows = retrieval.section(found).rows
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("cub, embedding", "40.0", "40.0 to 40.0"),
        ("cub, block0/embedding", "30.0", "30.0 to 30.0"),
        ("cub, chance", "25.0", "exact"),
        ("cub, 12 × 12 pixels, grey", "30.0", "30.0 to 30.0"),
        ("cub, untrained encoder, embedding", "20.0", "20.0 to 20.0"),
    ]
    assert [row[-1] for row in rows[:3]] == [
        "eye 40.0",
        "NOT ABOVE 12 × 12 pixels, grey (30.0); eye 30.0",
        "eye 25.0",
    ]
    levels = [
        Row("cub", "layers", "AP", value, head, name, group)
        for head, name, group, value in (
            ("baseline", "chance", "parts", 0.2),
            ("baseline", "chance", "objects", 0.1),
            ("", "block0/embedding", "parts", 0.2),
            ("", "block0/embedding", "objects", 0.2),
        )
    ]
    assert layers.section(levels).rows == [
        ("cub, chance", "20.0", "10.0", ""),
        ("cub, block0/embedding", "20.0", "20.0", "NOT ABOVE baselines: parts"),
    ]


@pytest.mark.slow
def test_pictures_are_read_once_and_encoders_share_their_pixels(encoder, config, monkeypatch):
    asked = []
    encode = features._encode

    def counted(encoder, view, numbers, names, *others):
        asked.append(names)
        return encode(encoder, view, numbers, names, *others)

    monkeypatch.setattr(features, "_encode", counted)
    first = carried_out(retrieval, encoder, config)
    assert asked == [("embedding", "projection", "cls_token", "pixels12")]
    assert carried_out(retrieval, encoder, config) == first
    assert len(asked) == 1
    other = dataclasses.replace(encoder, digest="of another")
    carried_out(retrieval, other, config)
    assert asked[1:] == [("embedding", "projection", "cls_token")]
    config.retrieval.untrained = True
    third = by_key(carried_out(retrieval, encoder, config))
    assert asked[2:] == []  # this encoder is untrained, and of the same seed
    for name in config.retrieval.representations:
        untrained = third[retrieved(name, head="untrained")]
        assert untrained.value == find_row(first, *retrieved(name)).value


def test_an_untrained_twin_is_another_encoder(encoder, config):
    config.retrieval.untrained = True
    config.seed = 1
    rows = by_key(carried_out(retrieval, encoder, config))
    untrained = rows[retrieved("embedding", head="untrained")]
    assert untrained.value != rows[retrieved("embedding")].value


def test_pictures_that_cannot_be_read_are_left_out_of_baselines(encoder, config, monkeypatch):
    source, selection, patches = patches_of(config)
    bad = patches[0].index

    class Damaged:
        info, annotation, origin = source.info, source.annotation, source.origin

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            if index == bad:
                raise JaxpartError("it is damaged")
            return source[index]

    config.retrieval.on_error = "skip"
    config.retrieval.untrained = True
    rows = by_key(
        carry_out(
            [retrieval.plan(encoder, "critters", Damaged(), selection, config, QUIET)],
            config.features,
            NOTHING,
            QUIET,
        )
    )
    left = [i for i, patch in enumerate(patches) if patch.index != bad]
    assert rows[retrieved("", metric="skipped")].value == len(patches) - len(left)
    parts = [selection.parts[patches[i].part] for i in left]
    assert rows[retrieved("chance", head="baseline")].value == chance_retrieval(parts).ap
    expected = reference_ap(cells(pixels_of(config)[left]), parts, exclude_self=False)
    colours = rows[retrieved("pixels12_colour", head="baseline")]
    assert colours.value == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_projections_retrieve_as_all_their_channels_do(encoder, config):
    rows = by_key(carried_out(retrieval, encoder, config))
    source, selection, patches = patches_of(config)
    projection = np.asarray(encoder(encoder.normalize(pixels_of(config)))["projection"])
    assert projection.shape[1] == 512
    whole = average_precision(projection, [selection.parts[patch.part] for patch in patches])
    assert rows[retrieved("projection")].value == pytest.approx(whole.ap, abs=1e-6)
    mean = rows[retrieved("projection", metric="mAP")].value
    assert mean == pytest.approx(whole.mean_ap, abs=1e-6)
    names = ("projection", "projector4")
    view = patch_view(source, patches, size=SIZE)
    found = features.extract(narrowed(encoder), view, names, config.features, QUIET, batch_size=64)
    assert [found.features[name].shape for name in names] == [(len(patches), 64)] * 2

    # Of the encoder itself all channels are kept, apart from these; what comes before is the same.
    names = ("embedding", "projection")
    found = features.extract(encoder, view, names, config.features, QUIET, batch_size=64)
    assert found.features["projection"].shape == (len(patches), 512)
    found = features.extract(encoder, view, names[:1], config.features, QUIET, batch_size=64)
    assert found.encoded == 0
