"""The data position is one number: any batch is found from it, on any number of workers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from training.pretraining.mixing import Mixture, Skips, shuffled


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000, 4097])
def test_shuffled_is_a_permutation(size: int) -> None:
    places = np.arange(size)
    assert sorted(shuffled(places, size, "a").tolist()) == places.tolist()


def test_another_key_is_another_order() -> None:
    places = np.arange(1000)
    first, second = (shuffled(places, 1000, key) for key in ("seed:web:0", "seed:web:1"))
    assert (first == second).mean() < 0.02
    # A shuffle, not a shift: neighbours do not stay neighbours.
    assert np.mean(np.abs(np.diff(first)) < 5) < 0.05


@pytest.mark.parametrize("share", [0.5, 0.25, 0.9, 1.0, 0.0])
def test_shares_hold_in_every_stretch(share: float) -> None:
    mixture = Mixture(clinical=100, web=300, share=share, seed=1)
    clinical, _ = mixture.pick(np.arange(5000, 6000))
    assert clinical.sum() == pytest.approx(1000 * share, abs=1)


def test_every_window_comes_once_an_epoch_and_in_another_order_in_the_next() -> None:
    mixture = Mixture(clinical=50, web=70, share=0.5, seed=1)
    clinical, windows = mixture.pick(np.arange(200))
    drawn = windows[clinical]
    assert sorted(drawn[:50].tolist()) == sorted(drawn[50:].tolist()) == list(range(50))
    assert drawn[:50].tolist() != drawn[50:].tolist()
    assert sorted(windows[~clinical][:70].tolist()) == list(range(70))
    assert mixture.epochs(200) == {"clinical": 2.0, "web": round(100 / 70, 4)}


def test_a_batch_does_not_depend_on_what_was_read_before() -> None:
    mixture = Mixture(clinical=50, web=70, share=0.3, seed=1)
    whole = mixture.pick(np.arange(400))
    for first, end in pairwise(range(0, 401, 40)):
        part = mixture.pick(np.arange(first, end))
        assert all((a == b[first:end]).all() for a, b in zip(part, whole, strict=True))


def test_another_seed_is_another_order() -> None:
    samples = np.arange(100)
    first, second = (Mixture(1000, 1000, 0.5, seed).pick(samples)[1] for seed in (1, 2))
    assert (first != second).any()


def test_skipped_ranges_are_jumped_over_wherever_the_run_comes_from() -> None:
    skips = Skips().with_range(100, 200).with_range(200, 260).with_range(400, 500)
    assert [skips.after(sample) for sample in (0, 99, 100, 150, 200, 260, 450)] == [0, 99, 260, 260, 260, 260, 500]
