"""Keys and the audit on the command line: whoever can read the store's directory needs no server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postil.store import COMMAND_LINE, Store
from tests.story import refused, said, told


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSTIL_DATA", str(tmp_path / "studio"))
    return tmp_path / "studio"


def test_a_key_is_made_rotated_and_revoked_and_the_audit_says_so(place: Path) -> None:
    made = told(["keys", "add", "--name", "bot", "--project", "proj_x", "--scope", "serve", "--tokens-per-day", "50"])
    rotated = told(["keys", "rotate", made["id"]])
    assert rotated["id"] == made["id"] and rotated["secret"] != made["secret"] and rotated["tokens_per_day"] == 50
    store = Store(place)
    assert store.keys.check(made["secret"]) is None
    maker = store.keys.check(rotated["secret"])
    child = store.keys.create("proj_x", "child", ["serve"], maker=maker)[0]
    store.close()
    assert told(["keys", "revoke", made["id"], "--with-made"])["state"] == "revoked"
    assert {key["state"] for key in told(["keys", "list"])["keys"] if key["id"] in (made["id"], child.id)} == {
        "revoked"
    }
    lines = told(["audit", "--project", "proj_x"])["lines"]
    assert [line["act"] for line in lines] == ["key_revoked", "key_revoked", "key_made", "key_rotated", "key_made"]
    assert {line["key_id"] for line in lines if line["target"] == made["id"]} == {COMMAND_LINE}
    assert [line["act"] for line in told(["audit", "--act", "key_rotated", "--limit", "1"])["lines"]] == ["key_rotated"]
    assert made["secret"] not in str(lines) and rotated["secret"] not in str(lines)


def test_the_audit_speaks_as_a_line_for_each_act(lang: str) -> None:
    key = told(["keys", "add", "--name", "机器人"])["id"]
    _, words, _ = said(["audit", "--lang", lang])
    assert key in words and "机器人" in words
    assert {"zh": "新建了密钥", "en": "made a key"}[lang] in words


def test_a_revoked_key_is_not_rotated() -> None:
    key = told(["keys", "add"])["id"]
    told(["keys", "revoke", key])
    assert refused(["keys", "rotate", key]) == "key_revoked"
    assert refused(["keys", "rotate", "key_none"]) == "key_not_found"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_secret_stands_in_one_piece_on_a_screen_of_any_width(
    lang: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = said(["keys", "add", "--lang", lang])
    (line,) = [line for line in out.splitlines() if "sk-postil-" in line]
    assert code == 0 and re.search(r"sk-postil-[0-9a-z]{12}-[0-9a-f]{64}$", line)
