from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError

from training.sources.splits import Period, SplitPlan, Splits, settle, split_names, unit_shares


def test_shares_are_what_was_asked_and_the_same_every_time() -> None:
    units = [f"stay-{n}" for n in range(20_000)]
    drawn = unit_shares(units, 1)
    days = np.full(len(units), np.datetime64("2020-06-01"))
    names = split_names(SplitPlan(), days, drawn)
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert np.mean(names == split) == pytest.approx(share, abs=0.01)
    assert (drawn == unit_shares(units, 1)).all()
    assert (drawn != unit_shares(units, 2)).any()


def test_one_unit_is_in_one_split() -> None:
    drawn = unit_shares(["a", "b", "a"], 1)
    assert drawn[0] == drawn[2] != drawn[1]


def test_shares_of_two_plans_nest() -> None:
    drawn = np.linspace(0, 0.9999, 1000)
    days = np.full(1000, np.datetime64("2020-06-01"))
    one = split_names(SplitPlan(shares=(0.7, 0.15, 0.15)), days, drawn)
    other = split_names(SplitPlan(), days, drawn)
    assert not ((one == "test") & (other == "train")).any() and not ((one == "train") & (other == "test")).any()


def test_periods_include_both_days_and_temporal_goes_first() -> None:
    plan = SplitPlan(
        period=Period(first_day=date(2013, 1, 1), last_day=date(2021, 5, 31)),
        temporal={"temporal_2021": Period(first_day=date(2021, 6, 1), last_day=date(2021, 12, 31))},
    )
    days = np.array(
        ["2012-12-31", "2013-01-01", "2021-05-31", "2021-06-01", "2021-12-31", "2022-01-01", "NaT"], "M8[D]"
    )
    found = split_names(plan, days, np.zeros(7)).tolist()
    assert found == ["", "train", "train", "temporal_2021", "temporal_2021", "", ""]


def test_years_are_short_for_temporal_periods() -> None:
    splits = Splits(temporal_years=(2024,))
    days = np.array(["2023-12-31", "2024-01-01", "2024-12-31", "2025-01-01"], "M8[D]")
    found = split_names(splits.of("any"), days, np.zeros(4)).tolist()
    assert found == ["train", "temporal_2024", "temporal_2024", "train"]
    assert Splits.model_validate_json(splits.model_dump_json()) == splits


def test_the_split_furthest_from_training_wins() -> None:
    one = np.array(["train", "train", "val", "temporal_a", "", "train"])
    other = np.array(["train", "test", "train", "temporal_b", "train", ""])
    _, usable = settle({"one": one, "other": other})
    assert usable["one"].tolist() == [True, False, True, True, False, True]
    assert usable["other"].tolist() == [True, True, False, True, True, False]


@pytest.mark.parametrize(
    "wrong", [{"shares": (0.5, 0.1, 0.1)}, {"temporal": {"late": {}}}, {"temporal": {"temporal_x": {}}}]
)
def test_impossible_plans_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SplitPlan.model_validate(wrong)
