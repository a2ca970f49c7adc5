"""Sequences that are kept are the ones that would be made, and nothing that is damaged is ever believed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from postil.errors import DataError
from postil.model import tokenised as room
from postil.model.labels import proven
from postil.model.load import load_template
from postil.model.tokenised import maker, tokenised
from tests.models import CHAT, FAMILIES, dialogue, titles

if TYPE_CHECKING:
    from tests.models import Build

WEIGHTED = dialogue(("user", "a"), ("assistant", "b", 0), ("user", "c"), ("assistant", "d", 0.3), rows=(90,))
EXAMPLES = [*titles(40), CHAT, WEIGHTED]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    forget()


def forget() -> None:
    """As if this were another process."""
    room._kept.clear()


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "cache" / "tokens").glob("*"))


@pytest.fixture
def made(monkeypatch: Any) -> list[int]:
    """How many examples were tokenised and proven, call by call."""
    calls: list[int] = []

    def counted(examples: Any, *rest: Any) -> Any:
        calls.append(len(examples))
        return proven(examples, *rest)

    monkeypatch.setattr(room, "proven", counted)
    return calls


@pytest.mark.parametrize("family", FAMILIES)
def test_from_a_file_they_are_the_same(family: str, base: Build, made: list[int]) -> None:
    template = load_template(base(family))
    fit = [e for e in EXAMPLES if not _refused(e, template)]
    expected = proven(fit, template, 2048)
    assert tokenised(fit, template, 2048) == expected
    forget()
    assert tokenised(fit, template, 2048) == expected and made == [len(fit)]
    assert [maker(template)(example) for example in fit] == expected


def _refused(example: Any, template: Any) -> bool:
    try:
        proven([example], template, 2048)
    except DataError:
        return True
    return False


def test_parts_of_a_set_come_from_its_file(base: Build, made: list[int]) -> None:
    template, examples = load_template(base("qwen2")), titles(40)
    whole = tokenised(examples, template, 2048)
    forget()
    shuffled = [*examples[20:], *examples[:20]]
    assert tokenised(examples[5:9], template, 512, shuffled) == whole[5:9] and made == [40]


def test_the_same_words_in_other_rows_keep_their_own_rows(base: Build, made: list[int]) -> None:
    template, examples = load_template(base("qwen2")), titles(40)
    twins = [replace(example, rows=(1000 + i,)) for i, example in enumerate(examples)]
    tokenised(examples, template, 2048)
    assert [s.rows for own in tokenised(twins, template, 2048) for s in own] == [(1000 + i,) for i in range(40)]
    assert made == [40]


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "rubbish", "numbers", "other"])
def test_a_damaged_file_is_made_anew(spoil: str, base: Build, made: list[int], tmp_path: Path) -> None:
    template, examples = load_template(base("qwen2")), titles(40)
    whole = tokenised(examples, template, 2048)
    (file,) = files(tmp_path)
    good = file.read_bytes()
    if spoil == "numbers":  # a sound file with another number in it
        tensors = load_file(file)
        tensors["ids"] = tensors["ids"].clone()
        tensors["ids"][7] += 1
        save_file(tensors, file)
    elif spoil == "other":  # a sound file of another set
        forget()
        tokenised(titles(41)[1:], template, 2048)
        shutil.copy(next(one for one in files(tmp_path) if one != file), file)
    else:
        flipped = good[:-40] + bytes([good[-40] ^ 1]) + good[-39:]
        file.write_bytes({"cut": good[:-9], "flip": flipped, "empty": b"", "rubbish": b"{}" * 99}[spoil])
    forget()
    made.clear()
    assert tokenised(examples, template, 2048) == whole and made == [40]
    assert file.read_bytes() == good


def test_what_changes_the_tokens_changes_the_file(base: Build, made: list[int], tmp_path: Path) -> None:
    path, examples = shutil.copytree(base("qwen3"), tmp_path / "copy"), titles(40)
    tokenised(examples, load_template(path), 2048)
    tokenised(examples, load_template(path, thinking=True), 2048)
    template = path / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + "{# another #}", "utf-8")
    tokenised(examples, load_template(path), 2048)
    tokenised(examples, load_template(base("qwen2")), 2048)
    assert made == [40] * 4 and len(files(tmp_path)) == 4


def test_another_version_of_the_code_proves_anew(base: Build, made: list[int], monkeypatch: Any) -> None:
    template = load_template(base("qwen2"))
    tokenised(titles(40), template, 2048)
    forget()
    monkeypatch.setattr(room, "_code", lambda: ["another"])
    tokenised(titles(40), template, 2048)
    assert made == [40, 40]


def test_a_shorter_plan_is_proven_against_its_own_length(base: Build) -> None:
    template = load_template(base("qwen2"))
    long = dialogue(("user", "long " * 200), ("assistant", "x"), rows=(77,))
    tokenised([*titles(40), long], template, 4096)
    with pytest.raises(DataError) as refused:
        tokenised([*titles(40), long], template, 100)
    assert refused.value.code == "labels_wrong" and refused.value.rows == (77,)


def test_faults_are_told_all_at_once_and_never_kept(base: Build, tmp_path: Path) -> None:
    template = load_template(base("qwen2"))
    wrong = [dialogue(("assistant", "hello"), rows=(row,)) for row in (60, 61)]
    tokenised(titles(40), template, 2048)
    for _ in range(2):
        with pytest.raises(DataError) as refused:
            tokenised([*titles(40), *wrong], template, 2048)
        assert refused.value.rows == (60, 61)
    assert len(files(tmp_path)) == 1


def test_the_oldest_files_make_room(base: Build, tmp_path: Path, monkeypatch: Any) -> None:
    template = load_template(base("qwen2"))
    tokenised(titles(40), template, 2048)
    (first,) = files(tmp_path)
    monkeypatch.setattr(room, "MOST_BYTES", int(1.5 * first.stat().st_size))
    tokenised(titles(80)[40:], template, 2048)
    (left,) = files(tmp_path)
    assert left != first


def test_a_home_that_cannot_be_written_costs_only_time(base: Build, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "file"))
    template = load_template(base("qwen2"))
    assert len(tokenised(titles(40), template, 2048)) == 40
