"""A base model that a person already has gets a name."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from postil.errors import ModelError
from postil.model.load import load_template
from postil.model.trust import check_directory
from postil.store import publish, temporary_directory

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TAKEN_ALONG = (".json", ".safetensors", ".model", ".jinja", ".txt")


def add(directory: Path, home: Path, name: str) -> str:
    """Link (or copy) what a model in `directory` is made of into `<home>/models/<name>`; returns the name.

    Raises ModelError when the name is none or taken, or the directory is unsafe or has no usable tokenizer.
    """
    if not NAME.fullmatch(name):
        raise ModelError("bad_model_name", name=name)
    target = home / "models" / name
    if target.exists():
        raise ModelError("place_taken", path=str(target))
    check_directory(directory)
    load_template(directory, task="seq_cls")  # what reads for labels may have no chat template
    with temporary_directory(target) as made:
        for file in sorted(directory.iterdir()):
            if file.is_file() and file.suffix in TAKEN_ALONG:
                _link(file.resolve(), made / file.name)
        publish(made, target)
    return name


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(file, place)
