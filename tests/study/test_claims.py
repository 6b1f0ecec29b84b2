"""The rules of the claims, on made-up results."""

import pytest

from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, Row
from jaxpart.study.claims import CLAIMS
from jaxpart.study.entries import STORED, Entry, read_study
from jaxpart.study.figures import COLUMNS, over_seeds, retrieved, table_section
from jaxpart.study.verdicts import Claim, Comparison, Side, claims_section, judge, numbers

ABOUT = {"trained": True, "digest": ""}


X = Key("critters", "retrieval", "x")


def entry(row, seed=0, *, x, low=None, high=None):
    return Entry(row, seed, ABOUT, {}, [Row(*X[:3], x, low=low, high=high)])


def verdict(entries, *, bound=0.0, below=False, right=("b",)):
    side = Side(right, (X,)) if right else None
    comparison = Comparison("a above b", Side(("a",), (X,)), side, bound, below)
    (judged,) = judge(entries, [Claim(1, "", (comparison,))])
    return judged.comparisons[0]


SEEDS = [entry("a", seed, x=0.8 + 0.01 * seed) for seed in range(3)]


@pytest.mark.parametrize(
    ("others", "bound", "below", "expected"),
    [
        ((0.5, 0.52, 0.51), 0.0, False, "holds"),
        ((0.9, 0.92, 0.93), 0.0, False, "does not hold"),
        ((0.7, 0.95, 0.8), 0.0, False, "undecided"),
        ((0.7, 0.71, 0.72), 0.2, False, "does not hold"),  # better, but not by that much
        ((0.79, 0.8, 0.81), 0.02, True, "holds"),
        ((0.5, 0.52, 0.51), 0.02, True, "does not hold"),
    ],
)
def test_three_pretrainings(others, bound, below, expected):
    entries = [*SEEDS, *(entry("b", seed, x=value) for seed, value in enumerate(others))]
    found = verdict(entries, bound=bound, below=below)
    assert (found.verdict, found.seeds) == (expected, 3)
    assert found.low < found.difference < found.high or found.low == pytest.approx(found.high)


def test_differences_are_taken_seed_by_seed():
    spread = (0.1, 0.5, 0.9)
    entries = [entry("a", i, x=x + 0.05 + 0.001 * i) for i, x in enumerate(spread)]
    entries += [entry("b", i, x=x) for i, x in enumerate(spread)]
    assert verdict(entries).verdict == "holds"
    assert verdict([*entries, entry("a", 3, x=0.9)]).seeds == 3  # b has no such seed


def test_student_t():
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_one_pretraining_takes_the_intervals_over_items():
    a, b = entry("a", x=0.8, low=0.77, high=0.83), entry("b", x=0.7, low=0.66, high=0.74)
    found = verdict([a, b])
    assert (found.low, found.high) == pytest.approx((0.05, 0.15))
    assert found.verdict == "holds"
    assert verdict([a, entry("b", x=0.1)]).verdict == "undecided"  # no interval, so no verdict
    assert "no interval" in numbers(verdict([a, entry("b", x=0.1)]))
    assert verdict([a], right=None).verdict == "holds"


@pytest.mark.parametrize(("name", "half"), [("chance", 0.03), ("pixels12_grey", 0.05)])
def test_pixels_have_an_interval_and_chance_has_none(name, half):
    baseline = Key("critters", "retrieval", "AP", "baseline", name)
    rows = [
        Row(*X[:3], 0.8, *X[3:], low=0.77, high=0.83),
        Row(*baseline[:3], 0.5, *baseline[3:], low=0.46, high=0.54),
    ]
    comparison = Comparison("", Side(("a",), (X,)), Side(("a",), (baseline,)), 0.0)
    (judged,) = judge([Entry("a", 0, ABOUT, {}, rows)], [Claim(1, "", (comparison,))])
    found = judged.comparisons[0]
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half))


def test_the_stored_results_can_be_read():
    study = read_study(STORED)
    assert {entry.row for entry in study.entries} == METHODS.keys()
    assert [one.verdict for one in judge(study.entries, CLAIMS)].count("undecided") < len(CLAIMS)


def test_missing_results_decide_nothing():
    found = verdict([entry("a", x=0.5)])
    assert (found.verdict, found.difference, found.seeds) == ("undecided", None, 0)
    assert numbers(found) == "not measured"
    assert {one.verdict for one in judge([], CLAIMS)} == {"undecided"}


def test_a_claim_is_as_good_as_its_worst_comparison():
    def claim(*bounds):
        side = Side(("a",), (X,))
        comparisons = tuple(Comparison("", side, None, bound) for bound in bounds)
        (judged,) = judge(SEEDS, [Claim(1, "", comparisons)])
        return judged.verdict

    assert claim(0.5, 0.6) == "holds"
    assert claim(0.5, 0.81) == "undecided"
    assert claim(0.5, 0.81, 0.99) == "does not hold"


def test_the_paper_s_claims_can_all_hold():
    strength = dict(zip(METHODS, (0.7, 0.6, 0.6, 0.5, 0.5, 0.6, 0.8), strict=True))
    part = dict(zip(METHODS, (0.3, 0.6, 0.6, 0.5, 0.5, 0.6, 0.8), strict=True))
    entries = []
    for seed in range(3):
        for row in METHODS:
            values = {
                c.key: (strength if c.level == "object" else part)[row] + 0.001 * seed
                for c in COLUMNS
            }
            for key in values:
                if row in ("mae", "beit") and key.head == "attentive":
                    values[key] = 0.65
            values[retrieved("projection")] = part[row] - 0.2
            if row not in ("mocov3", "dino", "ibot"):
                del values[retrieved("projection")]
            hidden = Key("critters", "masked_parts", "AP")
            for space in ("pixels", "tokens", "representation"):
                for query, value in (("part", 0.5), ("part_less_other_image", 0.1)):
                    values[hidden._replace(head=query, representation=space)] = value
            values[hidden._replace(head="baseline", representation="chance")] = 0.2
            for name in ("pixels12_colour", "pixels12_grey"):
                values[Key("critters", "retrieval", "AP", "baseline", name)] = 0.2
            rows = [Row(*key[:3], value, *key[3:]) for key, value in values.items()]
            entries.append(Entry(row, seed, ABOUT, {}, rows))
    judged = judge(entries, CLAIMS)
    assert [one.verdict for one in judged] == ["holds"] * len(CLAIMS), [
        (c.text, numbers(c)) for one in judged for c in one.comparisons if c.verdict != "holds"
    ]
    assert len(claims_section(judged).rows) == len(CLAIMS)
    cells = {row[0]: row for row in table_section(entries).rows}
    assert cells["iBOT"][1].startswith("80.1*")
    assert cells["MAE"][5] == "–"
