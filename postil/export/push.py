"""An exported directory goes to Hugging Face or ModelScope: the files of the model and a card, nothing else.

Only when it is asked for by name, private unless it is said otherwise, and never a row of the data: not the training's,
and not the certificate's, whose questions are rows of the test part.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil import __version__
from postil.errors import ExportError
from postil.extras import require
from postil.records import Target
from postil.settings import online

PACKAGES = {"huggingface": "huggingface_hub", "modelscope": "modelscope"}
NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
LOGINS = {"huggingface": "hf auth login", "modelscope": "modelscope login"}
PUSHED: tuple[Target, ...] = ("merged", "peft")
CARD = "README.md"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Place:
    """Where a model is to go. endpoint: another address that speaks Hugging Face's protocol, or empty."""

    hub: str
    repo: str
    public: bool = False
    endpoint: str = ""


def read_place(text: str, *, public: bool, endpoint: str) -> Place:
    """What `--push` says: huggingface:ORG/NAME or modelscope:ORG/NAME.

    Raises ExportError `push_place`, or `extra_missing` where the hub's package is not installed.
    """
    hub, _, repo = text.partition(":")
    if hub not in PACKAGES or not _REPOSITORY.fullmatch(repo) or ".." in repo or "--" in repo:
        raise ExportError("push_place", place=text[:100])
    require(PACKAGES[hub], "hub", ExportError)
    return Place(hub, repo, public, endpoint if hub == "huggingface" else "")


def check_push(to: Target, reference: str) -> None:
    """Raises ExportError: `push_target` for what has rows in it or is no model of a hub, `push_base` for an adapter
    whose base nobody else could find."""
    if to not in PUSHED:
        raise ExportError("push_target", to=to, known=", ".join(PUSHED))
    if to == "peft" and not _REPOSITORY.fullmatch(reference):
        raise ExportError("push_base", base=reference)


def upload(directory: Path, files: Sequence[str], place: Place) -> dict[str, Any]:
    """Upload these files of an export and its card. Returns {"hub", "repo", "public", "url"}.

    Raises ExportError: `push_no_token`, `push_public` for a repository that everybody sees already, `push_failed`
    with what the hub or the network said.
    """
    told = {"hub": place.hub, "repo": place.repo, "public": place.public, "endpoint": place.endpoint,
            "directory": str(directory.resolve()), "files": [*files, CARD],
            "message": f"From Postil {__version__}"}  # fmt: skip
    command = [sys.executable, str(Path(__file__).with_name("hubchild.py"))]  # by its path: it needs none of us
    done = subprocess.run(command, input=json.dumps(told) + "\n", capture_output=True, text=True, encoding="utf-8",
                          errors="replace", env=online())  # fmt: skip
    answer = _answer(done.stdout, done.stderr)
    if "error" in answer:
        raise ExportError(answer["error"], hub=NAMES[place.hub], repo=place.repo, login=LOGINS[place.hub],
                          reason=answer.get("reason", "")[:300])  # fmt: skip
    return {"hub": place.hub, "repo": place.repo, "public": place.public, **answer}


def _answer(said: str, complained: str) -> dict[str, str]:
    lines = [line for line in said.splitlines() if line.strip()]
    try:
        return dict(json.loads(lines[-1]))
    except (LookupError, ValueError, TypeError):
        last = [line.strip() for line in complained.splitlines() if line.strip()]
        return {"error": "push_failed", "reason": last[-1] if last else "-"}
