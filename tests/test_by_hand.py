"""Every sample and every odd file, through every command, as a person types it: no --json, both languages.

Tests that read JSON never see a table being drawn; this is where a missing word or a wrong placeholder shows itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from postil.samples import Name, sample
from tests.sided import build_bart
from tests.story import SHORT, said

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")
TRAPS = sorted(path for path in (Path(__file__).parent / "traps").iterdir() if path.suffix not in (".py", ".md"))
LANGUAGES = ("en", "zh")


def shown(*command: Any, lang: str, may_refuse: bool = False) -> str:
    """What a command shows. It must end well, or with a coded error where it may refuse."""
    code, out, err = said([*command, "--lang", lang])
    assert code in ((0, 1) if may_refuse else (0,)), out + err
    assert "(unexpected)" not in err and "Traceback" not in out + err, out + err
    return out


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", get_args(Name))
def test_a_sample_is_checked_in_words(name: Name, lang: str) -> None:
    assert sample(name).name in shown("check", sample(name), lang=lang)


@pytest.mark.full
@pytest.mark.parametrize("file", TRAPS, ids=lambda path: path.name)
def test_an_odd_file_is_told_in_words(file: Path) -> None:
    for lang in LANGUAGES:
        for command in (("check", file), ("look", file, "--check"), ("diff", file, file)):
            shown(*command, lang=lang, may_refuse=True)


@pytest.mark.full
@pytest.mark.parametrize("name", get_args(Name))
def test_a_sample_goes_the_whole_way_in_words(name: Name, base: Build, tmp_path: Path) -> None:
    file, run = sample(name), tmp_path / "a run"
    model = build_bart(tmp_path / "bart") if name == "orders" else base("qwen2")
    for lang in LANGUAGES:
        short = settings(*(["task=seq_2_seq_lm"] if name == "orders" else []))
        shown("look", file, "--check", lang=lang)
        shown("diff", file, file, lang=lang)
        shown("xray", file, "--base", model, lang=lang, may_refuse=name == "orders")
        shown("plan", file, "--base", model, "--skip-faulty", *short, lang=lang)
        shown("train", file, "--base", model, "-o", run, "--force", "--skip-faulty", *short, lang=lang)
        shown("doctor", run, lang=lang, may_refuse=True)
        shown("evaluate", run, lang=lang)
        shown("compare", run, "桌子多少钱？", lang=lang, may_refuse=name == "handbook")
        shown("answer", run, file, "-o", tmp_path / f"{lang}.xlsx", lang=lang, may_refuse=name == "handbook")
        for target in ("merged", "script"):
            shown("export", run, "--to", target, "-o", tmp_path / lang / target, lang=lang, may_refuse=True)


def settings(*more: str) -> Sequence[str]:
    """--set options of a run that takes seconds."""
    wishes = (*SHORT, "n_epochs=1", "validation_rows=4", "test_rows=4", *more)
    return [word for wish in wishes for word in ("--set", wish)]
