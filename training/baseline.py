"""The bag-of-words baseline: TF-IDF of words and word pairs, and a logistic regression per task.

It reads the same part of a note as the model does, and is what the model must beat to show that it reads who has what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from lang1.discrimination import macro_auroc
from lang1.notes import clean_text
from lang1.tasks import BUILT_IN, Task, TaskRegistry
from training.synth.arrow import Table
from training.synth.generate import labelled, read_notes

MIN_NOTES_PER_TERM = 5
MAX_TERMS = 200_000


def window(text: str, words: int | None, chars: int | None) -> str:
    """The beginning of the cleaned text: at most `words` words and `chars` characters."""
    cut = clean_text(text)
    if words is not None:
        cut = " ".join(cut.split(" ")[:words])
    return cut if chars is None else cut[:chars]


def fit_and_score(
    task: Task, train: Table, test: Table, words: int | None = None, chars: int | None = None, c: float = 1.0
) -> npt.NDArray[np.float32]:
    """Probabilities (N, K) of the task's options on `test`. Both tables need text and the task's labels.

    Options that `train` never shows get probability 0. Raises ValueError when `train` shows a single option.
    """
    vectorizer = TfidfVectorizer(  # type: ignore[no-untyped-call]
        ngram_range=(1, 2), sublinear_tf=True, min_df=MIN_NOTES_PER_TERM, max_features=MAX_TERMS
    )
    features = vectorizer.fit_transform(  # type: ignore[no-untyped-call]
        window(text, words, chars) for text in train["text"].to_pylist()
    )
    labels = train[f"label_{task.name}"].to_numpy()
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{task.name}: the training rows show a single option; give more rows")
    model = LogisticRegression(C=c, max_iter=300)  # type: ignore[no-untyped-call]
    model.fit(features, labels)
    scored = vectorizer.transform(  # type: ignore[no-untyped-call]
        window(text, words, chars) for text in test["text"].to_pylist()
    )
    out = np.zeros((test.num_rows, len(task.options)), dtype=np.float32)
    out[:, model.classes_.astype(int)] = model.predict_proba(scored)  # type: ignore[no-untyped-call]
    return out


def baseline_probabilities(
    registry: TaskRegistry, data: Path, table: Table, words: int, max_train: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Probabilities (N, K) of every task on the rows of `table` that carry its label, NaN elsewhere.

    A word is at least a token, so `words` = the model's note tokens lets the baseline read no less than the model.
    """
    train = read_notes(data, ["train"], ["text", *(f"label_{name}" for name in registry)])
    found = {}
    for task in registry.values():
        mask = table[f"label_{task.name}"].to_numpy() >= 0
        found[task.name] = np.full((table.num_rows, len(task.options)), np.nan)
        scores = fit_and_score(task, labelled(train, task).slice(0, max_train), labelled(table, task), words)
        found[task.name][mask] = scores
    return found


def baseline_auroc(
    path: Path,
    test_split: str = "test",
    words: int | None = None,
    chars: int | None = None,
    max_train: int | None = None,
) -> dict[str, float]:
    """Task name to AUROC (one-versus-rest mean for more than two options) on `test_split` of a dataset folder.

    Synthetic data are scored against the true probabilities, real labels being a draw from them.
    """
    out: dict[str, float] = {}
    for task in BUILT_IN.values():
        columns = ["text", f"label_{task.name}", f"true_{task.name}"]
        train = labelled(read_notes(path, ["train"], columns), task)
        test = labelled(read_notes(path, [test_split], columns), task)
        scores = fit_and_score(task, train.slice(0, max_train), test, words, chars)
        out[task.name] = macro_auroc(scores, _truth(test, task))
    return out


def _truth(table: Table, task: Task) -> npt.NDArray[Any]:
    return np.asarray(table[f"true_{task.name}"].combine_chunks().flatten()).reshape(-1, len(task.options))
