"""Whether scorers are running, as Ray Serve's controller sees it."""

from __future__ import annotations

from ray import serve as ray_serve

from serve.app_names import SCORER


def is_scorer_alive(application: str) -> bool:
    """Whether Ray counts a scorer replica as running. Asks the controller: only for a call that came to nothing."""
    try:
        states = ray_serve.status().applications[application].deployments[SCORER].replica_states
        # Typed as an enum, found to be its plain value.
        return any(str(getattr(state, "value", state)) == "RUNNING" and count for state, count in states.items())
    except Exception:
        return False
