"""What scopes grant: SMART v2 and v1 forms, and the service's own."""

from __future__ import annotations

import pytest

from serve.auth.scopes import EVERYTHING, OWN, allows, granted, satisfies


@pytest.mark.parametrize(
    ("scope", "resource", "letters"),
    [
        ("system/RiskAssessment.rs", "RiskAssessment", "rs"),
        ("system/RiskAssessment.r", "RiskAssessment", "r"),
        ("system/*.cruds", "RiskAssessment", "cruds"),
        ("system/RiskAssessment.read", "RiskAssessment", "rs"),
        ("system/RiskAssessment.write", "RiskAssessment", "cud"),
        ("system/RiskAssessment.*", "RiskAssessment", "cruds"),
        ("system/*.*", "Encounter", "cruds"),
        ("system/DocumentReference.c", "RiskAssessment", ""),
        # What grants nothing: other contexts, letters in another order, a search that narrows, other cases.
        ("user/RiskAssessment.rs", "RiskAssessment", ""),
        ("patient/*.cruds", "RiskAssessment", ""),
        ("system/RiskAssessment.sr", "RiskAssessment", ""),
        ("system/RiskAssessment.rs?subject=Patient/1", "RiskAssessment", ""),
        ("system/RiskAssessment.", "RiskAssessment", ""),
        ("System/RiskAssessment.rs", "RiskAssessment", ""),
        ("system/riskassessment.rs", "RiskAssessment", ""),
        ("system/RiskAssessment.rs\n", "RiskAssessment", ""),
        ("system/Risk.rs", "RiskAssessment", ""),
    ],
)
def test_what_a_system_scope_grants(scope: str, resource: str, letters: str) -> None:
    held = granted([scope])
    assert {letter for letter in "cruds" if allows(held, resource, letter)} == set(letters)


@pytest.mark.parametrize(
    "value",
    ["lang1/score system/RiskAssessment.rs", ["lang1/score", "system/RiskAssessment.rs", 7, None], "x  lang1/score "
     "system/RiskAssessment.rs"],
)  # fmt: skip
def test_scopes_come_as_a_string_or_a_list(value: object) -> None:
    assert granted([None, value, {"lang1/operate": 1}]) == {"lang1/score", "system/RiskAssessment.rs"}


def test_own_scopes_are_taken_whole() -> None:
    assert satisfies(granted(["lang1/score"]), "lang1/score")
    for near in ("lang1/scores", "lang1/*", "lang1/", "LANG1/score", "system/*.cruds"):
        assert not satisfies(granted([near]), "lang1/score"), near
    assert all(satisfies(EVERYTHING, scope) for scope in OWN)
    assert allows(EVERYTHING, "ExplanationOfBenefit", "u")
