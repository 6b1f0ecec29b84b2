"""What a random order gives: against all orders that there are, and against scikit-learn on drawn ones."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxpart.errors import JaxpartError
from jaxpart.metrics.chance import chance_level, chance_retrieval


def over_all_orders(positives):
    """Mean AP of every order of the items."""
    orders = itertools.permutations(range(len(positives)))
    scores = [-np.array(order, float) for order in orders]
    return np.mean([average_precision_score(positives, score) for score in scores])


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("parts", ["aabbb", "aaabbc", "aaaaa", "ab"])
def test_all_orders(parts, exclude_self):
    expected = []
    for query, part in enumerate(parts):
        positives = [other == part for i, other in enumerate(parts) if i != query]
        if exclude_self:
            expected.append(over_all_orders(positives) if any(positives) else np.nan)
        else:  # itself stands before the others in any order
            orders = itertools.permutations(range(1, len(parts)))
            first = [-np.array([0, *order], float) for order in orders]
            each = [average_precision_score([True, *positives], score) for score in first]
            expected.append(np.mean(each))
    if np.isnan(expected).all():
        with pytest.raises(JaxpartError, match="nothing to retrieve"):
            chance_retrieval(list(parts), exclude_self=True)
        return
    found = chance_retrieval(list(parts), exclude_self=exclude_self)
    np.testing.assert_allclose(found.per_query, expected, rtol=0, atol=1e-12)
    assert found.ap == pytest.approx(np.nanmean(expected), abs=1e-12)
    for part, value in found.per_part.items():
        mine = [e for e, p in zip(expected, parts, strict=True) if p == part]
        assert value == pytest.approx(np.nanmean(mine), abs=1e-12)
    assert found.mean_ap == pytest.approx(np.mean(list(found.per_part.values())), abs=1e-12)


@pytest.mark.slow
def test_queries_among_other_items():
    keys = "aabbbc"
    expected = [over_all_orders([key == query for key in keys]) for query in keys]
    assert chance_level([*keys]) == pytest.approx(np.mean(expected), abs=1e-12)
    assert chance_level(["a"]) == 1


def test_lonely_parts():
    assert chance_retrieval(["a"]).ap == 1
    assert chance_retrieval(["a", "b"]).ap == 1
    found = chance_retrieval(["a", "a", "b"], exclude_self=True)
    assert found.without_positives == 1
    assert set(found.per_part) == {"a"}
