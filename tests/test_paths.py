"""Paths of this machine are said by name to a server's clients, and whole at a command line."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path

import pytest

from postil.errors import AdapterError
from postil.locales import speak_to_clients
from postil.paths import all_by_name, by_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/tmp/a b/c.json", "c.json"),
        ("/tmp/a/b/", "b"),
        ("[Errno 2] No such file: '/tmp/a b/c.json'", "[Errno 2] No such file: 'c.json'"),
        ("cannot read /tmp/x/y.db: disk", "cannot read y.db: disk"),
        ("at file:///tmp/x/y", "at y"),
        ("in (/tmp/x/y).", "in (y)."),
        ("see /tmp/x/y.", "see y."),
        ("读不了/tmp/数据/甲.xlsx，请看", "读不了甲.xlsx，请看"),
        ("a=/tmp/x/y", "a=y"),
        ('{"path": "/tmp/a b/c", "n": 1}', '{"path": "c", "n": 1}'),
        (r"C:\Users\li\x.json", "x.json"),
        (r"'C:\Users\li ming\x.json'", "'x.json'"),
        (r"\\host\share\x.json", "x.json"),
        ("c:/data/x.json", "x.json"),
        ("/v1/models/nothing", "/v1/models/nothing"),
        ("and/or /no-such-root/x", "and/or /no-such-root/x"),
        ("/tmp", "/tmp"),
        ("https://example.com/tmp/x", "https://example.com/tmp/x"),
        ("1/2", "1/2"),
        ("", ""),
        ("a\\b", "a\\b"),
    ],
)
def test_what_is_a_path_is_said_by_its_last_part(text: str, shown: str) -> None:
    assert by_name(text) == shown


def test_of_trees_every_text(tmp_path: Path) -> None:
    tree = {"path": tmp_path / "a", "rows": [{"file": f"{tmp_path}/b"}], "n": 1, "text": "as it is"}
    assert all_by_name(tree) == {"path": "a", "rows": [{"file": "b"}], "n": 1, "text": "as it is"}


@pytest.mark.parametrize("kind", [str, Path])
def test_attack_33_an_error_says_to_clients_the_name_and_to_the_user_the_path(tmp_path: Path, kind: type) -> None:
    error = AdapterError("not_an_adapter", path=kind(tmp_path / "some where" / "adapter"))
    assert str(tmp_path) in str(error)

    def said() -> str:
        speak_to_clients()
        return error.cause("zh") + error.cause("en")

    told = copy_context().run(said)
    assert str(tmp_path) not in told and told.count("adapter") >= 2
