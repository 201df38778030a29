"""Find the constants of `truth` and the prevalence scales of `conditions`: `python -m training.synth.calibrate`.

Run it when an effect or a prior changes, copy what it prints, and raise SIMULATOR_VERSION.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import optimize

from lang1.discrimination import macro_auroc, soft_auroc
from training.synth import conditions, factors, patients, truth
from training.synth.config import SynthConfig

READMISSION_RATIO, MORTALITY_RATIO, DENIAL_RATIO = 0.113, 0.0178, 0.139
LOS_RATIO = (0.456, 0.145, 0.160, 0.239)
# The paper's is 68.4 / 21.7 / 6.75 / 2.94 / 0.17%; first encounters aim at healthier people, since returns are sicker.
CCI_RATIO = (0.691, 0.211, 0.0660, 0.0260, 0.00155)
READMISSION_AUROC, MORTALITY_AUROC, LOS_AUROC, DENIAL_AUROC = 0.86, 0.945, 0.81, 0.89

Score = npt.NDArray[np.float64]


def _root(function: Callable[[float], float], low: float, high: float, xtol: float = 1e-9) -> float:
    return float(optimize.brentq(function, low, high, xtol=xtol))  # type: ignore[no-untyped-call]


def context_weights() -> Score:
    """P(age band, sex, reason), float64 (A, 2, R)."""
    reasons = factors.reason_prior()
    return np.asarray(factors.AGE_PRIOR[:, None, None] * factors.SEX_PRIOR[None, :, None] * reasons[:, None, :])


def cci_ratio() -> Score:
    """Exact class ratios of the Charlson index under the current scales, float64 (5,)."""
    weights = context_weights()
    total = np.zeros((*weights.shape, truth.CCI_CAP + 1))
    total[..., 0] = 1.0
    for condition, points in zip(conditions.CONDITIONS, truth.charlson_weights(), strict=True):
        prior = condition.factor().prior()
        total = truth.convolve_points(total, prior, points)
    ratios = (total * weights[..., None]).reshape(-1, truth.CCI_CAP + 1).sum(axis=0)
    classes = truth.charlson_class(np.arange(truth.CCI_CAP + 1))
    return np.bincount(classes, weights=ratios).astype(np.float64)


def fit_cci() -> tuple[float, ...]:
    def apply(x: Score) -> None:
        conditions.SCALE_LIGHT, conditions.SCALE_MEDIUM, conditions.SCALE_HEAVY = np.exp(x[:3]).tolist()
        conditions.AGE_SCALE = float(x[3])

    def residual(x: Score) -> Score:
        apply(x)
        misses = np.log(cci_ratio() / np.asarray(CCI_RATIO)) * np.array([9.0, 7.0, 4.0, 3.0, 6.0])
        # A weak pull to the prevalences as written keeps the solution off the bounds.
        return np.concatenate([misses, 0.25 * x[:3]])

    bounds = ([-3, -3, -4, 0.1], [1.5, 2.0, 2.0, 2.0])
    start = np.array([0.0, 0.0, 0.0, 1.0])
    fit = optimize.least_squares(residual, start, bounds=bounds)  # type: ignore[operator]
    apply(fit.x)
    return tuple(float(v) for v in (*np.exp(fit.x[:3]), fit.x[3]))


def intercept_for(score: Score, ratio: float) -> float:
    return _root(lambda b: float(truth.sigmoid(score + b).mean()) - ratio, -40, 40)


def binary_constants(score: Score, ratio: float, auroc: float) -> tuple[float, float]:
    """(intercept, scale) that give the ratio and the truth's own AUROC."""

    def own_auroc(scale: float) -> float:
        p = truth.sigmoid(scale * score + intercept_for(scale * score, ratio))
        return soft_auroc(p, p)

    scale = _root(lambda s: own_auroc(s) - auroc, 0.1, 6, xtol=1e-3)
    return intercept_for(scale * score, ratio), scale


def main() -> None:
    print("conditions:", fit_cci(), "->", cci_ratio().round(4))
    factors.priors.cache_clear()
    factors.all_factors.cache_clear()
    patients._cumulative_priors.cache_clear()
    # With returns as they are recorded, because those who come back are sicker than those who do not.
    config = SynthConfig(patients=90_000, chunk_patients=90_000, seed=1)
    population = patients.draw_chunk(config, 0).population
    shares = np.bincount(truth.charlson_class(truth.charlson_index(population.values))) / len(population.values)
    print("conditions with returns:", shares.round(4))
    columns = population.columns()
    readmission = truth.linear_score(truth.READMISSION, columns).ravel().astype(np.float64)
    mortality = truth.linear_score(truth.MORTALITY, columns).ravel().astype(np.float64)
    denial = truth.denial_score(columns).ravel().astype(np.float64)
    stay = truth.linear_score(truth.LENGTH_OF_STAY, columns).ravel()
    m = binary_constants(mortality, MORTALITY_RATIO, MORTALITY_AUROC)
    dies = truth.sigmoid(m[0] + m[1] * mortality)
    # Readmission is a matter of those who leave alive.
    alive = np.random.default_rng(2).random(len(dies)) > dies
    r = binary_constants(readmission[alive], READMISSION_RATIO, READMISSION_AUROC)
    d = binary_constants(denial, DENIAL_RATIO, DENIAL_AUROC)

    def cut_for(scale: float) -> tuple[float, float, float]:
        found = []
        for upper in range(1, 4):
            at_death = truth.LOS_GIVEN_DEATH[upper:].sum()
            share = sum(LOS_RATIO[upper:])

            def excess(cut: float, at_death: float = at_death, share: float = share) -> float:
                above = truth.sigmoid(scale * (stay - cut))
                return float(((1 - dies) * above + dies * at_death).mean()) - share

            found.append(_root(excess, -30, 30))
        return found[0], found[1], found[2]

    def los_auroc(scale: float) -> float:
        constants = truth.Constants(los_cuts=cut_for(scale), los_scale=scale)
        p = (1 - dies)[:, None] * truth.los_given_alive(stay, constants) + dies[:, None] * truth.LOS_GIVEN_DEATH
        return macro_auroc(p, p)

    for scale in (0.5, 1.0, 2.0, 4.0):
        print("  los scale", scale, "AUROC", round(los_auroc(scale), 4))
    scale = _root(lambda s: los_auroc(s) - LOS_AUROC, 0.2, 30, xtol=1e-2)
    print("readmission", r, "\nmortality", m, "\nlos", cut_for(scale), scale, "\ndenial", d)


if __name__ == "__main__":
    main()
