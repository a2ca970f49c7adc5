"""RESULTS.md: one section for each benchmark, so that one can be measured again without the others."""

from __future__ import annotations

import platform
import re
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PAGE = Path(__file__).with_name("RESULTS.md")
HEAD = """# Results

Written by `make bench`, a section at a time; [README.md](README.md) says what is measured and how to read it. The
machines are shared and noisy: ratios within one section count, seconds across sections do not. Figures are *median
(lowest-highest)*.
"""
PACKAGES = ("torch", "transformers", "peft", "trl")


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Median and range of a figure."""
    known = sorted(values)
    if not known:
        return ""
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(known), known[0], known[-1]))
    return f"{middle} ({low}-{high})" if len(known) > 1 else middle


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(name: str, command: str, body: str, device: str = "") -> None:
    """Put a section on the page, in place of the one of that name. What a quick look found is only printed."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    section = f"## {name}\n\n`{command}` · {now} · {device or processor()} · {versions()}\n\n{body.strip()}\n"
    print(f"\n{section}", flush=True)
    if "--quick" in command:
        return
    page = PAGE.read_text("utf-8") if PAGE.exists() else HEAD
    head, *sections = re.split(r"(?m)^(?=## )", page)
    kept = {old.splitlines()[0][3:]: old.strip() + "\n" for old in sections}
    kept[name] = section
    PAGE.write_text("\n".join([f"{head.strip()}\n", *kept.values()]), "utf-8")


def versions() -> str:
    """What was compared."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def processor() -> str:
    """The CPU's name and how many of its cores this process may use."""
    from os import cpu_count

    told = Path("/proc/cpuinfo")
    names = re.findall(r"(?m)^model name\s*:\s*(.+)$", told.read_text()) if told.exists() else []
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cpu_count()} cores"
