"""The bundle that the repository carries is whole, small, marked, and made by the shipped recipe."""

from __future__ import annotations

import json

from lang1 import DEMO_BUNDLE
from lang1.bundle import REPORT
from lang1.scorer import PackedScorer
from lang1.tasks import BUILT_IN
from training.recipe import load_recipe

MAX_BYTES = 25 * 2**20


def test_the_demo_bundle_loads_and_is_marked_as_a_test() -> None:
    scorer = PackedScorer.load(DEMO_BUNDLE, device="cpu")
    assert scorer.identity.demo
    assert list(scorer.registry) == list(BUILT_IN)
    assert sum(path.stat().st_size for path in DEMO_BUNDLE.iterdir()) <= MAX_BYTES
    assert "must not be used for care" in scorer.bundle.card


def test_the_demo_bundle_was_made_by_the_shipped_recipe() -> None:
    report = json.loads((DEMO_BUNDLE / REPORT).read_text(encoding="utf-8"))
    assert report["training"]["recipe"] == load_recipe("demo").model_dump(mode="json", exclude_none=True)


def test_the_card_shows_the_figures_of_the_report() -> None:
    report = json.loads((DEMO_BUNDLE / REPORT).read_text(encoding="utf-8"))
    card = (DEMO_BUNDLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    for entry in report["test"].values():
        assert f"{entry['auroc']['value']:.3f} ({entry['auroc']['low']:.3f} to {entry['auroc']['high']:.3f})" in card
        assert f"{entry['soft']['visible']:.3f}" in card
