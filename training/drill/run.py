"""A drill, start to end: play the weeks, judge, retrain when an alarm says so, roll out, and tell it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lang1.registry import Registry
from monitoring.replay import Alarm
from training.drill.champions import Champions
from training.drill.hospital import Stays, draw_stays, write_notes
from training.drill.live import LiveService, live_service
from training.drill.outcome import promises
from training.drill.plan import DrillPlan
from training.drill.retraining import drill_spec, gates_of, retrain
from training.drill.rollout import Rollout
from training.drill.story import DENIAL, Drill, Event
from training.drill.watch import end_of_week_s
from training.retraining.report import Outcome

Say = Callable[[str], None]
ACTOR = "drill"
STARTS_A_JOB = ("calibration", "quality")
"""Kinds of alarm that ask for a retraining. Drift alone does not: a new template moves scores and harms none."""


@dataclass
class Clock:
    """Where the time of the machine goes, by part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def run_drill(plan: DrillPlan, champion: Path, work: Path, say: Say) -> Drill:
    """Play the plan in the empty folder `work`, beginning with the bundle `champion`.

    Raises DrillError, RetrainingError and what the service's start raises.
    """
    began, clock = time.monotonic(), Clock()
    config = plan.hospital()
    with clock.part("the hospital's stays"):
        stays = draw_stays(config)
    with clock.part("the watched notes"):
        watched = write_notes(config, stays, stays.of_some_patients(plan.watched_a_day / plan.stays_a_day))
    say(f"hospital: {len(stays):,} stays; {len(watched.notes):,} notes of some {plan.watched_a_day:g} stays a day")
    registry = Registry.create(work / "registry", actor=ACTOR)
    first = registry.add(champion, actor=ACTOR, reason="the champion that the drill begins with")
    registry.set_champion(first, actor=ACTOR, reason="the champion that the drill begins with")
    champions = Champions(watched)
    with live_service(work, work / "registry") as service:
        clock.seconds["the service's start"] = time.monotonic() - began - sum(clock.seconds.values())
        say(f"service: ready on {service.url}, serving from the registry")
        played = _Play(plan, work, stays, registry, champions, service, clock, say)
        played.weeks()
        latency = np.array(service.seconds) * 1000
    clock.seconds["whole"] = time.monotonic() - began
    states = {watch.version: watch.state for watch in champions.watches if watch.state is not None}
    truth = champions.truth(played.crowned)
    return Drill(
        plan=plan.model_dump(mode="json"),
        machine={"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(),
                 "torch": torch.__version__},
        seconds={name: round(value, 1) for name, value in clock.seconds.items()},
        stays=len(stays),
        notes_scored=played.scored,
        events=tuple(sorted(played.events, key=lambda event: event.day)),
        live=tuple(played.rollout.stages()),
        live_latency_ms={f"p{q}": round(float(np.percentile(latency, q)), 1) for q in (50, 95)} if len(latency) else {},
        truth=truth,
        watched=states,
        gates=tuple(played.gates),
        outcome=promises(plan, played.events, states, played.rollout.stages(), truth, played.crowned),
    )  # fmt: skip


class _Play:
    """The weeks of one drill."""

    def __init__(
        self, plan: DrillPlan, work: Path, stays: Stays, registry: Registry, champions: Champions,
        service: LiveService, clock: Clock, say: Say,
    ) -> None:  # fmt: skip
        self._plan, self._stays, self._registry, self._clock, self._say = plan, stays, registry, clock, say
        self._champions, self._config, self._spec = champions, plan.hospital(), drill_spec(work)
        self.rollout = Rollout(registry, service, champions, plan)
        self.scored = 0
        self.gates: list[dict[str, Any]] = []
        self.crowned: list[tuple[str, date]] = []
        self._due: tuple[date, str] | None = None
        self._jobs_without = 0
        self.events = [
            Event(day=plan.template_day, kind="change", text="a new note template comes into use", mark="template"),
            Event(day=plan.policy_day, kind="change", mark="payers",
                  text="payers judge by new rules; notes stay as they are"),
        ]  # fmt: skip

    def weeks(self) -> None:
        """Play them all."""
        mondays = self._plan.mondays()
        self._crown(mondays[0])
        for monday in mondays:
            with self._clock.part("scoring in bulk"):
                self.scored += self._champions.score_until(monday, mondays[-1])
            with self._clock.part("the live sample over HTTP"):
                self.rollout.post_sample(monday)
            with self._clock.part("the monitors"):
                alarms = self._champions.judge(monday)
            after = monday + timedelta(days=7)
            for version, alarm in alarms:
                self._alarm(after, version, alarm)
            for event in self.rollout.move(after):
                self._tell(event)
                if event.mark == "promoted":
                    self._crown(after)
            if self._due is not None and self._due[0] <= after and not self.rollout.under_way:
                self._retrain(after)

    def _crown(self, monday: date) -> None:
        champion = self._registry.channels().champion
        assert champion is not None
        self._champions.crown(self._registry.path(champion), monday)
        self.crowned.append((self._champions.watches[-1].version, monday))

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._say(f"{event.day}  {event.kind}: {event.text}")

    def _alarm(self, day: date, version: str, alarm: Alarm) -> None:
        marked = alarm.signal.startswith(DENIAL) and alarm.kind == "calibration"
        text = f"{alarm.kind}, {version}: {alarm.signal}: {alarm.detail}"
        self._tell(Event(day=day, kind="alarm", text=text, mark="calibration alarm" if marked else None))
        current = version == self._champions.watches[-1].version
        if alarm.kind in STARTS_A_JOB and current and self._due is None and not self.rollout.under_way:
            due = day + timedelta(weeks=self._plan.wait_weeks)
            self._due = due, f"{alarm.kind} alarm: {alarm.signal}"
            why = f"asked for by the {alarm.kind} alarm on {alarm.signal}; due {due}, when labels of now are mature"
            self._tell(Event(day=day, kind="retraining", text=why))

    def _retrain(self, day: date) -> None:
        assert self._due is not None
        reason, self._due = self._due[1], None
        as_of_s = end_of_week_s(day - timedelta(days=7))
        with self._clock.part("retraining and the gate"):
            report = retrain(self._spec, self._config, self._stays, as_of_s, reason,
                             lambda line: self._say(f"    {line}"))  # fmt: skip
        self.gates += gates_of(self._registry, report, str(day))
        tried = ", ".join(f"{each.kind}: {each.gate or 'not enough'}" for each in report.tried)
        passed = report.outcome is Outcome.SHADOW
        self._tell(Event(day=day, kind="gate", text=f"{report.outcome.value} ({tried or '; '.join(report.reasons)})",
                         mark="gate passed" if passed else "gate"))  # fmt: skip
        if passed:
            assert report.challenger is not None
            self.rollout.begin(report.challenger, day)
            return
        self._jobs_without += 1
        if self._jobs_without < self._plan.most_jobs:
            self._due = day + timedelta(weeks=self._plan.cool_down_weeks), reason
