"""Every number as SciPy computes it, and the word that follows from it."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from zoo.report.statistics import LEVEL, SOUGHT, Difference, Estimate, paired

pytestmark = pytest.mark.fast

few = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=6).filter(lambda values: numpy.std(values) > 1e-6)


@given(few, st.sampled_from([0.05, 0.01]))
def test_the_interval_is_students(values, level):
    found = Estimate.of(values, level)
    low, high = stats.t.interval(1 - level, len(values) - 1, numpy.mean(values), stats.sem(values))
    assert found.mean == pytest.approx(numpy.mean(values), abs=1e-12) and found.count == len(values)
    assert found.half == pytest.approx((high - low) / 2, rel=1e-6)


def test_the_interval_as_tabulated():
    """t of two degrees of freedom, in tables of the distribution, is 4.30265."""
    assert Estimate.of([-0.001, 0, 0.001]).half == pytest.approx(4.30265 * 0.001 / 3**0.5, rel=1e-5)


def test_one_value_has_no_interval():
    found = paired({"a": [0.1]}, "base")["a"]
    assert found.gain == Estimate(0.1, None, 1) and str(found) == "+0.100, one seed"
    assert found.probability is found.smallest is found.more_seeds is None
    assert "One seed cannot say how a compares with base" in found.explain("a")


@given(st.dictionaries(st.sampled_from("abcdef"), few, min_size=1))
def test_the_correction_is_holms(gains):
    """The smallest of m probabilities is compared with 0.05 / m, the next with 0.05 / (m - 1), until one is larger."""
    chances = {model: stats.ttest_1samp(values, 0).pvalue for model, values in gains.items()}
    assume(all(abs(chance * k - LEVEL) > 1e-6 for chance in chances.values() for k in range(1, 7)))
    found = paired(gains, "base")
    shown = True
    highest = 0.0
    for rank, model in enumerate(sorted(chances, key=chances.get)):
        left = len(chances) - rank
        shown = shown and chances[model] <= LEVEL / left
        highest = max(highest, min(1, chances[model] * left))
        assert (found[model].verdict in ("better", "worse")) == shown
        assert found[model].probability == pytest.approx(highest, rel=1e-6)
        assert (found[model].probability <= LEVEL) == shown
        assert found[model].models == len(chances)


def test_alone_nothing_is_corrected():
    values = [0.01, 0.012, 0.02]
    assert paired({"a": values}, "base")["a"].gain == Estimate.of(values)
    both = paired({"a": values, "b": [0.3, -0.3, 0.1], "c": [0.5]}, "base")
    assert both["a"].gain.half == pytest.approx(Estimate.of(values, LEVEL / 2).half), "one seed is no comparison"


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([0.1, 0.11], "+0.105 \N{PLUS-MINUS SIGN} 0.064, better"),
        ([-0.1, -0.09, -0.08], "-0.090 \N{PLUS-MINUS SIGN} 0.025, worse"),
        ([-0.1, 0.0, 0.1], "0.000 \N{PLUS-MINUS SIGN} 0.248, no difference shown"),
        ([0.0, 0.0, 0.0], "0.000 \N{PLUS-MINUS SIGN} 0.000, no difference shown"),
    ],
)
def test_the_word_follows_the_interval(gains, words):
    assert str(paired({"a": gains}, "base")["a"]) == words


def test_the_seeds_that_are_asked_for_show_the_difference_four_times_in_five():
    """Simulated: true difference 0.01, deviation as estimated, no correction."""
    deviation = 0.02
    gains = list(numpy.array([-1, 0, 1]) * deviation)
    found = paired({"a": gains}, "base")["a"]
    seeds = found.more_seeds + 3
    drawn = numpy.random.default_rng(0).normal(SOUGHT, deviation, (20_000, seeds))
    power = (stats.ttest_1samp(drawn, 0, axis=1).pvalue <= LEVEL).mean()
    assert 0.79 < power < 0.83
    fewer = (stats.ttest_1samp(drawn[:, :-1], 0, axis=1).pvalue <= LEVEL).mean()
    assert fewer < power
    assert f"{found.more_seeds} more would show a true difference of 0.01" in found.explain("a")
    assert f"the smallest that these seeds could have shown is {found.gain.half:.3f}" in found.explain("a").lower()


def test_no_number_of_seeds_is_named_beyond_a_thousand_or_below_none():
    assert paired({"a": [-0.5, 0.5]}, "base")["a"].more_seeds is None
    assert "more than 1000 seeds" in paired({"a": [-0.5, 0.5]}, "base")["a"].explain("a")
    assert Difference("base", Estimate(0.0, 0.0001, 5, 0.0001)).more_seeds == 0
