"""What lies in the store is for the user who runs it: training data, keys' hashes, models, logs, uploads.

The directory itself is closed to others when it is made, which covers all that is in it, whoever writes it: databases
with their logs, caches, temporary files. Servers and workers write no file that others could read even so.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from postil.settings import Settings

CLOSED = 0o700
OTHERS = 0o077  # of a file's mode: what its group and everybody may do


def keep_private() -> None:
    """From here on this process and those that it starts make files for this user alone."""
    os.umask(OTHERS)


def is_private(path: Path) -> bool:
    """Whether what is made at `path` is the store's, and so nobody else's business."""
    settings = Settings()
    roots = [settings.home, *([settings.data] if settings.data else [])]
    return any(path.absolute().is_relative_to(root.absolute()) for root in roots)


def is_open(path: Path) -> bool:
    """Whether other users of this machine can look into `path`. On Windows rights are no modes: False."""
    if os.name == "nt" or not path.exists():
        return False
    there = path.resolve()
    if not stat.S_IMODE(there.stat().st_mode) & OTHERS:
        return False
    return all(stat.S_IMODE(place.stat().st_mode) & 0o011 for place in there.parents)


def open_places(settings: Settings | None = None) -> dict[Path, str]:
    """Those of our places that others can look into, each with the command that closes it."""
    settings = settings or Settings()
    directories = [settings.home, *([settings.data] if settings.data else [])]
    uploads = settings.files.reveal()
    if uploads and "://" not in uploads:
        directories.append(Path(uploads).expanduser())
    places = {place: f"chmod 700 {shlex.quote(str(place))}" for place in directories if is_open(place)}
    key = Path(settings.judge_key_file).expanduser() if settings.judge_key_file else None
    if key is not None and is_open(key):
        places[key] = f"chmod 600 {shlex.quote(str(key))}"
    return places
