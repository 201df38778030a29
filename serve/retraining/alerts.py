"""Alertmanager's webhook, version 4: which of its alerts ask for a retrained model.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
Alertmanager repeats, groups and resolves; it adds members over time. What is not read here may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitoring.rules import RETRAIN, alerts
from serve.errors import Problem, ServiceError

MAX_BODY_BYTES: Final = 256 * 1024
MAX_ALERTS: Final = 1000
RETRAINING_ALERTS: Final = frozenset(alert.name for alert in alerts() if alert.remedy == RETRAIN)
_KEPT_LABELS: Final = ("alertname", "task", "signal", "shown", "direction", "model_version")
_KEPT_ALERTS: Final = 50

Label = Annotated[str, Field(max_length=1024)]


class AlertIn(BaseModel):
    """One alert of a notification."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["firing", "resolved"]
    labels: dict[Label, Label] = Field(max_length=64)


class NotificationIn(BaseModel):
    """Body of the webhook. `version` is the format's, and has been 4 since 2015."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    alerts: list[AlertIn] = Field(max_length=MAX_ALERTS)


@dataclass(frozen=True, slots=True)
class Asking:
    """What a notification asks for: the alerts that count, as the labels that are kept, and how many there were."""

    alerts: tuple[Mapping[str, str], ...]
    resolved: int
    of_other_models: int
    others: int

    @property
    def reason(self) -> str:
        """In words: alert, task or signal, direction."""
        words = (
            " ".join(each[name] for name in ("alertname", "task", "signal", "direction") if name in each)
            for each in self.alerts
        )
        return "; ".join(dict.fromkeys(words))


def read_notification(value: object) -> NotificationIn:
    """The webhook's body. Raises ServiceError 422, which Alertmanager does not repeat."""
    try:
        return NotificationIn.model_validate(value)
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
        # A label's name is the sender's words: only places that the model names are repeated.
        known = [str(each) for each in place if isinstance(each, int) or each in _NAMES]
        raise ServiceError(
            Problem(
                422, "value", f"{'.'.join(known) or 'the body'} is not as in Alertmanager's webhook, version 4; "
                "point a webhook_config of Alertmanager here", expression=".".join(known) or None,
            )
        ) from None  # fmt: skip


def asking(found: Sequence[AlertIn], model_version: str) -> Asking:
    """The alerts that ask for a retrained model in the place of `model_version`; others are counted."""
    kept: list[Mapping[str, str]] = []
    resolved = of_other_models = others = 0
    for alert in found:
        labels = alert.labels
        if labels.get("alertname") not in RETRAINING_ALERTS or labels.get("remedy") != RETRAIN:
            others += 1
        elif alert.status == "resolved":
            resolved += 1
        elif labels.get("model_version", model_version) != model_version:
            of_other_models += 1
        else:
            kept.append({name: labels[name][:128] for name in _KEPT_LABELS if name in labels})
    return Asking(tuple(kept[:_KEPT_ALERTS]), resolved, of_other_models, others)


_NAMES: Final = frozenset({*NotificationIn.model_fields, *AlertIn.model_fields})
