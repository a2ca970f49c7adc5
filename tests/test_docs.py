"""Docs cannot lie: generated pages are up to date, links lead somewhere, commands in them are real, examples run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import postil
from postil.errors import PostilError
from postil.settings import for_child
from tests.story import sheet

if TYPE_CHECKING:
    from tests.models import Build

ROOT = Path(postil.__file__).parents[1]
PROSE = [
    "README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/api.md", "docs/serving.md", "docs/studio.md",
]  # fmt: skip


def test_the_generated_pages_are_up_to_date() -> None:
    code = "import json, sys; sys.path.insert(0, 'docs'); import make; print(json.dumps(make.pages()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
                          env=for_child(), timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    stale = [
        name for name, text in json.loads(done.stdout).items() if (ROOT / "docs" / name).read_text("utf-8") != text
    ]
    assert not stale, "run: python docs/make.py"


def test_every_error_has_its_anchor() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (ROOT / "postil").rglob("*.py"))
    kinds = "|".join(["PostilError", *(kind.__name__ for kind in PostilError.__subclasses__())])
    codes = set(re.findall(rf"(?:{kinds})\(\s*\"(\w+)\"", source))
    assert len(codes) > 50 and not [code for code in codes if f"\n## {code}\n" not in page]


@pytest.mark.parametrize("name", PROSE)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in target]
    assert not [target for target in targets if not ((ROOT / name).parent / target).exists()]


@pytest.mark.parametrize("name", [*PROSE, "examples/first_run.sh"])
def test_every_command_in_the_prose_is_real(name: str) -> None:
    """The verbs and the options; what stands for files and models is not looked at."""
    for line in _commands((ROOT / name).read_text("utf-8")):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        command = _found(words[1:])
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        given = {word for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{line}: {given - known}"


def _commands(text: str) -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", text, re.S) or ([text] if text.startswith("#!") else [])
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [*(line for line in lines if line.startswith("postil ")), *re.findall(r"`(postil [a-z][^`]*)`", text)]


def _found(words: list[str]) -> Any:
    from postil.cli import app

    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        assert word in command.commands, f"no command {word!r}"
        command = command.commands[word]
    return command


@pytest.mark.parametrize("name", PROSE)
def test_make_targets_in_the_prose_are_real(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"`make ([a-z-]+)`", (ROOT / name).read_text("utf-8"))) <= targets


def test_both_readmes_say_the_same() -> None:
    """The same commands, links and tree, in the same order."""
    texts = [(ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md")]
    verbs = [[line.split("#")[0].split()[:2] for line in _commands(text)] for text in texts]
    assert verbs[0] == verbs[1] and len(verbs[0]) >= 7
    headings = [re.findall(r"^(#+) ", text, re.M) for text in texts]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_tree_in_the_readme_is_the_house(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    drawn = set(re.findall(r"[├└]── (\w+(?:\.py|/)?)", text))
    rooms = {f"{path.name}/" for path in (ROOT / "postil").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms <= drawn, rooms - drawn
    assert not [one for one in drawn if not (ROOT / "postil" / one.rstrip("/")).exists()]


def test_the_script_of_the_first_run_is_sound() -> None:
    script = ROOT / "examples" / "first_run.sh"
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
    assert script.stat().st_mode & 0o111


@pytest.mark.slow
def test_the_library_example_runs(base: Build, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/library.py", str(sheet(tmp_path / "a.csv", 24)), str(tmp_path / "out"),
         str(base("qwen2"))],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env=for_child(), timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "24 of 25 rows are used" in done.stdout and "tuned:" in done.stdout
    again = subprocess.run([sys.executable, "examples/library.py", str(tmp_path / "none.csv"), str(tmp_path / "out")],
                           cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env=for_child())  # fmt: skip
    assert again.returncode == 1 and "Traceback" not in again.stderr
