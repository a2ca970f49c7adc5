"""sbom.json: the software that a plain installation of Postil brings along, in CycloneDX 1.6 (cyclonedx.org).

Versions are those of the tested set, constraints.txt; licences are what the packages say of themselves.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LINUX = {**default_environment(), "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
         "platform_machine": "x86_64", "python_version": "3.11", "extra": ""}  # fmt: skip


def sbom() -> str:
    """The whole list, the same on every machine that has the tested set."""
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text("utf-8").split() if "==" in line)
    versions = {_plain(name): (name, version) for name, version in pins.items()}
    found = sorted(_needed("postil", versions, set()))
    told = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "postil", "version": distribution("postil").version,
                                   "licenses": [{"expression": "Apache-2.0"}]}},
        "components": [_component(*versions[name]) for name in found],
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def _needed(name: str, versions: dict[str, tuple[str, str]], seen: set[str]) -> set[str]:
    """The packages of the tested set that `name` needs, by way of others too."""
    for wanted in _requirements(name):
        if wanted in versions and wanted not in seen:
            seen.add(wanted)
            _needed(wanted, versions, seen)
    return seen


def _requirements(name: str) -> Iterator[str]:
    """What a package asks for; of Postil itself as pyproject.toml says, which an installation may lag behind."""
    made = _installed(name)
    own = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    for line in own if name == "postil" else (made.requires or []) if made else []:
        one = Requirement(line)
        extras = one.marker is not None and "extra" in str(one.marker)
        if not extras and (one.marker is None or one.marker.evaluate(LINUX)):
            yield _plain(one.name)


def _component(name: str, version: str) -> dict[str, Any]:
    plain = _plain(name)
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{plain}@{version}",
            "licenses": [{"license": {"name": _licence(plain)}}]}  # fmt: skip


def _licence(name: str) -> str:
    made = _installed(name)
    if made is None:
        return "unknown"
    told = made.metadata
    classes = [c.split("::")[-1].strip() for c in told.get_all("Classifier") or [] if c.startswith("License ::")]
    first = (told.get("License") or "").strip().splitlines()
    return told.get("License-Expression") or "; ".join(classes) or (first[0] if first else "unknown")


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
