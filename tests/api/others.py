"""Programs of others, each in an environment of its own, which is kept for the next run.

Nothing of ours is on their path, and nothing of theirs is on ours.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from pathlib import Path

from postil.settings import for_child

PATIENCE = 900  # seconds for an installation
QUIETLY = ("-q", "--disable-pip-version-check")


def python_with(kept: Path, *requirements: str) -> Path:
    """The Python of an environment that has these packages."""
    place = _place(kept, "python", requirements)
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (place / "whole").exists():
        venv.create(place, clear=True, with_pip=True)
        _install([str(python), "-m", "pip", "install", *QUIETLY, *requirements], place)
    return python


def node_with(kept: Path, *packages: str) -> Path:
    """A directory in which node finds these packages."""
    place = _place(kept, "node", packages)
    if not (place / "whole").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text('{"private": true, "type": "module"}')
        npm = shutil.which("npm")
        assert npm
        _install([npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages], place)
    return place


def source_of(kept: Path, requirement: str) -> Path:
    """The unpacked source of a package, with the tests that it comes with."""
    place = _place(kept, "source", [requirement])
    name = requirement.partition("==")[0]
    if not (place / "whole").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _install([sys.executable, "-m", "pip", "download", *QUIETLY, "--no-deps", "--no-binary", name, "-d", str(place),
                  requirement], place)  # fmt: skip
        with tarfile.open(next(place.glob("*.tar.gz"))) as packed:
            packed.extractall(place, filter="data")
    return next(path for path in place.iterdir() if path.is_dir())


def run(command: Sequence[str | Path], where: Path, seconds: float = 240, **environment: str) -> str:
    """What a program says; it must end well. `environment` comes on top of ours, less our own path."""
    told = {**for_child(), "PYTHONPATH": "", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **environment}
    done = subprocess.run([str(one) for one in command], cwd=where, env=told, capture_output=True, text=True,
                          encoding="utf-8", timeout=seconds, check=False)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _place(kept: Path, kind: str, wanted: Sequence[str]) -> Path:
    named = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    return kept / f"{kind}-{named}"


def _install(command: Sequence[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE, check=False,
                          env={**for_child(), "PYTHONPATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (place / "whole").write_text("\n".join(command))
