"""Recipes, schedule, spikes, FLOPs, Debian text, the tokenizer's second kind: parts that need no model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from tests.training.pretraining.conftest import ENGLISH, TINY, tiny_recipe
from training.pretraining.batches import micro_batch, mixture_of
from training.pretraining.debian_text import gather, is_english, manual_text
from training.pretraining.errors import PretrainError
from training.pretraining.journal import Journal, read_metrics
from training.pretraining.optimizer import learning_rate
from training.pretraining.recipe import PretrainRecipe, Spikes, load_pretrain_recipe
from training.pretraining.shards import WEB, open_tokens
from training.pretraining.speed import flops_per_token, multiplied_weights
from training.pretraining.spikes import SpikeDetector
from training.recipe import RecipeError
from training.tokenizer import BOS_TOKEN, train_tokenizer

SHIPPED = ("demo", "100m", "1b", "7b")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_valid(name: str) -> None:
    recipe = load_pretrain_recipe(name)
    assert recipe.seed == 3407 and recipe.clinical_share == 0.5 and recipe.optimization.betas == (0.9, 0.95)


def test_the_papers_numbers() -> None:
    plans = {name: load_pretrain_recipe(name) for name in SHIPPED[1:]}
    contexts = {name: plan.model.max_position_embeddings for name, plan in plans.items()}
    assert contexts == {"100m": 1024, "1b": 2048, "7b": 4096}
    assert {name: plan.optimization.batch_sequences for name, plan in plans.items()} == {
        "100m": 4096,
        "1b": 1024,
        "7b": 1024,
    }
    assert {name: plan.sharding for name, plan in plans.items()} == {
        "100m": "gradients",
        "1b": "gradients",
        "7b": "full",
    }
    assert plans["1b"].optimization.steps * plans["1b"].batch_tokens == pytest.approx(314.5e9, rel=1e-3)
    for plan in plans.values():
        chosen = plan.optimization
        assert (chosen.eps, chosen.weight_decay, chosen.max_gradient_norm, chosen.warmup_steps) == (
            1e-8,
            0.1,
            1.0,
            2000,
        )
        assert chosen.final_learning_rate == 4e-5
    parameters = {
        name: multiplied_weights(plan.model, 32_000) + 32_000 * plan.model.hidden_size for name, plan in plans.items()
    }
    assert {name: round(count / 1e6) for name, count in parameters.items()} == {"100m": 101, "1b": 1100, "7b": 6738}


def test_a_wrong_recipe_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nversion: '1'\nmodle: {}\n")
    with pytest.raises(RecipeError, match="modle"):
        load_pretrain_recipe(str(path))
    with pytest.raises(RecipeError, match="shipped: 100m, 1b, 7b, demo"):
        load_pretrain_recipe("13b")
    with pytest.raises(ValueError, match="warmup_steps"):
        tiny_recipe(optimization={"warmup_steps": 12})


def test_mfu_is_of_the_papers_own_figure() -> None:
    """FACTS: 1,896 tokens/s a GPU of 989 TFLOP/s; about 1.3% by 6N, 1.4% with attention counted."""
    flops = flops_per_token(load_pretrain_recipe("1b").model, 32_000)
    assert flops == 6 * multiplied_weights(load_pretrain_recipe("1b").model, 32_000) + 12 * 22 * 2048 * 2048
    assert 1896 * flops / 989.4e12 == pytest.approx(0.014, abs=5e-4)


def test_the_learning_rate_rises_then_falls_to_its_floor() -> None:
    plan = load_pretrain_recipe("1b").optimization
    assert learning_rate(0, plan) == pytest.approx(plan.learning_rate / 2000)
    assert learning_rate(1999, plan) == pytest.approx(plan.learning_rate)
    middle = 2000 + (150_000 - 2000) // 2
    assert learning_rate(middle, plan) == pytest.approx((plan.learning_rate + 4e-5) / 2)
    assert learning_rate(150_000, plan) == pytest.approx(4e-5)


def test_a_spike_is_far_over_what_the_window_says() -> None:
    detector = SpikeDetector(Spikes(window_steps=16, deviations=8, least_rise=0.3))
    assert not detector.spikes(50.0, 1.0), "nothing to hold it against yet"
    for step in range(16):
        detector.add(3.0 + 0.05 * math.sin(step * 2.1))
    assert not detector.spikes(3.25, 1.0)
    assert detector.spikes(3.6, 1.0)
    assert detector.spikes(math.nan, 1.0) and detector.spikes(3.0, math.inf)
    # One spike that was let in does not raise the limit, as a mean would.
    before = detector.limit()
    detector.add(30.0)
    assert detector.limit() == pytest.approx(before, abs=0.1)


def test_a_noisy_loss_needs_more_than_the_least_rise() -> None:
    detector = SpikeDetector(Spikes(window_steps=16, deviations=8, least_rise=0.3))
    for step in range(16):
        detector.add(3.0 + (step % 2) * 0.4)
    assert not detector.spikes(4.0, 1.0) and detector.spikes(6.0, 1.0)


def test_the_batch_must_come_out_even(token_folder: Path) -> None:
    assert micro_batch(tiny_recipe(), 2) == 1
    assert micro_batch(tiny_recipe(optimization={"batch_sequences": 24, "micro_batch_sequences": 5}), 2) == 4
    with pytest.raises(PretrainError, match="3 workers"):
        micro_batch(tiny_recipe(), 3)


def test_a_source_with_a_share_must_have_windows(token_folder: Path) -> None:
    tokens = open_tokens(token_folder)
    del tokens.manifest.sources[WEB]
    with pytest.raises(PretrainError, match=r"50% .* web source.*clinical_share to 1\.0"):
        mixture_of(tiny_recipe(), tokens)
    assert mixture_of(tiny_recipe(clinical_share=1.0), tokens).web == 0


def test_metrics_hold_the_path_that_was_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, writes=True)
    for step in range(1, 6):
        journal.step({"step": step, "loss": 1.0 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote
    journal.go_back(3)
    journal.step({"step": 4, "loss": 9.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path)][2:] == [(3, 1 / 3), (4, 9.0)]
    assert (tmp_path / "metrics.jsonl").stat().st_mode & 0o777 == 0o600


MANUAL = r"""
.\" a comment
.TH LS 1 "2024" "GNU" "User Commands"
.SH NAME
ls \- list directory contents
.SH DESCRIPTION
.PP
List information about the \fBFILE\fRs (the current directory by default).
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore entries starting with .
.BR "The option" " of the"
.TS
l l.
table	cells
.TE
It\(aqs done.
"""


def test_manual_pages_become_sentences() -> None:
    assert manual_text(MANUAL).splitlines() == [
        "NAME",
        "ls - list directory contents",
        "DESCRIPTION",
        "List information about the FILEs (the current directory by default).",
        "-a, --all do not ignore entries starting with . The option of the It's done.",
    ]


def test_debian_text_is_english_and_not_twice(tmp_path: Path) -> None:
    assert is_english(ENGLISH * 5)
    assert not is_english("int main(void) { return printf(x); } static char *p = buf[i]; " * 10)
    (tmp_path / "doc" / "a").mkdir(parents=True)
    (tmp_path / "doc" / "b").mkdir()
    (tmp_path / "doc" / "a" / "README").write_text(ENGLISH * 5)
    (tmp_path / "doc" / "b" / "copyright").write_text(ENGLISH * 5)
    (tmp_path / "doc" / "b" / "changelog").write_text(ENGLISH * 6)
    documents, _ = gather(tmp_path / "web.jsonl", tmp_path)
    assert documents == 1
    with pytest.raises(PretrainError, match="no English"):
        gather(tmp_path / "none.jsonl", tmp_path / "doc" / "a")


def test_the_sentencepiece_kind_serves_the_tasks_and_loses_no_byte() -> None:
    questions = [task.suffix(None) for task in BUILT_IN.values()]
    tokenizer = train_tokenizer([ENGLISH * 3, *questions], 700, "sentencepiece")
    PromptEncoder(tokenizer, BUILT_IN, 64, BOS_TOKEN)
    text = "Temp 38.5\nA na\u00efve \u4e2d </s> <0x41> word"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids) == text
    assert not {tokenizer.token_to_id(name) for name in ("<s>", "</s>", "<unk>", "<0x41>")} & set(ids)


def test_the_tiny_recipe_is_frozen() -> None:
    recipe = PretrainRecipe.model_validate(TINY)
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
