"""Shapes of the routes of models and rollouts."""

from __future__ import annotations

from typing import Final

from serve.openapi.shapes import COUNT, FILLED, FLAG, TEXT, TIME, Schema, answered, many, matching, named, one_of

_HASH: Final = matching("[0-9a-f]{64}")
_MAYBE_HASH: Final[Schema] = {"anyOf": [_HASH, {"type": "null"}]}
_MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
_CHANNEL: Final = one_of("champion", "challenger", "previous")


def rollout_shapes() -> dict[str, Schema]:
    """Components by name."""
    channels = answered(
        ("revision", "champion", "challenger", "previous", "stage", "share", "since", "rollout_id"),
        revision=COUNT, champion=_MAYBE_HASH, challenger=_MAYBE_HASH, previous=_MAYBE_HASH,
        stage={"enum": ["shadow", "canary", None]}, share={"type": "integer", "minimum": 0, "maximum": 100},
        since=TIME, rollout_id=_MAYBE_TEXT,
    )  # fmt: skip
    line = answered(
        ("at", "actor", "action", "bundle", "reason", "evidence", "previous"),
        at=TIME, actor=FILLED, action=FILLED, bundle=_MAYBE_HASH, reason=FILLED, evidence={"type": "object"},
        previous=_HASH,
    )  # fmt: skip
    model = answered(
        ("name", "version", "bundle_sha256", "demo", "channels"),
        name=FILLED, version=FILLED, bundle_sha256=FILLED, demo=FLAG, channels=many(_CHANNEL), created=TEXT, added=TIME,
        added_by=FILLED, gate={"enum": ["pass", "fail", "hold", None]},
    )  # fmt: skip
    return {
        "Channels": channels,
        "Models": answered(("models",), models=many(model)),
        "Rollout": answered(
            ("channels", "canary_steps", "approval", "loaded", "guard", "log"),
            channels=named("Channels"), canary_steps=many(COUNT, 1),
            approval=answered(("needed", "by"), needed=FLAG, by=_MAYBE_TEXT),
            loaded=answered(("champion", "challenger"), champion=FILLED, challenger=_MAYBE_HASH),
            guard={"type": "object"}, log=many(line),
        ),
        "RolloutMoved": answered(("channels",), channels=named("Channels")),
    }  # fmt: skip
