"""Secrets hide themselves in whatever shows them, and the settings show none."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict, astuple, replace

import pytest

from postil import doctor
from postil.__main__ import main
from postil.errors import FileError, StoreError
from postil.secret import Address, Options, Secret, hide
from postil.settings import Settings

WORD = "tr0ub4dor"
ADDRESSES = {
    f"postgresql://ada:{WORD}@db.example:5432/postil": "postgresql://***@db.example:5432/postil",
    f"postgresql://ada:{WORD}@2@db.example/postil": "postgresql://***@db.example/postil",
    f"postgresql://ada:a/{WORD}?x@db.example/postil": "postgresql://***@db.example/postil",
    f"postgresql://db.example/postil?user=ada&password={WORD}&sslmode=require": "postgresql://db.example/postil?user=***&password=***&sslmode=require",
    f"s3://KEY:{WORD}@bucket/path": "s3://***@bucket/path",
    f"s3://bucket?key=a&secret={WORD}&endpoint_url=https://s3.example": "s3://bucket?key=***&secret=***&endpoint_url=https://s3.example",
    f"simplecache::ftp://ada:{WORD}@files.example/x": "simplecache::ftp://***@files.example/x",
    f"host=db.example user=ada password={WORD}": "host=db.example user=*** password=***",
    f"https://{WORD}@mirror.example": "https://***@mirror.example",
    "https://judge.example/v1": "https://judge.example/v1",
    "/srv/files": "/srv/files",
    "sqlite:////srv/postil.db": "sqlite:////srv/postil.db",
    "": "",
}
VARIABLES = {
    "POSTIL_DATABASE": f"postgresql://ada:{WORD}@db.example/postil",
    "POSTIL_FILES": f"s3://KEY:{WORD}@bucket",
    "POSTIL_JUDGE_URL": f"https://ada:{WORD}@judge.example/v1",
    "POSTIL_VLLM_URL": f"https://ada:{WORD}@vllm.example",
    "POSTIL_HF_ENDPOINT": f"https://ada:{WORD}@mirror.example",
    "POSTIL_VLLM_ARGS": f"--dtype half --api-key {WORD} --hf-token={WORD}",
    "POSTIL_VLLM_KEY": WORD,
    "POSTIL_JUDGE_KEY": WORD,
    "POSTIL_REMOTE_KEY": WORD,
}


@pytest.mark.parametrize(("text", "shown"), ADDRESSES.items())
def test_attack_17_an_address_shows_where_and_not_who(text: str, shown: str) -> None:
    assert str(Address(text)) == shown
    assert Address(text).reveal() == text
    assert WORD not in repr(Address(text))


def test_options_show_all_but_the_values_of_keys() -> None:
    shown = str(Options(f"--dtype half --api-key {WORD} --hf-token={WORD} --max-lora-rank 128"))
    assert shown == "--dtype half --api-key '***' '--hf-token=***' --max-lora-rank 128"
    assert str(Options("--max-lora-rank 128")) == "--max-lora-rank 128"
    assert str(Options(f"--api-key '{WORD}")) == "***"


@pytest.mark.parametrize("made", [Secret(WORD), Address(f"s3://k:{WORD}@b"), Options(f"--api-key {WORD}")])
def test_attack_17_no_way_of_showing_one_shows_it(made: Secret, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("with %s and %r", made, made)
    shown = [
        str(made),
        repr(made),
        f"{made}",
        f"{made:>40}",
        repr([made]),
        repr({1: made}),
        json.dumps({"a": made}, default=str),
        str(StoreError("database_unreachable", detail=made)),
        repr(StoreError("database_unreachable", detail=made).values),
        caplog.text,
    ]
    try:
        raise ValueError(made)
    except ValueError:
        shown.append(traceback.format_exc())
    assert not [text for text in shown if WORD in text]
    assert copy.deepcopy(made) == made
    with pytest.raises(TypeError):
        json.dumps({"a": made})
    with pytest.raises(TypeError):
        pickle.dumps(made)


def test_attack_17_the_settings_show_no_secret_anywhere(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)
    settings = Settings()
    shown = [
        repr(settings),
        str(asdict(settings)),
        str(astuple(settings)),
        json.dumps(settings.as_json()),
        repr(replace(settings, files=f"s3://k:{WORD}@b")),
        json.dumps(doctor.examine()),
    ]
    for arguments in (["doctor"], ["doctor", "--json"]):
        main(arguments)
        shown += capfd.readouterr()
    assert not [text for text in shown if WORD in text]
    assert "db.example" in shown[3] and "bucket" in shown[3], "where is told, who is not"
    assert settings.database.reveal() == VARIABLES["POSTIL_DATABASE"]


def test_attack_17_what_a_library_says_of_an_address_is_hidden_in_an_error() -> None:
    error = FileError("file_unreadable", path=f"cannot open s3://k:{WORD}@bucket/x, nor http://u:{WORD}@h", detail="-")
    assert WORD not in str(error) + repr(error.values)
    assert (
        hide("mail ada@example.com about https://example.com/a") == "mail ada@example.com about https://example.com/a"
    )


def test_part_of_a_key_is_hidden_too() -> None:
    key = Secret("sk-very-secret-0123456789")
    assert key.within("bad key sk-very-secret-0123456789!") == "bad key ***!"
    assert key.within("bad key sk-very-******6789, secret-01") == "bad key *********6789, ***"
    assert Secret().within("as it is") == "as it is"
