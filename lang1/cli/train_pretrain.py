"""`lang1 train web-text|tokenizer|tokens|pretrain|convert`: from text to a pretrained model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.pretraining.clinical import ClinicalSource
    from training.pretraining.shards import TokensManifest
    from training.pretraining.web import WebSource

Clinical = Annotated[
    list[Path] | None,
    typer.Option(help="Dataset folder of `lang1 data`: its train split's notes. Repeatable.", show_default=False),
]
Notes = Annotated[
    list[Path] | None,
    typer.Option(
        help="JSON lines of further notes (text, authored, note_id, patient_id). Repeatable.", show_default=False
    ),
]
Web = Annotated[
    list[Path] | None,
    typer.Option(
        help="Text or JSON lines (text), plain, .gz or .zst, or a folder of them. Repeatable.", show_default=False
    ),
]


class Form(StrEnum):
    """A checkpoint's form."""

    HF = "hf"
    LITGPT = "litgpt"


class Kind(StrEnum):
    """A tokenizer's kind."""

    BYTE_LEVEL = "byte-level"
    SENTENCEPIECE = "sentencepiece"


def web_text(out: Annotated[Path, typer.Option(help="File to write (.jsonl).")]) -> None:
    """Gather English text of this Debian machine: manual pages, documentation, licences. For where there is no web."""
    from lang1.cli.progress import progress_bar
    from training.pretraining.debian_text import gather

    with progress_bar("files", total=None) as advance:
        documents, characters = gather(out, advance=advance)
    typer.echo(f"{documents:,} documents, {characters:,} characters written to {out}")


def tokenizer(
    out: Annotated[Path, typer.Option(help="tokenizer.json to write.")],
    vocab_size: Annotated[int, typer.Option(min=600, help="Tokens, control tokens and bytes with them.")] = 32_000,
    kind: Annotated[
        Kind, typer.Option(help="Byte-level BPE, or BPE in SentencePiece's form (Llama-2's).")
    ] = Kind.BYTE_LEVEL,
    clinical: Clinical = None,
    notes: Notes = None,
    web: Web = None,
    documents: Annotated[int, typer.Option(min=1, help="Documents of each source, at most.")] = 200_000,
) -> None:
    """Train a tokenizer on the sources. To bring one (Llama-2's), give its tokenizer.json to `lang1 train tokens`."""
    from itertools import islice

    from lang1.tasks import BUILT_IN
    from training.pretraining.tokens import load_tokenizer
    from training.tokenizer import BOS_TOKEN, EOS_TOKEN, train_tokenizer

    sources = [source for source in _sources(clinical, notes, web) if source is not None]
    texts = [text for source in sources for text, _ in islice(source.documents(), documents)]
    # A question must cost few tokens: it is read with every note.
    questions = [task.suffix(loinc) for task in BUILT_IN.values() for loinc in (*task.note_types, None)]
    made = train_tokenizer([*texts, *questions * max(1, len(texts) // 50)], vocab_size, kind.value)
    made.save(str(out))
    load_tokenizer(out, BOS_TOKEN, EOS_TOKEN)
    typer.echo(f"{made.get_vocab_size():,} tokens from {len(texts):,} documents written to {out}")


def tokens(
    out: Annotated[Path, typer.Option(help="Folder to write: token shards, tokenizer.json, manifest.json.")],
    tokenizer: Annotated[
        Path, typer.Option(help="tokenizer.json, trained here or brought.", exists=True, dir_okay=False)
    ],
    clinical: Clinical = None,
    notes: Notes = None,
    web: Web = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0, max=0.5, help="Held out, by patient or document.")
    ] = 0.001,
    seed: Annotated[int, typer.Option(min=0)] = 3407,
    bos: Annotated[str, typer.Option(help="The tokenizer's start of a document.")] = "<s>",
    eos: Annotated[str, typer.Option(help="Its end of a document.")] = "</s>",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Tokenise the two sources once, leaving out every note that a dataset folder holds for validation or a test."""
    from lang1.cli.progress import progress_bar
    from training.pretraining.tokens import build_tokens

    notes_source, web_source = _sources(clinical, notes, web)
    with progress_bar("characters", total=None) as advance:
        manifest = build_tokens(
            out, tokenizer, notes_source, web_source, validation_fraction=validation_fraction, seed=seed, bos_token=bos,
            eos_token=eos, advance=advance,
        )  # fmt: skip
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
    else:
        _print(manifest, out)


def pretrain(
    recipe: Annotated[str, typer.Option(help="demo, 100m, 1b, 7b, or a YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder of `lang1 train tokens`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run. The same command goes on with what it holds.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes, one a GPU. They may change from start to start.")] = 1,
    gpu: Annotated[bool | None, typer.Option("--gpu/--cpu", show_default="GPU if torch sees one")] = None,
    probe: Annotated[
        Path | None, typer.Option(help="Dataset folder whose validation notes the recipe's evaluation asks about.")
    ] = None,
    sciq: Annotated[Path | None, typer.Option(help="SciQ's test.json, to ask as well.", exists=True)] = None,
    pubmedqa: Annotated[
        Path | None, typer.Option(help="PubMedQA's ori_pqal.json, to ask as well.", exists=True)
    ] = None,
    address: Annotated[
        str, typer.Option(help="`local` starts a Ray here; `auto` or an address joins a cluster.")
    ] = "local",
    check_hashes: Annotated[bool, typer.Option(help="Read all shards and compare hashes first.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Next-token training on Ray Train with FSDP, and the result in Hugging Face format in OUT/model.

    A worker that dies is replaced, and a run that was stopped goes on, from the last checkpoint, on the same data
    and with the same losses. Progress is in OUT/metrics.jsonl and OUT/events.jsonl.
    """
    import json

    from training.pretraining.recipe import load_pretrain_recipe
    from training.pretraining.run import pretrain as run

    chosen = load_pretrain_recipe(recipe)
    given = {"notes": probe, "sciq": sciq, "pubmedqa": pubmedqa}
    outcome = run(
        chosen, data, out, workers=workers, gpu=_sees_gpu() if gpu is None else gpu, address=address,
        asked_of={name: path for name, path in given.items() if path is not None},
        check_hashes=check_hashes, say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(outcome, indent=2))
    else:
        why = f", because of {outcome['stopped']}" if outcome["stopped"] else ""
        typer.echo(f"{outcome['step']:,} steps, {outcome['tokens']:,} tokens{why}; the model is in {out / 'model'}")


def convert(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A folder of OUT/checkpoints of a run.", show_default=False)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The run's tokens.", show_default=False)] = None,
    model: Annotated[
        Path | None, typer.Option(help="A Hugging Face or LitGPT folder instead.", show_default=False)
    ] = None,
    to: Annotated[Form, typer.Option(help="Hugging Face's form, or LitGPT's names in safetensors.")] = Form.HF,
) -> None:
    """A checkpoint of a run, or a model folder, in the other form. Safetensors in, safetensors out."""
    from training.pretraining.run import RUN_FILE, convert_checkpoint, convert_folder
    from training.pretraining.shards import open_tokens

    if (checkpoint is None) == (model is None):
        raise typer.BadParameter("give either --checkpoint (with --data) or --model")
    if checkpoint is not None:
        if data is None:
            raise typer.BadParameter("--checkpoint needs the run's tokens: --data FOLDER")
        convert_checkpoint(checkpoint, checkpoint.resolve().parents[1] / RUN_FILE, open_tokens(data), out, to.value)
    else:
        assert model is not None
        convert_folder(model, out, to.value)
    typer.echo(f"written to {out} in {to.value} form")


def _sources(
    clinical: list[Path] | None, notes: list[Path] | None, web: list[Path] | None
) -> tuple[ClinicalSource | None, WebSource | None]:
    from training.pretraining.clinical import ClinicalSource
    from training.pretraining.web import WebSource

    if not (clinical or notes or web):
        raise typer.BadParameter("give at least one of --clinical, --notes and --web")
    source = ClinicalSource(clinical or [], notes or []) if clinical or notes else None
    return source, WebSource(web) if web else None


def _sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _print(manifest: TokensManifest, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    counts = Table("source", "split", "documents", "tokens")
    for source, splits in manifest.sources.items():
        for split, written in splits.items():
            counts.add_row(source, split, f"{written.documents:,}", f"{written.tokens:,}")
    console.print(counts)
    drops = Table("source", "documents left out", "count")
    for name, dropped in manifest.dropped.items():
        for reason, count in dropped.items():
            drops.add_row(name, reason, f"{count:,}")
    if drops.row_count:
        console.print(drops)
    if manifest.clinical_window is not None:
        typer.echo(f"clinical notes were written from {' to '.join(manifest.clinical_window)}")
    typer.echo(f"tokens written to {out}")
