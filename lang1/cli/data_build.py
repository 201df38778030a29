"""`lang1 data build`: a hospital's record, as tables or as FHIR, or MIMIC-III, to notes with labels."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from training.sources.dataset import DatasetManifest
    from training.sources.fhir_source import FhirSource


def build(
    out: Annotated[Path, typer.Option(help="Folder to write: notes.parquet, labels and manifest.json.")],
    mimic3: Annotated[Path | None, typer.Option(help="Folder of MIMIC-III v1.4 as PhysioNet ships it.")] = None,
    tables: Annotated[Path | None, typer.Option(help="YAML file that maps a CSV or Parquet export.")] = None,
    fhir: Annotated[
        Path | None,
        typer.Option(help="Folder of a FHIR R4 bulk export: *.ndjson with Encounter, DocumentReference, …"),
    ] = None,
    fhir_config: Annotated[
        Path | None, typer.Option(help="YAML file for --fhir: observed_until, timezone, outcomes, splits.")
    ] = None,
    observed_until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="For --fhir: the last day that the export covers whole."),
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="YAML file with tasks besides the built-in ones.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the MIMIC-III splits; an export has its own.")] = None,
    keep_deaths: Annotated[
        bool, typer.Option(help="MIMIC-III readmission: a stay that ended in death is negative, not left out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Read a hospital's record into notes with labels and splits, and count what was dropped and why.

    Exit code 1 when the record cannot be used, 2 when the call or the mapping file is wrong.
    """
    if sum(each is not None for each in (mimic3, tables, fhir)) != 1:
        raise typer.BadParameter("give one of --tables MAPPING.yaml, --fhir FOLDER and --mimic3 FOLDER")
    if fhir is None and (fhir_config is not None or observed_until is not None):
        raise typer.BadParameter("--fhir-config and --observed-until are for --fhir")
    if fhir is not None and (fhir_config is None) == (observed_until is None):
        raise typer.BadParameter("--fhir needs --observed-until DAY, or --fhir-config FILE which names it")
    if mimic3 is None and (seed is not None or keep_deaths):
        raise typer.BadParameter(
            "--seed and --keep-deaths are for --mimic3; the file of the others has splits and rules"
        )
    for folder in filter(None, (mimic3, fhir)):
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is not a folder")
    for file in filter(None, (tables, fhir_config)):
        if not file.is_file():
            raise typer.BadParameter(f"{file} does not exist")
    from lang1.cli.progress import progress_bar
    from lang1.tasks import BUILT_IN, load_tasks
    from training.sources.dataset import write_source
    from training.sources.fhir_ndjson import fhir_bytes, read_fhir
    from training.sources.mapping import load_mapping
    from training.sources.mimic3 import mimic3_bytes, mimic3_policy, mimic3_splits, read_mimic3
    from training.sources.tables import input_bytes, policy_of, read_tables

    registry = BUILT_IN if tasks is None else load_tasks(tasks)
    if tables is not None:
        mapping = load_mapping(tables)
        with progress_bar("bytes", total=input_bytes(mapping, tables.parent)) as advance:
            source = read_tables(mapping, tables.parent, registry, advance)
            manifest = write_source(source, out, policy_of(mapping), mapping.splits, registry, advance)
    elif fhir is not None:
        how = _fhir_source(fhir_config, observed_until)
        with progress_bar("bytes", total=fhir_bytes(fhir)) as advance:
            source = read_fhir(fhir, how, registry, advance)
            manifest = write_source(source, out, how.policy(), how.splits, registry, advance)
    else:
        assert mimic3 is not None
        deaths: Literal["leave-out", "negative"] = "negative" if keep_deaths else "leave-out"
        splits = mimic3_splits(registry) if seed is None else mimic3_splits(registry, seed)
        with progress_bar("bytes", total=mimic3_bytes(mimic3)) as advance:
            source = read_mimic3(mimic3, advance)
            manifest = write_source(source, out, mimic3_policy(deaths), splits, registry, advance)
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
    else:
        _print_tables(manifest, out)


def _fhir_source(config: Path | None, observed_until: datetime | None) -> FhirSource:
    from training.sources.fhir_source import FhirSource, load_fhir_source

    if config is not None:
        return load_fhir_source(config)
    assert observed_until is not None
    return FhirSource(observed_until=observed_until.date())


def _print_tables(manifest: DatasetManifest, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    counts = Table("split", "task", "labels", "share of each option")
    for split, tasks in manifest.label_counts.items():
        for task, count in tasks.items():
            if count:
                ratios = zip(manifest.tasks[task], manifest.class_ratios[split][task], strict=True)
                counts.add_row(split, task, f"{count:,}", "  ".join(f"{code} {ratio:.2%}" for code, ratio in ratios))
    console.print(counts)
    reasons = Table("task", "notes without its label", "count")
    for task, missing in manifest.missing.items():
        for reason, count in missing.items():
            reasons.add_row(task, reason, f"{count:,}")
    if reasons.row_count:
        console.print(reasons)
    drops = Table("table", "records left out", "count")
    for table, dropped in manifest.dropped.items():
        for reason, count in dropped.items():
            drops.add_row(table, reason, f"{count:,}")
    if drops.row_count:
        console.print(drops)
    typer.echo(
        f"{manifest.notes:,} notes of {manifest.encounters:,} stays and {manifest.patients:,} patients written to {out}"
    )
