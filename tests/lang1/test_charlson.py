from __future__ import annotations

import numpy as np
import pytest

from lang1.charlson import CATEGORIES, IcdVersion, charlson_index, charlson_indices, code_mask

ICD9, ICD10 = IcdVersion.ICD_9_CM, IcdVersion.ICD_10_CM


def names(code: str, version: IcdVersion) -> set[str]:
    mask = code_mask(code, version)
    return {category.name for bit, category in enumerate(CATEGORIES) if mask >> bit & 1}


def test_seventeen_categories_with_the_weights_of_1987() -> None:
    weights = [category.weight for category in CATEGORIES]
    assert len(weights) == 17
    assert sorted(weights) == [1] * 10 + [2] * 4 + [3] + [6] * 2


@pytest.mark.parametrize(
    ("version", "code", "expected"),
    [
        # First and last codes of published ranges, and their neighbours outside (Quan 2005, tables 1 and 2).
        (ICD9, "410.71", {"myocardial_infarction"}),
        (ICD9, "411.1", set()),
        (ICD9, "425.3", set()),
        (ICD9, "425.4", {"congestive_heart_failure"}),
        (ICD9, "404.03", {"congestive_heart_failure", "renal_disease"}),
        (ICD9, "404.02", {"renal_disease"}),
        (ICD9, "V43.4", {"peripheral_vascular_disease"}),
        (ICD9, "443.0", set()),
        (ICD9, "438.9", {"cerebrovascular_disease"}),
        (ICD9, "439", set()),
        (ICD9, "491.21", {"chronic_pulmonary_disease"}),
        (ICD9, "506.4", {"chronic_pulmonary_disease"}),
        (ICD9, "070.32", {"mild_liver_disease"}),
        (ICD9, "070.30", set()),
        (ICD9, "572.2", {"moderate_or_severe_liver_disease"}),
        (ICD9, "250.30", {"diabetes_without_complication"}),
        (ICD9, "250.40", {"diabetes_with_complication"}),
        (ICD9, "250.80", {"diabetes_without_complication"}),
        (ICD9, "344.5", {"hemiplegia_or_paraplegia"}),
        (ICD9, "344.81", set()),
        (ICD9, "585.6", {"renal_disease"}),
        (ICD9, "V45.11", {"renal_disease"}),
        (ICD9, "173.3", set()),
        (ICD9, "174.9", {"malignancy"}),
        (ICD9, "195.8", {"malignancy"}),
        (ICD9, "196.0", {"metastatic_solid_tumour"}),
        (ICD9, "199.1", {"metastatic_solid_tumour"}),
        (ICD9, "200.00", {"malignancy"}),
        (ICD9, "042", {"aids"}),
        (ICD10, "I25.2", {"myocardial_infarction"}),
        (ICD10, "I25.10", set()),
        (ICD10, "I13.2", {"congestive_heart_failure"}),
        (ICD10, "I42.1", set()),
        (ICD10, "I48.91", set()),
        (ICD10, "K55.1", {"peripheral_vascular_disease"}),
        (ICD10, "G45.9", {"cerebrovascular_disease"}),
        (ICD10, "F05.1", {"dementia"}),
        (ICD10, "F05", set()),
        (ICD10, "J44.1", {"chronic_pulmonary_disease"}),
        (ICD10, "J48", set()),
        (ICD10, "M06.9", {"rheumatic_disease"}),
        (ICD10, "K28.9", {"peptic_ulcer_disease"}),
        (ICD10, "K71.6", set()),
        (ICD10, "K70.30", {"mild_liver_disease"}),
        (ICD10, "K70.40", {"moderate_or_severe_liver_disease"}),
        (ICD10, "E11.65", {"diabetes_without_complication"}),
        (ICD10, "E11.22", {"diabetes_with_complication"}),
        (ICD10, "G81.94", {"hemiplegia_or_paraplegia"}),
        (ICD10, "N18.6", {"renal_disease"}),
        (ICD10, "C44.91", set()),
        (ICD10, "C50.911", {"malignancy"}),
        (ICD10, "C79.51", {"metastatic_solid_tumour"}),
        (ICD10, "C81.90", {"malignancy"}),
        (ICD10, "B20", {"aids"}),
        (ICD10, "B23.0", set()),
    ],
)
def test_a_code_is_of_its_published_categories(version: IcdVersion, code: str, expected: set[str]) -> None:
    assert names(code, version) == expected


def test_dots_case_and_spaces_do_not_matter() -> None:
    for spelled in ("E11.22", "E1122", "e11.22", " e1122 "):
        assert names(spelled, ICD10) == {"diabetes_with_complication"}


def test_a_code_of_the_other_icd_is_another_thing() -> None:
    assert names("V43.4", ICD9) and not names("V43.4", ICD10)
    assert code_mask("I25.2", ICD9) == -1


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        (["I10"], 0),
        (["I21.4", "I22.0", "I25.2"], 1),  # one condition, three codes
        (["K70.30"], 1),
        (["K70.30", "K76.6"], 3),  # severe liver disease, not 3 + 1
        (["E11.9", "E11.22"], 2),  # complicated diabetes, not 2 + 1
        (["C50.911", "C79.51"], 6),  # metastatic, not 6 + 2
        (["C79.51"], 6),
        (["I50.9", "J44.9", "N18.4", "E11.22", "C34.90"], 1 + 1 + 2 + 2 + 2),
    ],
)
def test_the_index_of_hand_worked_patients(codes: list[str], expected: int) -> None:
    assert charlson_index(codes, ICD10) == expected


def test_every_condition_at_once() -> None:
    codes = [category.icd10.split()[0].partition("-")[0] for category in CATEGORIES]
    # All weights are 10 + 8 + 3 + 12; the three silenced ones are 1, 1 and 2.
    assert charlson_index(codes, ICD10) == 33 - 4


def test_what_is_no_code_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="code 1 is not ICD_9_CM") as caught:
        charlson_index(["428.0", "SMITH"], ICD9)
    assert "SMITH" not in str(caught.value)


def test_indices_of_stays_with_both_versions_and_with_no_code() -> None:
    owner = np.array([2, 0, 0, 2, 3])
    versions = np.array([9, 10, 10, 9, 9], dtype=np.int8)
    # Stay 3 has one code that lost its zero: no usable code, so no index and not an index of 0.
    codes = ["42822", "C79.51", "C50.9", "250.00", "42"]
    assert charlson_indices(owner, codes, versions, 5).tolist() == [6, -1, 2, -1, -1]
