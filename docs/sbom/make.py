"""Write the software bill of materials: `python -m docs.sbom.make [dist/sbom.cdx.json]`. CycloneDX 1.6, JSON.

Of the environment that it runs in: what an installation of the service has, and the model bundle that comes with it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as BomComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from docs.sbom.components import ROOT, Component, absent, runtime_components
from lang1 import DEMO_BUNDLE
from lang1.bundle import load_bundle

DEFAULT = Path("dist/sbom.cdx.json")


def main(target: Path) -> None:
    """Write the file. What is required and not installed here is told, and not listed."""
    components = runtime_components()
    if missing := absent(components):
        print(f"required, not installed here, so not listed: {', '.join(missing)}", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(bom_json(components), encoding="utf-8")
    print(f"written: {target}, {len(components)} components")


def bom_json(components: dict[str, Component]) -> str:
    """The document, indented."""
    bom = Bom()
    made = {name: _bom_component(component) for name, component in components.items()}
    bom.metadata.component = made[ROOT]
    model = _model()
    for name, component in made.items():
        if name != ROOT:
            bom.components.add(component)
        bom.register_dependency(component, [made[each] for each in components[name].requires if each in made])
    bom.components.add(model)
    bom.register_dependency(made[ROOT], [model])
    return json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=2) + "\n"


def _bom_component(component: Component) -> BomComponent:
    licences = LicenseFactory()
    references = []
    if component.homepage:
        references.append(ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(component.homepage)))
    # A torch build is named by a local version, `2.13.0+cpu`, which no index knows.
    purl = PackageURL("pypi", name=component.name, version=component.version.partition("+")[0])
    return BomComponent(
        name=component.name,
        version=component.version,
        type=ComponentType.APPLICATION if component.name == ROOT else ComponentType.LIBRARY,
        bom_ref=f"{component.name}=={component.version}",
        description=component.summary or None,
        purl=purl,
        licenses=[licences.make_from_string(component.licence)] if component.licence else None,
        external_references=references,
    )


def _model() -> BomComponent:
    bundle = load_bundle(DEMO_BUNDLE)
    return BomComponent(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"{bundle.manifest.name}=={bundle.manifest.version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=bundle.sha256)],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
