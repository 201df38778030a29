"""`lang1 data`: make the data a model is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lang1.cli.data_build import build

app = typer.Typer(help="Make training data.", no_args_is_help=True)
app.command()(build)


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder to write: notes.parquet and manifest.json.")],
    patients: Annotated[int, typer.Option(min=1, help="Invented patients.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same hospital.")] = 3407,
) -> None:
    """Write a synthetic hospital: invented patients with notes, labels and the true probability of every outcome."""
    from lang1.cli.progress import progress_bar
    from training.synth.config import SynthConfig
    from training.synth.generate import write_dataset

    with progress_bar("patients", total=patients) as advance:
        done = 0

        def show(patients_done: int, _: int) -> None:
            nonlocal done
            advance(patients_done - done)
            done = patients_done

        manifest = write_dataset(SynthConfig(patients=patients, seed=seed), out, progress=show)
    typer.echo(f"{manifest.notes:,} notes of {patients:,} invented patients written to {out}")
