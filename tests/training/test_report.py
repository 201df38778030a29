from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from lxml import html
from sklearn.metrics import roc_auc_score

from lang1.discrimination import soft_auroc
from lang1.tasks import BUILT_IN
from tests.tiny_bundle import make_tiny_bundle
from training.dataset import open_dataset
from training.recipe import RecipeError
from training.report import calibration_curve, evaluate_bundle, parts_of, roc_curve
from training.report_page import report_page
from training.synth.config import SynthConfig
from training.synth.generate import read_notes, write_dataset

# Trains and evaluates.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_dataset(SynthConfig(patients=400, seed=6, mean_words=280), folder)
    return folder


@pytest.fixture(scope="module")
def report(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    return evaluate_bundle(bundle, data, splits=["train", "temporal_2024"], baseline_notes=None, device="cpu")


def test_a_report_covers_every_split_task_and_part_and_is_json(report: dict[str, object]) -> None:
    document = json.loads(json.dumps(report, allow_nan=False))
    assert set(document["splits"]) == {"train", "temporal_2024"}
    for tasks in document["splits"].values():
        assert set(tasks) == set(BUILT_IN)
        for entry in tasks.values():
            assert {"year", "patient", "age", "sex"} == set(entry["parts"])
            for part in entry["parts"].values():
                assert sum(value["notes"] for value in part.values()) == entry["notes"]
                assert all((value["auroc"] is None) == (min(value["events"], value["notes"] - value["events"]) < 30)
                           for value in part.values())  # fmt: skip
    parts = document["splits"]["temporal_2024"]["charlson_comorbidity_index"]["parts"]
    assert set(parts["year"]) <= {"2023", "2024"}
    assert set(parts["patient"]) == {"seen in training", "not seen in training"}


def test_parts_name_who_was_seen_in_training(data: Path) -> None:
    table = read_notes(data)
    parts = parts_of(table, open_dataset(data, BUILT_IN))
    split, patient = table["split"].to_pylist(), table["patient_id"].to_pylist()
    trained = {who for who, where in zip(patient, split, strict=True) if where == "train"}
    for where, who, said in zip(split, patient, parts["patient"], strict=True):
        assert (said == "seen in training") == (who in trained)
        assert where not in ("val", "test") or said == "not seen in training"


def test_the_roc_curve_has_the_area_of_the_auroc() -> None:
    rng = np.random.default_rng(4)
    happened = rng.random(5000) < 0.1
    scores = np.round(rng.normal(size=5000) + happened, 2)
    curve = np.asarray(roc_curve(scores, happened))
    assert len(curve) <= 102 and curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    area = np.trapezoid(curve[:, 1], curve[:, 0])
    assert area == pytest.approx(soft_auroc(scores, happened), abs=0.004)
    assert soft_auroc(scores, happened) == pytest.approx(roc_auc_score(happened, scores), abs=1e-12)
    assert roc_curve(scores[:3], np.zeros(3, dtype=bool)) == []


def test_a_true_probability_lies_in_its_bin() -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(1, 8, 20_000)
    curve = calibration_curve(p, rng.random(20_000) < p)
    assert len(curve) == 15 and sum(point["notes"] for point in curve) == 20_000
    assert sum(point["low"] <= point["probability"] <= point["high"] for point in curve) >= 13
    assert all(point["low"] <= point["rate"] <= point["high"] for point in curve)


def test_an_absent_split_and_a_broken_folder_are_named(data: Path, tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(RecipeError, match="temporal_2030"):
        evaluate_bundle(bundle, data, splits=["temporal_2030"])
    with pytest.raises(RecipeError, match="not a dataset folder"):
        evaluate_bundle(bundle, tmp_path)


def test_the_page_holds_every_figure_and_loads_nothing(report: dict[str, object]) -> None:
    page = report_page(json.loads(json.dumps(report)))
    tree = html.fromstring(page)
    assert len(tree.xpath("//figure")) == 2 * 2 * len(BUILT_IN)
    assert all(svg.get("aria-label") for svg in tree.xpath("//svg"))
    assert not tree.xpath("//script | //link | //img | //@src | //@href")
    assert "never for care" in page
    for task in BUILT_IN:
        assert page.count(f"<h3>{task}</h3>") == 2
