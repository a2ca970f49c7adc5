"""Whatever is read, changed and written back whole: nobody writes over what they have not seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store, correction_version, line_version, note_version
from postil.store.models import add as add_model
from postil.store.versions import version_of

MODEL = "ft:tiny:local::abcdefgh"
Read, Write = Callable[[], str], Callable[[str, str | None], Any]


def note(store: Store) -> tuple[Read, Write]:
    """How the version of a note is read, and how a note is written."""
    with store.database.write() as session:
        add_model(session, project=LOCAL, name=MODEL, base="tiny", base_sha256="0", adapter_sha256="1", directory="x")
    notes = store.models
    return (
        lambda: note_version(notes.note(LOCAL, MODEL)),
        lambda text, version: notes.set_note(LOCAL, MODEL, text, "key_1", version=version),
    )


def line(store: Store) -> tuple[Read, Write]:
    lines = store.lines
    return (
        lambda: line_version(next(iter(lines.list(LOCAL)), None)),
        lambda text, version: lines.set(LOCAL, "faq", text, "key_1", "", version=version),
    )


def correction(store: Store) -> tuple[Read, Write]:
    kept = store.corrections
    name = kept.add(LOCAL, kept.create(LOCAL, "x").id, messages=[], answer="a", by="key_1").id
    return (
        lambda: correction_version(kept.correction(LOCAL, name)),
        lambda text, version: kept.change(LOCAL, name, {"right": text}, version=version),
    )


@pytest.mark.parametrize("kind", [note, line, correction])
def test_who_has_not_seen_the_present_state_changes_nothing(
    store: Store, kind: Callable[[Store], tuple[Read, Write]]
) -> None:
    read, write = kind(store)
    seen = read()
    write("hers", seen)
    now = read()
    with pytest.raises(StoreError) as refused:
        write("mine", seen)
    assert refused.value.code == "stale_version" and read() == now
    assert refused.value.values["version"] == now and now in refused.value.remedy("en")
    for lang in ("en", "zh"):
        assert "{" not in refused.value.cause(lang)
    write("mine", now)  # the remedy
    assert read() != now
    write("whatever stands there", None)


def test_a_line_that_was_made_meanwhile_is_not_taken_over(store: Store) -> None:
    read, write = line(store)
    assert read() == ""
    write("hers", "")
    with pytest.raises(StoreError) as refused:
        write("mine", "")
    assert refused.value.code == "stale_version"
    with pytest.raises(StoreError) as refused:
        store.lines.roll_back(LOCAL, "faq", "key_1", "", version="")
    assert refused.value.code == "stale_version"


def test_a_version_is_the_name_of_a_state() -> None:
    assert version_of("a", "b") == version_of("a", "b") != version_of("ab", "")
    assert version_of(None) != version_of("None")
