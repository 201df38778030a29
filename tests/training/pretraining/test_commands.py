"""`lang1 train web-text|tokenizer|tokens|pretrain|convert`, as far as they need no workers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from lang1.cli.train import app
from training.pretraining.recipe import load_pretrain_recipe
from training.pretraining.speed import multiplied_weights

DOCUMENT = Path(__file__).parents[3] / "docs" / "pretraining.md"


def test_sources_to_tokenizer_to_tokens(tmp_path: Path, dataset: Path, web_file: Path) -> None:
    tokenizer, out = tmp_path / "tokenizer.json", tmp_path / "tokens"
    sources = ["--clinical", str(dataset), "--web", str(web_file)]
    made = CliRunner().invoke(
        app, ["tokenizer", "--out", str(tokenizer), "--vocab-size", "1000", "--documents", "50", *sources]
    )
    assert made.exit_code == 0 and "1,000 tokens from 100 documents" in made.output
    written = CliRunner().invoke(app, ["tokens", "--out", str(out), "--tokenizer", str(tokenizer), *sources, "--json"])
    assert written.exit_code == 0
    manifest = json.loads(written.stdout)
    assert manifest["vocab_size"] == 1000 and manifest["sources"]["web"]["train"]["documents"] > 190
    assert out.stat().st_mode & 0o777 == 0o700
    again = CliRunner().invoke(app, ["tokens", "--out", str(out), "--tokenizer", str(tokenizer), *sources])
    assert again.exit_code == 0 and "clinical notes were written from 20" in again.output


def test_a_wrong_call_says_what_is_missing(tmp_path: Path, token_folder: Path) -> None:
    for arguments, wanted in (
        (["tokens", "--out", str(tmp_path / "o"), "--tokenizer", str(token_folder / "tokenizer.json")], "--clinical"),
        (["convert", "--out", str(tmp_path / "o")], "--checkpoint"),
        (["convert", "--out", str(tmp_path / "o"), "--checkpoint", str(tmp_path)], "--data"),
    ):
        answer = CliRunner().invoke(app, arguments)
        assert answer.exit_code == 2 and wanted in answer.output


def test_the_documents_table_is_of_the_recipes() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d.]+) ([MB]) \| (\d+) \| (\d+) \| ([\d,]+) \|", DOCUMENT.read_text(), re.MULTILINE
    )
    assert [row[0] for row in rows] == ["demo", "100m", "1b", "7b"]
    for name, number, unit, context, batch, steps in rows:
        recipe = load_pretrain_recipe(name)
        model = recipe.model
        weights = multiplied_weights(model, model.vocab_size) + model.vocab_size * model.hidden_size
        digits = len(number.partition(".")[2])
        assert round(weights / {"M": 1e6, "B": 1e9}[unit], digits) == float(number)
        assert (model.max_position_embeddings, recipe.optimization.batch_sequences) == (int(context), int(batch))
        assert recipe.optimization.steps == int(steps.replace(",", ""))


def test_the_documents_figures_are_of_the_recorded_run() -> None:
    recorded = json.loads((DOCUMENT.parents[1] / "bench" / "results" / "pretrain-demo.json").read_text())
    text = DOCUMENT.read_text()
    for measured in recorded["validation"]:
        assert f"| {measured['step']} | {measured['clinical']:.2f} | {measured['web']:.2f} |" in text
    assert f"{recorded['seconds_of_steps']:.0f} seconds, at {recorded['tokens_per_s_per_device']:,.0f} tokens/s" in text
    assert f"{recorded['step']} steps, {recorded['tokens']:,} tokens" in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCUMENT.parent / target).exists(), target
