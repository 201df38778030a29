"""Find the numbers of `eras`: `python -m training.synth.calibrate_eras`. Prints them; copy them there.

Class ratios are the paper's of training, 2021 and 2024 (Tables B3 to B7), in the hospital of the preset `full`, a year
of each era at a time. First the conditions, whose frequencies make the Charlson classes; then the logits of the other
outcomes on the stays that come of it. Draws are the same for every trial, so that differences are not noise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import optimize

from training.synth import eras, hospitals, patients, truth
from training.synth.config import SynthConfig
from training.synth.eras import Era
from training.synth.patients import Encounters
from training.synth.presets import PRESETS

Ratios = tuple[float, ...]
# By era: a year of it; readmission, mortality, denial, length of stay, Charlson. Denial has its own periods there.
TARGETS: tuple[tuple[int, float, float, float, Ratios, Ratios], ...] = (
    (2018, 0.1085, 0.0188, 0.1222, (0.4173, 0.1766, 0.1659, 0.2402), (0.6947, 0.2248, 0.0543, 0.0253, 0.0009)),
    (2022, 0.1115, 0.0193, 0.1201, (0.4186, 0.1532, 0.1648, 0.2634), (0.6858, 0.2283, 0.0592, 0.0258, 0.0009)),
    (2024, 0.1129, 0.0178, 0.1390, (0.4564, 0.1445, 0.1598, 0.2393), (0.6840, 0.2174, 0.0675, 0.0294, 0.0017)),
)
PATIENTS = 450_000


def _root(miss: object, low: float = -4.0, high: float = 4.0) -> float:
    return float(optimize.brentq(miss, low, high, xtol=1e-6))  # type: ignore[no-untyped-call]


def _stays(year: int) -> Encounters:
    """The stays of a year under the present ERAS."""
    hospitals.mix_of_era.cache_clear()
    knobs = PRESETS["full"] | {"temporal_years": (), "held_out": (), "chunk_patients": 50_000}
    config = SynthConfig(patients=PATIENTS, **knobs | {"first_year": year, "last_year": year})
    return patients.concatenate([patients.draw_chunk(config, number) for number in range(PATIENTS // 50_000)])


def _charlson(stays: Encounters) -> npt.NDArray[np.float64]:
    return np.bincount(truth.charlson_class(stays.cci), minlength=5) / len(stays)


def _conditions(number: int, year: int, target: Ratios) -> tuple[float, float, float]:
    """The conditions' log-weights that come nearest to the Charlson ratios, in units of what is tolerated."""
    wanted = np.asarray(target)
    tolerated = np.where(wanted >= 0.05, 0.01, 0.2 * wanted)

    def miss(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        eras.ERAS[number] = dataclasses.replace(eras.ERAS[number], conditions=tuple((x - 1).tolist()))
        return np.asarray((_charlson(_stays(year)) - wanted) / tolerated)

    # Around 1, because steps are relative; large, because classes are counted.
    fit = optimize.least_squares(miss, np.ones(3), diff_step=0.1, max_nfev=5)  # type: ignore[operator]
    light, medium, heavy = (round(float(each) - 1, 4) for each in fit.x)
    return light, medium, heavy


def _logits(era: Era, stays: Encounters, target: tuple[int, float, float, float, Ratios, Ratios]) -> Era:
    columns = stays.population.columns()
    c = truth.CONSTANTS
    readmission = c.readmission_intercept + c.readmission_scale * truth.linear_score(truth.READMISSION, columns)[:, 0]
    mortality = c.mortality_intercept + c.mortality_scale * truth.linear_score(truth.MORTALITY, columns)[:, 0]
    denial = c.denial_intercept + c.denial_scale * truth.denial_score(columns)[:, 0]
    score = truth.linear_score(truth.LENGTH_OF_STAY, columns)[:, 0]
    m = _root(lambda b: float(truth.sigmoid(mortality + b).mean()) - target[2])
    dies = truth.sigmoid(mortality + m)
    lives = 1 - dies
    # Of readmission only those who left alive have a label.
    r = _root(lambda b: float((truth.sigmoid(readmission + b) * lives).sum() / lives.sum()) - target[1])
    d = _root(lambda b: float(truth.sigmoid(denial + b).mean()) - target[3])
    steps = []
    for upper, cut in enumerate(c.los_cuts, start=1):
        logit, at_death = c.los_scale * (score - cut), float(truth.LOS_GIVEN_DEATH[upper:].sum())

        def miss(b: float, logit: truth.Floats = logit, at_death: float = at_death, upper: int = upper) -> float:
            return float((lives * truth.sigmoid(logit + b) + dies * at_death).mean()) - sum(target[4][upper:])

        steps.append(round(_root(miss), 4))
    return dataclasses.replace(
        era,
        readmission=round(r, 4),
        mortality=round(m, 4),
        denial=round(d, 4),
        los_steps=(steps[0], steps[1], steps[2]),
    )


def main() -> None:
    for number, target in enumerate(TARGETS):
        conditions = _conditions(number, target[0], target[5])
        eras.ERAS[number] = dataclasses.replace(eras.ERAS[number], conditions=conditions)
        # Once more, because who dies and who comes back changes the mix.
        for _ in range(2):
            stays = _stays(target[0])
            eras.ERAS[number] = _logits(eras.ERAS[number], stays, target)
        print(eras.ERAS[number], "Charlson", _charlson(_stays(target[0])).round(5), "of", len(stays), flush=True)


if __name__ == "__main__":
    main()
