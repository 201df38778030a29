"""Bootstrap of AUROC by ranking once, against a loop over scikit-learn. Same resampled rows, values compared.

    python -m bench.bootstrap [--rows 100000] [--resamples 1000] [--loop 40]

CPU time of one thread, so that other work on the machine does not count. The loop is timed on `--loop` resamples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.metrics import roc_auc_score

from lang1.bootstrap import bootstrap_auroc, bootstrap_macro_difference, resampled_rows

RESULT = Path(__file__).parent / "results" / "bootstrap.json"
PREVALENCE = 0.113


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--resamples", type=int, default=1000)
    options.add_argument("--loop", type=int, default=40)
    given = options.parse_args()
    rng = np.random.default_rng(3407)
    positive = rng.random(given.rows) < PREVALENCE
    scores = rng.normal(size=given.rows) + positive
    other = scores + rng.normal(size=given.rows)
    patients = rng.integers(0, given.rows * 2 // 3, given.rows)

    def cpu_s(resamples: int) -> float:
        begun = time.process_time()
        bootstrap_auroc(scores, positive, resamples=resamples)
        return time.process_time() - begun

    cpu_s(20)
    ours_s = min(cpu_s(given.resamples) for _ in range(3))
    draws = np.random.default_rng(1)
    begun = time.process_time()
    for _ in range(given.loop):
        rows = draws.integers(0, given.rows, given.rows)
        roc_auc_score(positive[rows], scores[rows])
    loop_s = (time.process_time() - begun) / given.loop * given.resamples

    checked = resampled_rows(scores, positive, resamples=given.loop, seed=3407)
    values = bootstrap_auroc(scores, positive, resamples=given.loop, seed=3407)
    apart = max(
        abs(value - roc_auc_score(positive[rows], scores[rows])) for value, rows in zip(values, checked, strict=True)
    )
    columns = [np.stack([-each, each], axis=1) for each in (scores, other)]
    begun = time.process_time()
    bootstrap_macro_difference(
        columns[0], columns[1], positive.astype(int), classes=(1,), groups=patients, resamples=given.resamples // 10
    )
    paired_s = (time.process_time() - begun) / (given.resamples // 10) * given.resamples
    found = {
        "rows": given.rows, "resamples": given.resamples, "prevalence": PREVALENCE,
        "ours_cpu_s": round(ours_s, 3), "scikit_learn_loop_cpu_s": round(loop_s, 2),
        "times_faster": round(loop_s / ours_s, 1), "largest_difference": apart,
        "paired_by_patient_cpu_s": round(paired_s, 2), "loop_resamples_timed": given.loop,
        "numpy": np.__version__, "scikit_learn": sklearn.__version__, "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
