from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lang1.explain import MAX_PASSAGES, explain, passages
from lang1.notes import ClinicalNote
from lang1.scorer import PackedScorer
from lang1.tasks import BUILT_IN

TEXT = "Admitted with chest pain. History of heart failure. Denies diabetes; no renal disease. The patient has fever."


def test_the_effect_is_the_difference_without_the_passage(tiny_scorer: PackedScorer) -> None:
    note = ClinicalNote("n", TEXT, "34117-2")
    found = explain(tiny_scorer, note, top=10)
    assert list(found) == list(BUILT_IN)
    whole = tiny_scorer.score_notes([note])[0]
    for index, effects in enumerate(found.values()):
        assert len(effects) == 5
        assert [abs(e.effect) for e in effects] == sorted((abs(e.effect) for e in effects), reverse=True)
        without = (TEXT[: effects[0].start] + TEXT[effects[0].end :]).strip()
        other = tiny_scorer.score_notes([ClinicalNote("n", without, "34117-2")])[0]
        expected = whole.risks[index].adverse_probability - other.risks[index].adverse_probability
        assert effects[0].effect == pytest.approx(expected, abs=1e-6)


def test_only_what_was_read_is_explained(tiny_scorer: PackedScorer) -> None:
    text = " ".join(["Denies fever."] * 2000)
    kept = tiny_scorer.encoder.kept_characters(text)
    for effects in explain(tiny_scorer, ClinicalNote("n", text, None), ["length_of_stay"]).values():
        assert all(effect.end <= kept for effect in effects)


def test_a_single_passage_explains_nothing(tiny_scorer: PackedScorer) -> None:
    assert explain(tiny_scorer, ClinicalNote("n", "no full stop in these words", None), ["length_of_stay"]) == {
        "length_of_stay": ()
    }


@given(st.lists(st.text("ab ", min_size=1, max_size=30).map(lambda s: s.strip() + "x."), min_size=1, max_size=200))
def test_passages_cover_the_text_once(sentences: list[str]) -> None:
    text = " ".join(sentences)
    spans = passages(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert len(spans) <= MAX_PASSAGES
