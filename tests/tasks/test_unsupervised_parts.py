"""Clusters of tokens against keypoints: annotations in squares, foreground, parts, and the whole task."""

import itertools

import data.layouts as layouts
import jax.numpy as jnp
import numpy as np
import pytest
from carried_out import QUIET, carried_out
from PIL import Image

from benchmarks.upsampling import upsample
from jaxpart.comparison import compare_runs
from jaxpart.config import parts_config
from jaxpart.encoders.callables import of_function
from jaxpart.encoders.configured import configured_encoder
from jaxpart.errors import JaxpartError
from jaxpart.metrics.label_agreement import scores
from jaxpart.report.figures.part_maps import coloured, part_maps
from jaxpart.report.runs import Run
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.items import items_npz, read_items
from jaxpart.runs.rows import Key, find_row, select
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.fitting import fitted
from jaxpart.tasks.unsupervised_parts import clustering, experiment
from jaxpart.tasks.unsupervised_parts.annotated import annotated, open_annotated
from jaxpart.tasks.unsupervised_parts.at_keypoints import at_keypoints
from jaxpart.tasks.unsupervised_parts.clustering import drawn_tokens, fit_parts, unit
from jaxpart.tasks.unsupervised_parts.foreground import normalised_cut

SIDE = 96


def small_config(**options):
    config = parts_config("")
    config.data.num_images, config.data.image_size = 24, SIDE
    config.features.cache = "off"
    config.unsupervised_parts.update(
        {
            "parts": (4,),
            "restarts": 1,
            "tokens": 500,
            "representations": ("block1/tokens", "tokens"),
        }
    )
    config.unsupervised_parts.update(options)
    check_config(config)
    return config


@pytest.fixture(scope="module")
def encoder():
    return configured_encoder(small_config())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def rows(encoder, folder):
    return carried_out(experiment, encoder, small_config(pictures=3), WorkDir(folder, {}))


@pytest.mark.slow
def test_task(rows):
    found = [(row.head, row.representation) for row in select(rows, metric="NMI")]
    baselines = [("kmeans@4", name) for name in ("same_position", "pixels12")]
    own = itertools.product(("block1/tokens", "tokens"), ("kmeans@4", "nmf@4"))
    assert found == [*baselines, *((head, name) for name, head in own)]
    metrics = {row.metric for row in rows if row.representation}
    assert metrics == {"NMI", "ARI", "FG-NMI", "FG-ARI", "keypoint error, image"}
    for row in rows:
        assert row.low is None or row.low <= row.value <= row.high
    assert 0.1 < find_row(rows, "critters", "unsupervised_parts", "foreground", "masks").value < 0.9
    # Where a critter stands tells of its parts, as long as they stand alike.
    for metric in ("NMI", "ARI", "FG-NMI"):
        row = find_row(rows, "critters", "unsupervised_parts", metric, "kmeans@4", "same_position")
        assert row.value > 0.1
    shown = experiment.section(rows).rows
    assert [cells[0] for cells in shown[:2]] == [
        "critters, kmeans@4, same position",
        "critters, kmeans@4, pixels",
    ]
    assert sum(cells[-1] == "best of 2" for cells in shown) == 2


@pytest.mark.slow
def test_pictures(rows, folder):
    """A report draws the parts of the better block by each method, over their images."""
    items, kept = read_items(folder / "unsupervised_parts_critters.npz", "")
    pictures = items["pictures"]
    assert pictures.shape == (3, SIDE, SIDE, 3)
    maps = {key: labels for key, labels in kept.items() if key.metric == "parts"}
    assert [(key.head, key.representation) for key in maps] == [
        (row.head, row.representation) for row in select(rows, metric="NMI")
    ]
    assert {labels.shape for labels in maps.values()} == {(3, 6, 6), (3, 12, 12)}
    run = Run("<b>run", {}, {}, folder, {"name": "ibot"}, rows, {}, {})
    (picture,) = part_maps([run])
    axes = np.array(picture.figure.axes).reshape(3, 3)
    best = max(select(rows, metric="NMI", head="nmf@4"), key=lambda row: row.value).representation
    assert axes[2, 0].get_title(loc="left") == f"nmf@4, {best}"
    labels = maps[KEY._replace(head="nmf@4", representation=best)]
    drawn = axes[2, 1].images[0].get_array()
    np.testing.assert_array_equal(drawn, coloured(pictures[1], labels[1], 4))
    pale = np.repeat(np.repeat(labels[1] == 4, 16, axis=0), 16, axis=1)
    assert drawn[pale].min() >= 0.6 - 1e-9
    assert np.ptp(drawn[pale], axis=1).max() < 1e-9  # grey
    assert np.ptp(drawn[~pale], axis=1).min() > 0.1
    picture.save(folder)


@pytest.mark.slow
def test_comparison(encoder, rows, folder, tmp_path):
    """Errors keypoint by keypoint, of which fewer is better; a run without pictures draws none."""
    config = small_config(representations=("tokens",), methods=("kmeans",), pictures=0)
    config.seed = 1
    config.unsupervised_parts.images = 0
    others = carried_out(experiment, encoder, config, WorkDir(tmp_path, {}))
    key = KEY._replace(metric="keypoint error, image")
    difference = compare_runs(folder, tmp_path)[key]
    ours, theirs = (find_row(of, *key).value for of in (rows, others))
    assert difference.value == pytest.approx(ours - theirs)
    assert difference.low <= difference.value <= difference.high
    assert difference.first_only + difference.second_only > 50
    errors = [
        read_items(path / "unsupervised_parts_critters.npz", "")[1][key]
        for path in (folder, tmp_path)
    ]
    assert difference.first_only == (errors[0] < errors[1] - 1e-9).sum()
    assert list(part_maps([Run("run", {}, {}, tmp_path, {"name": "ibot"}, others, {}, {})])) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda items, kept: items.pop("pictures"), "holds no images"),
        (lambda items, kept: kept.clear(), "holds no images with parts"),
        (lambda items, kept: kept.update({KEY: kept[KEY] + 1}), "is not a map of parts"),
        (lambda items, kept: kept.update({KEY: kept[KEY][:2]}), "is not a map of parts"),
        (
            lambda items, kept: kept.update({KEY._replace(head="x@9999999"): kept[KEY]}),
            "is not a map",
        ),
    ],
)
def test_damaged_pictures(rows, folder, tmp_path, change, sentence):
    items, kept = read_items(folder / "unsupervised_parts_critters.npz", "")
    change(items, kept)
    (tmp_path / "unsupervised_parts_critters.npz").write_bytes(items_npz(items, kept))
    with pytest.raises(JaxpartError, match=sentence):
        list(part_maps([Run("run", {}, {}, tmp_path, {"name": "ibot"}, rows, {}, {})]))


KEY = Key("critters", "unsupervised_parts", "parts", "kmeans@4", "tokens")


@pytest.mark.slow
def test_spectral_foreground(encoder, rows):
    config = small_config(foreground="spectral", representations=("tokens",), methods=("kmeans",))
    found = carried_out(experiment, encoder, config)
    key = "critters", "unsupervised_parts"
    assert 0 < find_row(found, *key, "foreground", "spectral").value < 1
    assert find_row(found, *key, "foreground IoU", "spectral").value > 0.2
    masks = find_row(rows, *key, "NMI", "kmeans@4", "tokens")
    assert find_row(found, *key, "NMI", "kmeans@4", "tokens") != masks


@pytest.mark.slow
def test_blocks_of_several_grids():
    """A function whose blocks have other grids than its tokens; both foregrounds."""

    def pyramid(images):
        pixels = images.astype(jnp.float32) / 255
        fine, coarse = (pixels.reshape(-1, n, SIDE // n, n, SIDE // n, 3) for n in (16, 8))
        fine, coarse = fine.mean((2, 4)), coarse.mean((2, 4))
        return {"tokens": coarse, "blocks": [fine, coarse]}

    function = of_function(pyramid, image_size=SIDE, pixels="uint8", version="")
    for foreground in ("masks", "spectral"):
        config = small_config(representations=(), foreground=foreground, methods=("kmeans",))
        found = carried_out(experiment, function, fitted(config, function, print))
        named = [row.representation for row in select(found, metric="ARI")]
        assert named[2:] == ["block0/tokens", "block1/tokens", "tokens"]
        heads = ("critters", "unsupervised_parts", "NMI", "kmeans@4")
        assert (
            find_row(found, *heads, "block1/tokens").value
            == find_row(found, *heads, "tokens").value
            != find_row(found, *heads, "block0/tokens").value
        )


@pytest.fixture(scope="module")
def critters():
    config = small_config()
    opened = open_annotated("critters", "test", config.data)
    return annotated(opened, 96, [(12, 12), (8, 6)], lambda count: None)


def test_labels_at_keypoints_are_those_of_whole_pictures(critters):
    """Maps read at four cells around a keypoint are what upsampling all of a picture gives."""
    rng = np.random.default_rng(0)
    grid, parts = (8, 6), 3
    labels = rng.integers(0, parts, (24, 48))
    foreground = critters.masks[grid]
    found = at_keypoints(critters, labels, foreground, grid, parts)
    one_hot = np.eye(parts + 1, dtype=np.float32)[np.where(foreground, labels, parts)]
    maps = np.asarray(upsample(one_hot.reshape(24, *grid, -1), (96, 96)))
    column, row = np.rint(critters.xy - 0.5).astype(int).T
    expected = maps[critters.image, row, column]
    gap = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0] > 1e-4
    assert gap.sum() > 50
    np.testing.assert_array_equal(found.whole[gap], expected.argmax(axis=1)[gap])
    image, part = 3, 1
    cells = np.flatnonzero((labels[image] == part) & foreground[image])
    assert found.shown[image, part]
    x, y = (cells % 6).mean() * 16 / 96, (cells // 6).mean() * 12 / 96
    np.testing.assert_allclose(found.centres[image, part], [x, y])
    nothing = at_keypoints(critters, labels, np.zeros_like(foreground), grid, parts)
    assert not nothing.shown.any()
    assert (nothing.whole == parts).all()
    assert (nothing.parts == found.parts).all()


def test_cub(tmp_path):
    """Keypoints, boxes and segmentations of pictures three times as wide as high."""
    root = tmp_path / "CUB_200_2011"
    layouts.cub(root)
    layouts.write(
        root / "bounding_boxes.txt", "".join(f"{i} 18 6 90 30\n" for i in (2, 9, 5, 6, 7))
    )
    config = small_config()
    config.data.root = str(tmp_path)
    whole = open_annotated("cub_parts", "test", config.data)
    assert whole.mask_of is None
    mask = np.zeros((60, 180), np.uint8)
    mask[:, 90:] = 255
    mask[:, :90] = 204  # not all annotators agreed
    for name in ("1.Gull/b", "0.Auk/d"):
        layouts.write(root / f"segmentations/{name}.png", layouts.png(mask))
    opened = open_annotated("cub_parts", "test", config.data).subset(np.array([1]))
    found = annotated(opened, 90, [(9, 9), (3, 2)], lambda count: None)
    np.testing.assert_array_equal(found.pictures, [[0, 30, 90, 30]])
    np.testing.assert_array_equal(found.boxes, [[9, 33, 45, 15]])
    np.testing.assert_array_equal(found.part, [0, 1, 3])  # 12 is not visible
    np.testing.assert_array_equal(found.xy, [[0, 33.25], [22, 33.25], [55, 33.25]])
    np.testing.assert_array_equal(found.points[0, 3], [55, 33.25])
    np.testing.assert_array_equal(found.in_boxes(found.points)[0, 3], [46 / 45, 0.25 / 15])
    assert found.visible.tolist() == [[True, True, False, True]]
    expected = np.zeros((9, 9), bool)
    expected[3:6, 5:] = True
    expected[3:6, 4] = True  # by half
    np.testing.assert_array_equal(found.masks[9, 9].reshape(9, 9), expected)
    assert found.masks[3, 2].tolist() == [[False, False, False, True, False, False]]
    inside = found.inside((9, 9)).reshape(9, 9)
    assert inside[3:6].all()
    assert inside.sum() == 27
    for number, text in enumerate((layouts.png(mask[1:]), b"no picture")):
        layouts.write(root / "segmentations/0.Auk/d.png", text)
        sentence = ("is 180 × 59 pixels, and the image 180 × 60", "d.png")[number]
        with pytest.raises(JaxpartError, match=sentence):
            annotated(opened, 90, [(9, 9)], lambda count: None)


def test_tokens_are_drawn_alike_however_many_fit_into_memory(monkeypatch):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((7, 12, 5)).astype(np.float32)
    where = rng.random((7, 12)) < 0.5
    where[2] = False
    everything = drawn_tokens(tokens.__getitem__, where, 5, 1000, 0)
    np.testing.assert_array_equal(everything, tokens[where])
    few = drawn_tokens(tokens.__getitem__, where, 5, 9, 3)
    assert len(few) == 9
    for values in (1, 130):
        monkeypatch.setattr(clustering, "_BLOCK_VALUES", values)
        np.testing.assert_array_equal(drawn_tokens(tokens.__getitem__, where, 5, 9, 3), few)


def test_kmeans_is_the_goldens(golden):
    arrays = np.load(golden / "protocol/unsupervised_parts.npz")
    tokens = arrays["kmeans/x"].astype(np.float32)
    np.testing.assert_allclose(unit(tokens), tokens, atol=1e-6)
    found = fit_parts(tokens, "kmeans", 4, restarts=10, seed=0)(tokens)
    centres = np.stack([tokens[found == part].mean(axis=0) for part in range(4)])
    inertia = ((tokens - centres[found]) ** 2).sum()
    assert inertia <= float(arrays["kmeans/inertia"]) * (1 + 1e-6)


def test_both_methods_find_planted_parts():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    factors = np.eye(3, 8, dtype=np.float32) * 2
    tokens = factors[truth] + 0.1 * rng.standard_normal((300, 8)).astype(np.float32)
    for method in ("kmeans", "nmf"):
        find = fit_parts(tokens[:200], method, 3, restarts=2, seed=0)
        assert scores(truth, find(tokens)) == (1, 1)
        assert find(np.zeros((2, 8), np.float32)).shape == (2,)
    narrow = fit_parts(np.abs(tokens[:, :2]), "nmf", 4, restarts=1, seed=0)  # more than channels
    assert narrow(tokens[:, :2]).max() < 4
    alike = fit_parts(np.ones((6, 3), np.float32), "kmeans", 4, restarts=1, seed=0)
    assert set(alike(np.ones((2, 3), np.float32))) == {0}
    negative = fit_parts(-np.ones((6, 3), np.float32), "nmf", 2, restarts=1, seed=0)
    assert len(negative(np.ones((2, 3), np.float32))) == 2


@pytest.mark.parametrize("edges", [(2, 5, 3, 6), (0, 4, 2, 5)])
def test_normalised_cut(edges):
    """A compact object before a background, also where it leaves the picture; the black beside the
    picture is neither."""
    top, bottom, left, right = edges
    rng = np.random.default_rng(0)
    tokens = 0.1 * rng.standard_normal((8, 8, 16))
    tokens[..., 0] += 1  # what all share: every cosine is far above 0
    tokens[top:bottom, left:right, 1] += 3
    tokens[5, 0] *= 40  # one of odd length
    inside = np.ones((8, 8), bool)
    inside[6:] = False
    tokens[6:] = 0
    found = normalised_cut(tokens.reshape(64, 16), inside.ravel(), (8, 8)).reshape(8, 8)
    expected = np.zeros((8, 8), bool)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(found, expected)
    two = np.array([True, True, False])
    np.testing.assert_array_equal(normalised_cut(np.ones((3, 4)), two, (1, 3)), two)
    alike = normalised_cut(
        np.ones((16, 4)), np.ones(16, bool), (4, 4)
    )  # of which any cut is as good
    assert alike.shape == (16,)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"representations": ("embedding",)}, "has no representation 'embedding'"),
        ({"pixels": 50}, "config.unsupervised_parts.pixels is 50, and images of 50 × 50 pixels"),
        ({"parts": (1,)}, "parts holds 1; give a whole number, at least 2"),
        ({"parts": ()}, "config.unsupervised_parts.parts is empty"),
        ({"tokens": 3}, "tokens is 3, fewer than the 4 parts of config.unsupervised_parts.parts"),
        ({"methods": ()}, "config.unsupervised_parts.methods is empty"),
        ({"methods": ("spectral",)}, "holds 'spectral'; choose from kmeans, nmf"),
        ({"foreground": "cut"}, "foreground is 'cut'; choose from auto, masks, spectral"),
        (
            {"parts": (900,), "tokens": 1000},
            "the foreground of critters .train. has [0-9]+ tokens, too few for 900",
        ),
    ],
)
def test_wrong_options(encoder, options, sentence):
    with pytest.raises(JaxpartError, match=sentence):
        carried_out(experiment, encoder, small_config(**options))


def test_wrong_data(encoder, tmp_path):
    config = small_config()
    config.data.sets = ("imagenet",)
    with pytest.raises(JaxpartError, match="imagenet has no keypoints to compare parts with"):
        list(experiment.plans(encoder, config, QUIET))
    root = tmp_path / "mine"
    for split in ("train", "test"):
        annotation = {
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [5, 6, 2, 9, 9, 0]}
            ],
            "categories": [{"id": 1, "name": "cat", "keypoints": ["eye", "tail"]}],
        }
        layouts.write(root / split / "keypoints.json", layouts.json.dumps(annotation))
        Image.new("RGB", (40, 30), "red").save(_made(root / split / "images/a.png"))
    config.data.sets, config.data.root = ("part_folder",), str(root)
    config.unsupervised_parts.foreground = "masks"
    with pytest.raises(JaxpartError, match="part_folder has no masks of its objects; set config"):
        list(experiment.plans(encoder, config, QUIET))
    config.unsupervised_parts.foreground = "auto"
    (plan,) = experiment.plans(encoder, config, QUIET)
    assert plan.cut_by == f"block{encoder.depth - 1}/tokens"
    assert plan.reference == "image"
    np.testing.assert_allclose(plan.test.xy, [[5 / 40 * plan.test.side, 11 / 40 * plan.test.side]])


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
