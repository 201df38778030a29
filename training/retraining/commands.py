"""What `lang1 retrain gate` and `holdout` do: any bundle judged by any holdout, and a holdout without a job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lang1.registry import Registry
from lang1.scorer import Device
from lang1.tasks import BUILT_IN, load_tasks
from training.retraining.bounds import Bounds
from training.retraining.errors import RetrainingError
from training.retraining.gate import GateReport, as_json, judge
from training.retraining.holdout import Holdout, HoldoutManifest
from training.retraining.opening import open_source, trained_until_s
from training.retraining.periods import draw_holdout, find_windows
from training.retraining.spec import RetrainSpec
from training.retraining.writing import write_holdout

Say = Callable[[str], None]


def gate_challenger(
    registry: Registry,
    challenger: str,
    holdout: Holdout,
    bounds: Bounds,
    *,
    actor: str,
    device: Device = "auto",
    say: Say = lambda _: None,
) -> GateReport:
    """Judge a registered bundle by its sha256 against the present champion, and keep the report in the registry, whose
    log says why it was refused or held.

    Raises RegistryError, NotRegisteredError, RetrainingError.
    """
    now = registry.channels().champion
    if now is None:
        raise RetrainingError("the registry has no champion to compare with; set one with lang1 registry champion")
    champion = registry.bundle(now)
    report = judge(
        champion,
        registry.path(challenger),
        challenger,
        holdout,
        bounds,
        registry=champion.registry,
        device=device,
        say=say,
    )
    registry.record_gate(challenger, as_json(report), actor=actor)
    return report


def make_holdout(spec: RetrainSpec, as_of: datetime, out: Path, say: Say = lambda _: None) -> HoldoutManifest:
    """The holdout that a job of this spec and time would draw, at `out`; which patients a challenger has seen is not
    known. Raises TooLittleDataError and the errors of the data's reader."""
    registry = Registry.open(spec.registry)
    champion_sha256 = registry.channels().champion
    if champion_sha256 is None:
        raise RetrainingError("the registry has no champion; set one with lang1 registry champion")
    champion = registry.bundle(champion_sha256)
    asked = champion.registry
    known = BUILT_IN if spec.tasks is None else load_tasks(spec.tasks)
    source = open_source(spec, out.parent, known, asked, say)
    moment = as_of.astimezone(UTC)
    windows, usable, _ = find_windows(
        source.rows, asked, moment.timestamp(), spec.holdout.days, trained_until_s(champion)
    )
    drawn = draw_holdout(source.rows, asked, windows, usable, spec.holdout)
    seen = np.zeros(len(drawn.rows), dtype=np.bool_)
    return write_holdout(
        out, source, asked, drawn, windows, spec.holdout, seen=seen, as_of=moment.isoformat(), seed=spec.seed
    )
