"""Scoring a note must not come to cost more: counts, which no busy machine can change."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

import pytest
from torch import Tensor

from bench.cost import COUNTED_SHAPES, RESULT, cost_of
from lang1 import llama
from lang1.packing import PackedBatch

now = cache(lambda: cost_of(COUNTED_SHAPES["100m"]))
SHAPE = COUNTED_SHAPES["100m"]
LIMIT_GFLOP = 75.5
"""Packed, last layer pruned to the read positions, causal attention counted whole."""


def test_no_count_has_grown() -> None:
    recorded = json.loads(RESULT.read_text(encoding="utf-8"))["100m"]
    found = asdict(now())
    grown = {name: (recorded[name], value) for name, value in found.items() if value > recorded[name]}
    assert not grown, f"recorded and now: {grown}; if it is meant, run `python -m bench.cost` and say why"
    fallen = {name: (recorded[name], value) for name, value in found.items() if value < recorded[name]}
    assert not fallen, f"cheaper than recorded: {fallen}; run `python -m bench.cost` to keep it so"


def test_a_note_is_read_once_without_padding() -> None:
    cost = now()
    assert cost.tokens == 512 + 5 * 60
    assert cost.forwards == 1 / 4  # four notes share a pass
    assert cost.gflop <= LIMIT_GFLOP


def test_the_guard_sees_a_last_layer_that_is_not_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    before = now()
    whole = llama.PackedLlama.hidden_states

    def unpruned(model: llama.PackedLlama, batch: PackedBatch, *, read_only: bool) -> Tensor:
        return whole(model, batch, read_only=False)[batch.read_positions]

    monkeypatch.setattr(llama.PackedLlama, "hidden_states", unpruned)
    after = cost_of(SHAPE)
    assert after.gflop > 1.05 * before.gflop
    assert after.allocated_mb > before.allocated_mb
