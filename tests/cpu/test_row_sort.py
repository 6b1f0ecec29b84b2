"""The merging network against NumPy's own sort."""

import hypothesis
import hypothesis.strategies as st
import numpy as np

from jaxpart.cpu.row_sort import sort_rows, width_for


@hypothesis.given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 4),
    columns=st.one_of(st.integers(1, 9_000), st.sampled_from([511, 512, 513, 1024, 1025, 4096])),
    levels=st.sampled_from([2, 1000, 2**31]),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_rows_come_out_sorted(seed, rows, columns, levels):
    rng = np.random.default_rng(seed)
    values = rng.integers(-levels, levels, (rows, columns)).astype(np.int32)
    width = width_for(columns)
    assert columns <= width < columns + 2 * -(-columns // 512)  # a value per run is added at most
    given = np.full((rows, width), np.iinfo(np.int32).max, np.int32)
    given[:, :columns] = values
    result = sort_rows(given)
    np.testing.assert_array_equal(result[:, :columns], np.sort(values, axis=1))
