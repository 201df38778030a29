"""The rules of a new payer policy (`scenarios.PayerPolicy`), in the form of those in `truth`.

Managed plans stop asking for authorization and drop their necessity screen; public payers begin audits of what was
authorized, of observation hours and of contracted sites.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

DENIAL: dict[str, tuple[float, ...]] = {
    "payer": (1.5, 1.4, 0.5, 0.2, 0.2, -0.5),
    "necessity": (0.0, 0.5),
    "network": (0.2, 0.0),
    "bed_status": (0.0, 1.4),
    "severity": (0.0, -0.3, -0.8, -1.2),
    "reason": (0.5, 0.0, -0.2, 0.0, -0.3, -0.1, -0.4, -0.3, 0.5, 0.2, 0.0, 0.0, 0.2, 0.6),
}
AUTHORIZATION = np.array(
    [
        [1.8, 0.4, 0.0, 0.0],
        [2.0, 0.4, 0.0, 0.2],
        [1.6, 0.4, 0.3, 0.9],
        [1.0, 0.4, 0.6, 0.9],
        [1.0, 0.4, 0.6, 0.9],
        [0.0, 0.0, 0.0, 0.0],
    ],
    dtype=np.float32,
)
# Denials rise to about a fourth. A model of the old rules ranks by them no better than chance; its scores do not move.
INTERCEPT, SCALE = -4.0, 1.1


def logit_of(score: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logit of a denial."""
    return np.asarray(INTERCEPT + SCALE * score, dtype=np.float32)
