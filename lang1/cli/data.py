"""`lang1 data`: make the data a model is trained on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lang1.cli.data_build import build

if TYPE_CHECKING:
    from training.synth.generate import Manifest

app = typer.Typer(help="Make training data.", no_args_is_help=True)
app.command()(build)


class Preset(StrEnum):
    """`training.synth.presets`."""

    plain = "plain"
    full = "full"


class House(StrEnum):
    """`training.synth.hospitals`."""

    first = "first"
    second = "second"


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder to write: notes, outcomes, events and manifest.")],
    patients: Annotated[int | None, typer.Option(min=1, help="Invented patients. [default: 20000]")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same hospital. [default: 3407]")] = None,
    preset: Annotated[Preset, typer.Option(help="full: notes of 1,000 words, years as in the paper.")] = Preset.plain,
    hospital: Annotated[
        House | None, typer.Option(help="second: other patients and another house's notes. [default: first]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of knobs (docs/synthetic-hospital.md), scenarios among them.")
    ] = None,
    stays_a_day: Annotated[
        float | None, typer.Option(min=0.01, help="In place of --patients: as many as give so many stays a day.")
    ] = None,
    fhir: Annotated[
        bool, typer.Option("--fhir", help="Write a FHIR R4 bulk export, too: OUT/fhir/TYPE.ndjson.")
    ] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Of the export: what is known when this day begins (UTC)."),
    ] = None,
    binaries: Annotated[bool, typer.Option("--binaries", help="Of the export: notes as Binary, not inline.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes. [default: one a processor core]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Write a synthetic hospital: invented patients with notes, labels and the true probability of every outcome.

    Exit code 2 for a wrong knob.
    """
    if patients is not None and stays_a_day is not None:
        raise typer.BadParameter("give either --patients or --stays-a-day")
    if (as_of or binaries) and not fhir:
        raise typer.BadParameter("--as-of and --binaries are for --fhir")
    if config is not None and not config.is_file():
        raise typer.BadParameter(f"{config} is not a file")
    from lang1.cli.cores import usable_cores
    from lang1.cli.progress import progress_bar
    from training.synth.config_file import synth_config
    from training.synth.fhir_export import FhirOptions
    from training.synth.generate import write_dataset
    from training.synth.timeline import with_stays_a_day

    given = {"patients": patients, "seed": seed, "hospital": None if hospital is None else hospital.value}
    stated = {name: value for name, value in given.items() if value is not None}
    chosen = synth_config(preset.value, config, stated, patients=20_000)
    if stays_a_day is not None:
        chosen = with_stays_a_day(chosen, stays_a_day)
    options = FhirOptions(None if as_of is None else as_of.date(), binaries) if fhir else None
    with progress_bar("patients", total=chosen.patients) as advance:
        done = 0

        def show(patients_done: int, _: int) -> None:
            nonlocal done
            advance(patients_done - done)
            done = patients_done

        manifest = write_dataset(chosen, out, progress=show, fhir=options, workers=workers or usable_cores())
    if as_json:
        typer.echo(manifest.model_dump_json(indent=2))
    else:
        _print(manifest, out)


def _print(manifest: Manifest, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from lang1.tasks import BUILT_IN

    counts = Table("split", "task", "labels", "share of each option")
    for split, tasks in manifest.label_counts.items():
        for task, count in tasks.items():
            ratios = zip(BUILT_IN[task].options, manifest.class_ratios[split][task], strict=True)
            counts.add_row(split, task, f"{count:,}", "  ".join(f"{each.code} {ratio:.2%}" for each, ratio in ratios))
    Console().print(counts)
    typer.echo(
        f"{manifest.notes:,} notes ({manifest.mean_words:,.0f} words on average) of {manifest.encounters:,} stays and "
        f"{manifest.patients:,} invented patients written to {out}"
    )
