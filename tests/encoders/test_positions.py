"""Position interpolation against the published code's own arrays."""

import re

import numpy as np
import pytest

from jaxpart.encoders import positions

TOLERANCE = 1e-5


def largest_error(ours, theirs):
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max()


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "protocol/position.npz")


def test_golden_absolute_positions(arrays):
    seen = 0
    for key in arrays.files:
        match = re.fullmatch(r"(abs_(\d+)_(\d+))/(on_load|dino_(\d+)x(\d+))", key)
        if not match:
            continue
        prefix, source, square, kind, rows, columns = match.groups()
        target = (int(square),) * 2 if kind == "on_load" else (int(rows), int(columns))
        rule = "bicubic" if kind == "on_load" else "bicubic_offset"
        stored = arrays[f"{prefix}/input"][0, 1:]
        ours = positions.resize_positions(stored, (int(source),) * 2, target, rule)
        assert largest_error(ours, arrays[key][0, 1:]) <= TOLERANCE, key
        seen += 1
    assert seen >= 12


def test_golden_relative_bias(arrays):
    for key in [key for key in arrays.files if key.endswith("/resized")]:
        prefix, source, target = re.fullmatch(r"(rel_(\d+)_(\d+))/resized", key).groups()
        table = arrays[f"{prefix}/input"]
        ours = positions.resize_relative_bias(table, (int(source),) * 2, (int(target),) * 2)
        assert largest_error(ours, arrays[key]) <= TOLERANCE, key


@pytest.mark.parametrize("target", [(3, 3), (5, 9), (14, 14), (20, 33)])
def test_bicubic_twin(target):
    torch = pytest.importorskip("torch")
    stored = np.random.default_rng(0).normal(size=(7 * 7, 8)).astype(np.float32)
    ours = positions.resize_positions(stored, (7, 7), target, "bicubic")
    grid = torch.tensor(stored).reshape(1, 7, 7, 8).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(grid, size=target, mode="bicubic", align_corners=False)
    assert largest_error(ours, theirs[0].permute(1, 2, 0).reshape(-1, 8)) <= TOLERANCE


def test_same_grid_is_untouched():
    stored = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    for rule in ("bicubic", "bicubic_offset", "sincos_wh"):
        assert positions.resize_positions(stored, (3, 4), (3, 4), rule) is stored


def test_sincos_is_what_the_published_formula_gives():
    """Written out from MoCo v3's `build_2d_sincos_position_embedding`, one entry at a time."""
    width, rows, columns = 16, 3, 5
    ours = positions.sincos(width, (rows, columns), by_column=True)
    for k in range(rows * columns):
        column, row = divmod(k, rows)
        for i in range(width // 4):
            omega = 10000.0 ** (-i / (width // 4))
            expected = [f(x * omega) for x in (column, row) for f in (np.sin, np.cos)]
            np.testing.assert_allclose(ours[k, i :: width // 4], expected, atol=1e-6)


def test_relative_index_counts_offsets_from_key_to_query():
    index = positions.relative_bias_index((2, 3))
    assert index.shape == (7, 7)
    offsets = 3 * 5
    assert index[0, 0] == offsets + 2
    assert set(index[0, 1:]) == {offsets}
    assert set(index[1:, 0]) == {offsets + 1}
    # Query (1, 2), key (0, 0): one down, two to the right of the centre (1, 2) of the table.
    assert index[6, 1] == 2 * 5 + 4
    assert set(np.diag(index)[1:]) == {1 * 5 + 2}


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
@pytest.mark.parametrize("target", [(3, 3), (5, 9), (20, 33)])
def test_antialiased_twin(target, kernel):
    torch = pytest.importorskip("torch")
    stored = np.random.default_rng(0).normal(size=(7 * 7, 8)).astype(np.float32)
    ours = positions.resize_positions(stored, (7, 7), target, f"{kernel}_antialias")
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(stored).reshape(1, 7, 7, 8).permute(0, 3, 1, 2),
        size=target,
        mode=kernel,
        antialias=True,
    )
    theirs = theirs.permute(0, 2, 3, 1).reshape(-1, 8).numpy()
    assert largest_error(ours, theirs) <= TOLERANCE
