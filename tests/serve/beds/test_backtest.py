"""A small backtest: the intervals hold what they say on a hospital whose rules the forecast does not know."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.beds_backtest import RESULTS, backtest
from bench.beds_measures import covered, crps, ensemble_crps
from bench.beds_report import DOCS, with_tables
from serve.beds.counts import Laws
from serve.beds.distribution import poisson_binomial


def test_coverage_and_scores_of_a_small_backtest() -> None:
    results = backtest(hospitals=1, origins=16, every=7, first_seed=21)
    for place, kind in (("hospital", "plain"), ("units", "randomised")):
        for levels in results["coverage"][place].values():
            # 16 origins: wide bounds that a wrong model misses all the same.
            assert 0.68 < levels["80%"][kind]["all"] < 0.92
            assert 0.89 < levels["95%"][kind]["all"] <= 1
    for counts in results["crps"].values():
        for scores in counts.values():
            best = scores.pop("forecast")["all"]
            others = {name: score["all"] for name, score in scores.items() if name != "same model without scores"}
            assert all(best < score for score in others.values())


def test_trimmed_coverage_is_the_level_whatever_the_law() -> None:
    law = poisson_binomial(np.array([0.2, 0.5, 0.9]))
    laws = Laws(np.tile(law, (4, 1)), np.zeros(4, dtype=np.int64))
    for level in (0.8, 0.95):
        plain, trimmed, stated = covered(laws, np.arange(4), level)
        assert (law * trimmed).sum() == pytest.approx(level)
        assert (law * plain).sum() == pytest.approx(stated[0])


def test_scores_are_those_of_the_definition() -> None:
    law = Laws(np.array([[0.25, 0.5, 0.25]]), np.array([3]))
    expected = 0.25**2 + 0.25**2  # below 3: 0; at 3: 0.25; at 4: 0.25 short of 1
    assert crps(law, np.array([4]))[0] == pytest.approx(expected)
    sample = np.array([[3.0], [4.0], [4.0], [5.0]])
    assert ensemble_crps(sample, np.array([4]))[0] == pytest.approx(expected)
    assert crps(law, np.array([9]))[0] == pytest.approx(4.625, abs=1.0)


def test_the_committed_backtest_holds_the_tolerance() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert results["setting"]["hospitals"] * results["setting"]["origins_each"] >= 200
    for place in results["within_tolerance"].values():
        assert all(place.values())
    assert results["speed"]["forecast_cpu_ms"] < 200


def test_the_document_quotes_the_results_file() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, json.loads(RESULTS.read_text(encoding="utf-8"))) == text
