"""Semantic correspondence against the published evaluators (golden/protocol/correspondence)."""

import dataclasses

import numpy as np
import pytest
from carried_out import QUIET, carried_out

from jaxpart.comparison import compare_runs
from jaxpart.config import correspondence_config
from jaxpart.data.pairs import PairSet
from jaxpart.data.sets.pairs import open_pairs
from jaxpart.data.squares import resized, square_view
from jaxpart.encoders import small
from jaxpart.encoders.configured import configured_encoder
from jaxpart.encoders.encoder import with_stride
from jaxpart.encoders.loading import random_encoder
from jaxpart.errors import JaxpartError
from jaxpart.features.representations import represent
from jaxpart.metrics.pck import interchangeable, pck, pck_intervals
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.rows import Key, find_row, select
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks.correspondence import experiment, matching
from jaxpart.tasks.correspondence.matching import match, match_pixels
from jaxpart.tasks.correspondence.pair_points import PairPoints
from jaxpart.tasks.correspondence.places import (
    CONVENTIONS,
    Grid,
    cells_of,
    points_of,
    sampled,
    to_square,
    within,
)

ALPHAS = (0.05, 0.1, 0.15)
GRID = Grid(12, 168)


class Case:
    """The golden's six pairs."""

    def __init__(self, arrays):
        self.a = arrays
        self.counted = arrays["src_visible"] & arrays["trg_visible"]
        self.pair, self.point = np.nonzero(self.counted)

    def tokens(self, kind):
        both = np.concatenate([self.a[f"{kind}/src_features"], self.a[f"{kind}/trg_features"]])
        return both.reshape(len(both), -1, both.shape[-1])

    def squared(self, side, which, convention):
        rows = zip(self.a[f"{which}_kps"], self.a[f"{which}_size"], strict=True)
        return np.stack([to_square(xy, tuple(s), side, convention) for xy, s in rows])

    def length(self, side=168):
        x1, y1, x2, y2 = self.a["trg_box"].T
        scale = side / self.a["trg_size"].max(axis=1) if side else 1
        return np.maximum(x2 - x1, y2 - y1) * scale

    def predicted(self, name, *, grid=GRID, window=None, kind="pad"):
        convention = CONVENTIONS[name]
        xy = self.squared(grid.side, "src", convention)[self.pair, self.point]
        at = sampled(xy, grid, convention)
        found = match(self.tokens(kind), self.pair, at, self.pair + 6, window=window)
        return points_of(found, grid, convention)

    def right(self, points, truth, side, alpha, name):
        error = np.linalg.norm(points - truth[self.pair, self.point], axis=1)
        found = np.zeros(self.counted.shape, bool)
        found[self.counted] = within(error, side[self.pair], alpha, CONVENTIONS[name])
        return found


@pytest.fixture(scope="module")
def case(golden):
    return Case(dict(np.load(golden / "protocol/correspondence.npz")))


@pytest.mark.parametrize(
    ("mode", "window"),
    [("argmax", None), ("soft_window5", 5), ("soft_window2", 2), ("soft_all", 0)],
)
def test_geoaware(case, mode, window):
    a = case.a
    expected = a[f"geoaware/{mode}/pred"][case.pair, case.point]
    found = case.predicted("geoaware", window=window)
    if window is None:
        np.testing.assert_array_equal(found, expected)  # ties too: the first of them
    else:
        np.testing.assert_allclose(found, expected, atol=2e-4)
    truth, side = case.squared(168, "trg", CONVENTIONS["geoaware"]), case.length()
    geo = case.counted & a["geoaware/geo_mask"]
    for i, alpha in enumerate(ALPHAS):
        score = pck(case.right(found, truth, side, alpha, "geoaware"), case.counted)
        assert score.by_point == pytest.approx(a[f"geoaware/{mode}/pck_per_point"][i], abs=1e-7)
        np.testing.assert_allclose(
            score.per_pair, a[f"geoaware/{mode}/pck_per_image"][:, i], atol=1e-7
        )
        assert score.by_image == pytest.approx(
            a[f"geoaware/{mode}/pck_per_image_mean"][i], abs=1e-7
        )
    for i, alpha in enumerate((0.01, 0.05, 0.1)):
        right = case.right(found, truth, side, alpha, "geoaware_offline")
        for what, which in (("", case.counted), ("geo_", geo)):
            score = pck(right, which)
            for value, name in ((score.by_image, "per_image"), (score.by_point, "per_point")):
                expected = a[f"geoaware/{mode}/offline_{what}{name}"][i]
                assert value == pytest.approx(expected, abs=1e-6)


def test_image_side_is_the_length_of_pf_pascal(case):
    a = case.a
    found = case.predicted("geoaware")
    truth = case.squared(168, "trg", CONVENTIONS["geoaware"])
    for i, alpha in enumerate(ALPHAS):
        right = case.right(found, truth, np.full(6, 168.0), alpha, "geoaware")
        score = pck(right, case.counted)
        name = "image_threshold"
        assert score.by_point == pytest.approx(a[f"geoaware/argmax/pck_per_point_{name}"][i])
        assert score.by_image == pytest.approx(a[f"geoaware/argmax/pck_per_image_mean_{name}"][i])


def test_ours_is_exact_where_precision_decides(case):
    """An error of exactly alpha times the side is wrong; at every other point GeoAware-SC agrees."""
    found = case.predicted("jaxpart")
    np.testing.assert_array_equal(found, case.predicted("geoaware"))  # 14 / 2 is whole
    truth, side = case.squared(168, "trg", CONVENTIONS["jaxpart"]), case.length()
    ours, theirs = (case.right(found, truth, side, 0.1, n) for n in ("jaxpart", "geoaware"))
    np.testing.assert_array_equal(ours != theirs, case.a["boundary"] & theirs & ~ours)
    assert (ours != theirs).any()


def test_negative_similarities_leave_the_window(case):
    planted = case.a["negative"][case.counted]
    assert planted.any()
    best, soft = case.predicted("geoaware"), case.predicted("geoaware", window=2)
    assert (np.abs(best - soft)[planted] > 2 * 14 + 1).any()


@pytest.mark.parametrize(
    ("what", "kind", "grid"), [("v2", "pad", GRID), ("overlap", "overlap", Grid(11, 48, 8))]
)
def test_sd_dino(case, what, kind, grid):
    a = case.a
    found = case.predicted("sd_dino", grid=grid, kind=kind)
    np.testing.assert_array_equal(found, a[f"sd_dino/{what}/pred"][case.pair, case.point])
    truth, side = case.squared(grid.side, "trg", CONVENTIONS["sd_dino"]), case.length(grid.side)
    for i, alpha in enumerate(ALPHAS):
        score = pck(case.right(found, truth, side, alpha, "sd_dino"), case.counted)
        assert score.by_point == pytest.approx(a[f"sd_dino/{what}/pck_per_point"][i], abs=1e-7)


def test_dift(case):
    a, convention = case.a, CONVENTIONS["dift"]
    sizes = np.concatenate([a["src_size"], a["trg_size"]])
    source = a["src_kps"][case.pair, case.point]
    parts = [
        sampled(xy[None], GRID, convention, tuple(sizes[pair]))
        for pair, xy in zip(case.pair, source, strict=True)
    ]
    at = type(parts[0])(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))
    found = match_pixels(case.tokens("squash"), case.pair, at, case.pair + 6, sizes)
    expected = a["dift/pred"][case.pair, case.point]
    clear = ~a["dift/tied"][case.counted]
    assert clear.sum() > 20
    np.testing.assert_array_equal(found[clear], expected[clear])
    for i, alpha in enumerate(ALPHAS):
        points = np.where(clear[:, None], found, expected)
        score = pck(case.right(points, a["trg_kps"], case.length(0), alpha, "dift"), case.counted)
        np.testing.assert_allclose(score.per_pair, a["dift/pck_per_image"][:, i], atol=1e-7)
        assert score.by_point == pytest.approx(a["dift/pck_per_point"][i], abs=1e-7)


def test_vit_analysis(case):
    a, convention = case.a, CONVENTIONS["vit_analysis"]
    xy = case.squared(168, "src", convention)[case.pair, case.point].astype(np.float32)
    at = sampled(xy, GRID, convention)
    sizes = np.full((12, 2), 168)
    found = match_pixels(
        case.tokens("pad"), case.pair, at, case.pair + 6, sizes, normalised=convention.normalised
    )
    expected = a["vit_analysis/pred"][case.pair, case.point]
    clear = ~a["vit_analysis/tied"][case.counted]
    assert clear.sum() > 20
    np.testing.assert_array_equal(found[clear], expected[clear])
    truth = case.squared(168, "trg", convention)
    for i, alpha in enumerate(ALPHAS):
        points = np.where(clear[:, None], found, expected)
        score = pck(case.right(points, truth, case.length(), alpha, "vit_analysis"), case.counted)
        assert score.by_point == pytest.approx(a["vit_analysis/pck_per_point"][i], abs=1e-7)


def test_probe3d(case):
    a, convention = case.a, CONVENTIONS["probe3d"]
    xy, truth = (case.squared(168, which, convention) for which in ("src", "trg"))
    np.testing.assert_array_equal(
        np.where(case.counted[..., None], truth, 0),
        np.where(case.counted[..., None], a["probe3d/trg_kps_mapped"][..., :2], 0),
    )
    at = sampled(xy[case.pair, case.point], GRID, convention)
    cells = match(case.tokens("corner"), case.pair, at, case.pair + 6)
    np.testing.assert_array_equal(cells, a["probe3d/pred_cell"][case.pair, case.point])
    found = points_of(cells, GRID, convention)
    for i, alpha in enumerate(ALPHAS):
        right = case.right(found, truth, case.length(), alpha, "probe3d")
        score = pck(right, case.counted)
        assert score.by_point == pytest.approx(a["probe3d/pck_per_point"][i], abs=1e-7)


def test_geometry_aware_points_by_id(case):
    groups = np.full(30, -1)
    groups[[2, 3]], groups[[9, 10, 11, 12]] = 0, 1
    found = interchangeable(case.a["trg_visible"], np.tile(groups, (6, 1))) & case.counted
    np.testing.assert_array_equal(found, case.a["geoaware/geo_mask"] & case.counted)
    assert found.any()


def test_places():
    grid = Grid(4, 40)
    np.testing.assert_array_equal(
        cells_of([[0, 0], [9.9, 10], [40, 40], [-3, 99]], grid, CONVENTIONS["jaxpart"]),
        [0, 4, 15, 12],
    )
    assert resized((200, 101), 100, "centred") == (100, 50, 0, 25)  # 50.5, half to even
    assert resized((101, 200), 100, "corner") == (50, 100, 0, 0)
    assert resized((7, 9), 100, "squashed") == (100, 100, 0, 0)
    flip = to_square([[0, 0], [200, 100]], (200, 100), 100, CONVENTIONS["jaxpart"])
    np.testing.assert_array_equal(flip, [[0, 25], [100, 75]])


def test_mirrored_images_give_mirrored_points():
    """Flipping both images flips what is found."""
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((2, 6, 6, 8)).astype(np.float32)
    grid, ours = Grid(6, 60), CONVENTIONS["jaxpart"]
    xy = rng.uniform(0, 60, (9, 2))
    ids = np.zeros(9, np.int64), np.ones(9, np.int64)

    def found(field, points):
        at = sampled(points, grid, ours)
        return points_of(match(field.reshape(2, 36, 8), ids[0], at, ids[1]), grid, ours)

    mirrored = found(tokens[:, :, ::-1], np.stack([60 - xy[:, 0], xy[:, 1]], axis=1))
    expected = found(tokens, xy)
    np.testing.assert_array_equal(mirrored[:, 0], 60 - expected[:, 0])
    np.testing.assert_array_equal(mirrored[:, 1], expected[:, 1])


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    tokens = rng.standard_normal((5, 16, 4)).astype(np.float32)
    source, target = rng.integers(0, 5, (2, 70))
    at = sampled(rng.uniform(0, 16, (70, 2)), Grid(4, 16), CONVENTIONS["jaxpart"])
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    expected = np.einsum("pc,pnc->pn", unit[source, at.cells[:, 0]], unit[target]).argmax(axis=1)
    monkeypatch.setattr(matching, "_BLOCKS", 2)
    for size in (64, 3):
        monkeypatch.setattr(matching, "_BLOCK", size)
        found = match(tokens, source, at, target)
        np.testing.assert_array_equal(found[:, 1] * 4 + found[:, 0], expected)


def test_pck_leaves_out_pairs_without_points():
    right = np.array([[True, True], [True, False], [True, True]])
    counted = np.array([[True, True], [False, True], [False, False]])
    score = pck(right, counted)
    assert score.by_point == 2 / 3
    assert score.by_image == 0.5
    assert np.isnan(score.per_pair[2])
    none = pck(right, np.zeros((3, 2), bool))
    assert np.isnan(none.by_point)
    assert none.points == 0
    by_point, by_image = pck_intervals(right, counted, np.array([0, 1, 1]))
    assert by_point == (0, 1)
    assert by_image == (0, 1)


def small_config(**options):
    config = correspondence_config("")
    config.data.num_images, config.data.image_size = 48, 64
    config.features.cache = "off"
    config.correspondence.update(options)
    return config


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rows and work directory of a run on few critters."""
    folder = tmp_path_factory.mktemp("run")
    config = small_config()
    check_config(config)
    encoder = configured_encoder(config)
    workdir = WorkDir(folder, {})
    return encoder, carried_out(experiment, encoder, config, workdir), folder


@pytest.mark.slow
def test_task(measured):
    encoder, rows, folder = measured
    names = [f"block{i}/tokens" for i in range(encoder.config.depth)]
    found = [row.representation for row in select(rows, metric="PCK@0.10", group="")]
    assert found == ["same_position", "pixels12", *names, "tokens"]
    for row in rows:
        assert row.low is None or row.low <= row.value <= row.high
    assert find_row(rows, "critters", "correspondence", "pairs").value == 48
    shown = experiment.section(rows).rows
    assert [cells[0] for cells in shown[:2]] == ["critters, same position", "critters, pixels"]
    assert sum(cells[-1] == "best" for cells in shown) == 1
    difference = compare_runs(folder, folder)
    key = Key("critters", "correspondence", "PCK@0.10 by image", "", "tokens")
    assert difference[key].value == 0
    per_class = select(rows, metric="PCK@0.10", representation="tokens")
    mean = find_row(
        rows,
        "critters",
        "correspondence",
        "PCK@0.10, mean of classes",
        representation="tokens",
    )
    assert mean.value == pytest.approx(np.mean([row.value for row in per_class if row.group]))


@pytest.mark.slow
def test_task_is_what_plain_loops_find(measured):
    """One block's PCK, pair by pair and point by point."""
    encoder, rows, _ = measured
    config = small_config()
    pairs = open_pairs("critters", config.data, most=100, seed=0)
    side = encoder.config.image_size[0]
    view = square_view(pairs.source, size=side, layout="centred")
    pixels = np.stack(list(view.read(range(len(view.ids)))))
    tokens = np.asarray(represent(encoder, pixels, names=("tokens",))["tokens"])[:, 1:]
    tokens = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    grid = encoder.config.grid_of(side, side)[0]
    right = total = 0
    for i, (source, target) in enumerate(pairs.pairs):
        for p in np.flatnonzero(pairs.counted[i]):
            x, y = pairs.source_xy[i, p] / 64 * grid
            best = int(np.argmax(tokens[target] @ tokens[source, int(y) * grid + int(x)]))
            point = (np.array([best % grid, best // grid]) + 0.5) / grid * 64
            right += np.linalg.norm(point - pairs.target_xy[i, p]) < 0.1 * 64
            total += 1
    found = find_row(rows, "critters", "correspondence", "PCK@0.10", representation="tokens")
    assert found.value == pytest.approx(right / total)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_task_by_every_convention(measured, name):
    encoder = measured[0]
    config = small_config(convention=name, representations=("block2/tokens+tokens",), pairs=2)
    rows = carried_out(experiment, encoder, config)
    for metric in ("PCK@0.05", "PCK@0.15"):
        (row,) = select(rows, metric=metric, group="", representation="block2/tokens+tokens")
        assert 0 <= row.value <= 1
    # Points of an image find themselves where they are: same position is blind to the convention.
    same = find_row(rows, "critters", "correspondence", "PCK@0.15", "baseline", "same_position")
    assert same.value > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"representations": ("embedding",)}, "has no representation 'embedding'"),
        (
            {"pixels": 50},
            "config.correspondence.pixels is 50, and images of 50 × 50 pixels cannot be cut",
        ),
        ({"convention": "dift", "soft_window": 5}, "soft_window works on cells, and dift predicts"),
        ({"stride": 3}, "stride is 3, and patches of 16 pixels cannot lie 3 pixels apart"),
        ({"stride": 4, "convention": "dift"}, "stride is 4, and dift does not define"),
        ({"convention": "none"}, "convention is 'none'; choose from jaxpart, geoaware"),
        ({"sets": ()}, "config.correspondence.sets is empty"),
        ({"sets": ("imagenet",)}, "sets holds 'imagenet'; choose from critters"),
        ({"alphas": (0.0,)}, "alphas holds 0.0"),
        ({"sets": ("spair",)}, "the data root is missing"),
    ],
)
def test_wrong_options(measured, options, sentence):
    config = small_config(**options)

    def planned():
        check_config(config)
        list(experiment.plans(measured[0], config, QUIET))

    with pytest.raises(JaxpartError, match=sentence):
        planned()


def test_thresholds_have_names_of_their_own():
    names = [experiment.metric_of(alpha) for alpha in (0.05, 0.1, 0.101, 0.005, 1.0)]
    assert names == ["PCK@0.05", "PCK@0.10", "PCK@0.101", "PCK@0.005", "PCK@1.00"]


def test_confusions():
    """Left and right eye swapped are confused; a third point is not."""
    points = np.array([[[10.0, 10], [20, 10], [10, 30]]])
    seen = np.ones((1, 3), bool)
    pairs = PairSet(
        source=None,
        sizes=np.array([[40, 40], [40, 40]]),
        pairs=np.array([[0, 1]]),
        source_xy=points,
        target_xy=points,
        source_visible=seen,
        target_visible=seen,
        side=np.array([40.0]),
        reference="image",
        classes=("cat",),
        groups=np.array([[0, 0, -1]]),
    )
    placed = PairPoints(pairs, CONVENTIONS["jaxpart"], 40)
    found = np.array([[20.0, 11], [16, 10], [10, 10]])
    assert placed.confused(found).tolist() == [[True, False, False]]
    assert placed.right(found, 0.11).tolist() == [[False, True, False]]
    assert placed.same_position().tolist() == points[0].tolist()


@pytest.mark.slow
def test_overlapping_patches():
    """By plain loops: a stride of half a patch, and the points of the denser grid."""
    encoder = random_encoder("ibot", dataclasses.replace(small.small_config("ibot"), stem="patch"))
    config = small_config(stride=8, representations=("block3/tokens",))
    config.data.image_size = 96
    rows = carried_out(experiment, encoder, config)
    dense = with_stride(encoder, 8)
    pairs = open_pairs("critters", config.data, most=100, seed=0)
    view = square_view(pairs.source, size=96, layout="centred")
    pixels = np.stack(list(view.read(range(len(view.ids)))))
    tokens = np.asarray(represent(dense, pixels, names=("block3/tokens",))["block3/tokens"])[:, 1:]
    tokens = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    assert tokens.shape[1] == 11 * 11
    centres = 8.0 + 8 * np.arange(11)
    right = []
    for i, (source, target) in enumerate(pairs.pairs):
        for p in np.flatnonzero(pairs.counted[i]):
            column, row = (np.abs(v - centres - 1e-9).argmin() for v in pairs.source_xy[i, p])
            best = int(np.argmax(tokens[target] @ tokens[source, row * 11 + column]))
            point = centres[best % 11], centres[best // 11]
            right.append(np.linalg.norm(point - pairs.target_xy[i, p]) < 0.1 * 96)
    found = find_row(rows, "critters", "correspondence", "PCK@0.10", representation="block3/tokens")
    assert found.value == pytest.approx(np.mean(right))
