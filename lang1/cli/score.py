"""`lang1 score FILE...`: notes from files to risks, without a server and without storing anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lang1 import DEMO_BUNDLE
from lang1.note_types import NOTE_TYPES

if TYPE_CHECKING:
    from fhir_adapters.document_reference import NotePolicy
    from fhir_adapters.note_files import NoteFileItem
    from lang1.notes import ClinicalNote
    from lang1.prompt import PackedPrompt
    from lang1.scorer import PackedScorer
    from lang1.scores import RiskScores

BATCH_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one note: scores, or the reason there are none."""

    source: str
    note_id: str | None
    scores: RiskScores | None = None
    error_code: str | None = None
    error: str | None = None


def score(
    files: Annotated[
        list[Path], typer.Argument(help="FHIR JSON, NDJSON, .txt, or folders of them.", metavar="FILE...")
    ],
    bundle: Annotated[Path, typer.Option(help="Model bundle.", show_default="the demo bundle")] = DEMO_BUNDLE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a note on standard output.")] = False,
    note_type: Annotated[str | None, typer.Option(help="LOINC type of .txt notes, e.g. 18842-5 or 34117-2.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Score this task only; may be repeated.")] = None,
    include_superseded: Annotated[bool, typer.Option(help="Score notes with status superseded.")] = False,
    include_preliminary: Annotated[bool, typer.Option(help="Score notes with docStatus preliminary.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Score notes from files. A note that cannot be scored is reported with its reason and the rest goes on.

    Exit code 0 when at least one note was scored, 1 when none was.
    """
    if device not in {"auto", "cpu", "cuda"} or dtype not in {"auto", "float32", "bfloat16"}:
        raise typer.BadParameter("device is auto, cpu or cuda; dtype is auto, float32 or bfloat16")
    if note_type is not None and not re.fullmatch(r"\d{1,7}-\d", note_type):
        known = ", ".join(f"{each.loinc} {each.display}" for each in NOTE_TYPES.values())
        raise typer.BadParameter(f"note-type is a LOINC code: {known}")
    for path in files:
        if not path.exists():
            raise typer.BadParameter(f"{path} does not exist")
    from fhir_adapters.document_reference import NotePolicy
    from fhir_adapters.note_files import read_note_files
    from lang1.cli.progress import progress_bar
    from lang1.errors import UnknownTaskError
    from lang1.scorer import PackedScorer

    scorer = PackedScorer.load(bundle, device=_literal(device), dtype=_literal(dtype))
    try:
        scorer.registry.select(task)
    except UnknownTaskError as error:
        raise typer.BadParameter(str(error)) from None
    policy = NotePolicy(include_superseded=include_superseded, include_preliminary=include_preliminary)
    items = (item for path in files for item in read_note_files(path, note_type=note_type))
    outcomes: list[Outcome] = []
    with progress_bar("notes", total=None) as advance:
        for outcome in _outcomes(items, scorer, policy, task):
            advance(1)
            if as_json:
                typer.echo(json.dumps(_as_json(outcome)))
            outcomes.append(outcome)
    if not as_json:
        _print_tables(outcomes, scorer)
    scored = sum(outcome.scores is not None for outcome in outcomes)
    typer.echo(f"{len(outcomes)} notes: {scored} scored, {len(outcomes) - scored} refused", err=True)
    if not scored:
        raise typer.Exit(1)


def _literal(value: str) -> Any:
    return value


def _outcomes(
    items: Iterable[NoteFileItem], scorer: PackedScorer, policy: NotePolicy, tasks: list[str] | None
) -> Iterator[Outcome]:
    """Every item's outcome, in order; notes are scored together up to BATCH_TOKENS tokens."""
    waiting: list[tuple[str, str, PackedPrompt] | Outcome] = []
    tokens = 0
    for item in items:
        entry = _prepare(item, scorer, policy, tasks)
        waiting.append(entry)
        if not isinstance(entry, Outcome):
            tokens += entry[2].total_tokens
        if tokens >= BATCH_TOKENS:
            yield from _flush(waiting, scorer)
            waiting, tokens = [], 0
    yield from _flush(waiting, scorer)


def _flush(waiting: list[tuple[str, str, PackedPrompt] | Outcome], scorer: PackedScorer) -> Iterator[Outcome]:
    from lang1.errors import ScoringError

    prompts = [entry[2] for entry in waiting if not isinstance(entry, Outcome)]
    try:
        results = iter(scorer.score(prompts))
    except ScoringError:
        # One note must not take the others of its pass with it.
        yield from (entry if isinstance(entry, Outcome) else _score_alone(entry, scorer) for entry in waiting)
        return
    for entry in waiting:
        yield entry if isinstance(entry, Outcome) else Outcome(entry[0], entry[1], scores=next(results))


def _score_alone(entry: tuple[str, str, PackedPrompt], scorer: PackedScorer) -> Outcome:
    from lang1.errors import ScoringError

    try:
        return Outcome(entry[0], entry[1], scores=scorer.score([entry[2]])[0])
    except ScoringError as error:
        return Outcome(entry[0], entry[1], error_code=error.code, error=str(error))


def _prepare(
    item: NoteFileItem, scorer: PackedScorer, policy: NotePolicy, tasks: list[str] | None
) -> tuple[str, str, PackedPrompt] | Outcome:
    from fhir_adapters.errors import FhirInputError
    from fhir_adapters.parameters import parse_score_request

    where = f"{item.source}:{item.index + 1}"
    note_id: str | None = None
    try:
        if item.error is not None:
            raise item.error
        if item.resource is not None:
            request = parse_score_request(item.resource, scorer.registry)
            note_id = request.document.document_id
            asked = tasks or [task.name for task in request.tasks]
            note = _note(request, policy)
        else:
            asked = tasks or list(scorer.registry)
            note = _plain_note(item, where)
        return where, note.note_id, scorer.prepare(note, asked)
    except FhirInputError as error:
        return Outcome(where, note_id, error_code=error.code, error=str(error))


def _note(request: Any, policy: NotePolicy) -> ClinicalNote:
    from fhir_adapters.document_note import document_to_note

    return document_to_note(request.document, policy=request.policy(policy)).note


def _plain_note(item: NoteFileItem, where: str) -> ClinicalNote:
    from fhir_adapters.errors import from_lang1_error
    from lang1.errors import NoteError
    from lang1.notes import ClinicalNote, check_scorable, clean_text

    text = clean_text(item.text or "")
    try:
        check_scorable(text)
    except NoteError as error:
        raise from_lang1_error(error) from None
    return ClinicalNote(where, text, item.note_type)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    head = {"source": outcome.source, "id": outcome.note_id}
    if outcome.scores is None:
        return head | {"error": {"code": outcome.error_code, "detail": outcome.error}}
    scores = outcome.scores
    return head | {
        "model": {
            "name": scores.model.name,
            "version": scores.model.version,
            "bundle_sha256": scores.model.bundle_sha256,
            "demo": scores.model.demo,
        },
        "truncated": scores.truncated,
        "dropped_tokens": scores.dropped_tokens,
        "risks": [
            {
                "task": risk.task,
                "probabilities": [round(p, 6) for p in risk.probabilities],
                "adverse_probability": round(risk.adverse_probability, 6),
                "risk_level": risk.risk_level.value,
                "note_type_match": risk.note_type_match,
            }
            for risk in scores.risks
        ],
    }


def _print_tables(outcomes: list[Outcome], scorer: PackedScorer) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    scored = [outcome for outcome in outcomes if outcome.scores is not None]
    refused = [outcome for outcome in outcomes if outcome.scores is None]
    if scored:
        names = [task.title for task in scorer.registry.values()]
        table = Table(
            "note", *names, "cut", title=_title(scorer), caption="probability and level; (m) not trained on this type"
        )
        for outcome in scored:
            assert outcome.scores is not None
            cells = {risk.task: risk for risk in outcome.scores.risks}
            row = [_cell(cells.get(name)) for name in scorer.registry]
            table.add_row(escape(outcome.note_id or outcome.source), *row, str(outcome.scores.dropped_tokens or ""))
        console.print(table)
    if refused:
        table = Table("refused note", "code", "reason")
        for outcome in refused:
            line = (outcome.note_id or outcome.source, outcome.error_code or "", outcome.error or "")
            table.add_row(*(escape(cell) for cell in line))
        console.print(table)


def _title(scorer: PackedScorer) -> str:
    mark = " - demonstration model, never for care" if scorer.identity.demo else ""
    return f"{scorer.identity.name} {scorer.identity.version}{mark}"


_STYLE: dict[str, Literal["green", "yellow", "red"]] = {"low": "green", "moderate": "yellow", "high": "red"}


def _cell(risk: Any) -> str:
    if risk is None:
        return ""
    level = risk.risk_level.value
    mark = "" if risk.note_type_match else " (m)"
    return f"[{_STYLE[level]}]{risk.adverse_probability:.1%} {level}[/]{mark}"
