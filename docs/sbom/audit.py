"""Ask for known vulnerabilities of the pinned versions: `python -m docs.sbom.audit [--require]`. Needs the network.

Exit codes: 0 none known; 1 some are, or, with --require, nobody could be asked. No list of advisories is kept here: it
would be stale from its first day. Where nobody can be asked, give the bill of materials (`make sbom`) to a scanner that
has a list of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
TIMEOUT_S = 300


def main(*, required: bool) -> int:
    """Run pip-audit and judge what it really asked."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--requirement", str(CONSTRAINTS),
               "--format", "json", "--progress-spinner", "off"]  # fmt: skip
    try:
        finished = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        report = json.loads(finished.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return _nobody_asked("pip-audit got no answer", required)
    return judge(report, required=required)


def judge(report: dict[str, Any], *, required: bool) -> int:
    """The exit code of a pip-audit report, which calls a package that it could not look up no vulnerability."""
    packages = report["dependencies"]
    asked = [each for each in packages if "skip_reason" not in each]
    found = [(each["name"], each["version"], flaw) for each in asked for flaw in each.get("vulns", [])]
    for name, version, flaw in found:
        mended = ", ".join(flaw["fix_versions"]) or "no fixed version yet"
        print(f"{name} {version}: {flaw['id']} ({', '.join(flaw.get('aliases', []))}); fixed in {mended}")
    skipped = len(packages) - len(asked)
    if not asked:
        return _nobody_asked(f"the index knows none of the {len(packages)} packages", required)
    print(f"{len(asked)} packages asked, {skipped} not known to the index, {len(found)} vulnerabilities known")
    return 1 if found or (required and skipped) else 0


def _nobody_asked(why: str, required: bool) -> int:
    print(f"SKIPPED, NOTHING WAS AUDITED: {why}. Run it where pypi.org can be reached, or scan dist/sbom.cdx.json.")
    return 1 if required else 0


if __name__ == "__main__":
    sys.exit(main(required="--require" in sys.argv[1:]))
