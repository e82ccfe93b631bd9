"""The software bill of materials names what a deployment with every extra installs, at the versions of the lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    return json.loads((ROOT / "deploy" / "sbom.cdx.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _locked() -> dict[str, str]:
    """Versions by package on this platform, of the lock file that has all of them."""
    lines = (ROOT / "requirements-test.lock").read_text(encoding="utf-8").splitlines()
    locked = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    return {
        canonicalize_name(package.name): str(package.specifier).removeprefix("==")
        for package in locked
        if package.marker is None or package.marker.evaluate()
    }


def _deployed(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> set[str]:
    """The packages that the package needs here with these extras, and what they need in turn."""
    needed: set[str] = set()
    for extra in (*extras, ""):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed.add(canonicalize_name(requirement.name))
                needed |= _deployed(requirement.name, frozenset(requirement.extras), seen)
    return needed


def test_it_names_exactly_the_packages_of_the_lock_that_are_deployed(sbom: Mapping[str, Any]) -> None:
    locked = _locked()
    expected = {name: locked[name] for name in _deployed("ingest-pipelines", frozenset({"all"}), set())}
    assert {canonicalize_name(component["name"]): component["version"] for component in sbom["components"]} == expected
    assert len(sbom["components"]) == len(expected)
    assert {"polars", "dagster", "oracledb"} <= expected.keys()
    assert "pytest" not in expected


def test_it_is_a_cyclonedx_file_that_changes_with_its_content_only(sbom: Mapping[str, Any]) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert {"serialNumber", "timestamp"} & {*sbom, *sbom["metadata"]} == set()
    assert str(ROOT) not in json.dumps(sbom)
    assert all(component["purl"].startswith("pkg:pypi/") for component in sbom["components"])
