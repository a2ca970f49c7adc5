"""What goes to a hub: the model and a card, to a private place, and never a row of the data. The hub is a local one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postil import exporting, flow
from postil.errors import ExportError
from postil.export import push as room
from postil.export.push import Place, check_push, read_place
from postil.store import read_json
from tests.export.hub import TOKEN, Hub, hub
from tests.story import INSTRUCTION, SYSTEM, Trained, refused, told

pytest.importorskip("huggingface_hub")
pytest_plugins = ("tests.story",)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub() as made:
        monkeypatch.setenv("POSTIL_HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield made


# ── what is refused ──


@pytest.mark.parametrize("place", ["", "shop/titles", "ftp:shop/titles", "huggingface:titles", "huggingface:a/../b",
                                   "huggingface:shop/ti tles", "huggingface:https://x/y"])  # fmt: skip
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(ExportError) as error:
        read_place(place, public=False, endpoint="")
    assert error.value.code == "push_place"


def test_a_hub_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PACKAGES", {"modelscope": "no_such_package"})
    with pytest.raises(ExportError) as error:
        read_place("modelscope:shop/titles", public=False, endpoint="")
    assert error.value.code == "extra_missing" and "no_such_package" in error.value.remedy("zh")


def test_what_holds_rows_or_helps_nobody_is_refused() -> None:
    for to, reference, code in (("script", "org/base", "push_target"), ("gguf", "org/base", "push_target"),
                                ("peft", "/home/me/base", "push_base")):  # fmt: skip
        with pytest.raises(ExportError) as error:
            check_push(to, reference)  # type: ignore[arg-type]
        assert error.value.code == code
    check_push("peft", "org/base")
    check_push("merged", "/home/me/base")


def test_an_export_that_failed_its_test_goes_nowhere(
    trained: Trained, tmp_path: Path, local: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"outcome": "fail", "cause": "weights", "certificates": [], "words": {"zh": [], "en": []}}
    monkeypatch.setattr("postil.export.run._certified", lambda job, output: failed)
    with pytest.raises(ExportError) as error:
        flow.export(trained.directory, "merged", tmp_path / "out", push="huggingface:shop/titles")
    assert error.value.code == "push_parity" and not local.repos


def test_what_the_hub_says_is_told(
    trained: Trained, tmp_path: Path, local: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = ["export", trained.directory, "--push", "huggingface:shop/titles", "--no-check", "--force", "-o",
            tmp_path / "out"]  # fmt: skip
    local.repos["shop/titles"] = False  # everybody sees it
    assert refused(push) == "push_public" and not local.files
    local.repos["shop/titles"], local.full = True, True
    directory = tmp_path / "out"
    with pytest.raises(ExportError) as error:
        room.upload(directory, ["config.json"], Place("huggingface", "shop/titles", endpoint=local.url))
    assert error.value.code == "push_failed" and "no room left" in error.value.cause("en")
    with pytest.raises(ExportError) as error:
        room.upload(directory, ["config.json"], Place("huggingface", "shop/titles", endpoint="http://127.0.0.1:9"))
    assert error.value.code == "push_failed"
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ExportError) as error:
        room.upload(directory, ["config.json"], Place("huggingface", "shop/titles", endpoint=local.url))
    assert error.value.code == "push_no_token" and "hf auth login" in error.value.remedy("zh")


# ── what goes there ──


def test_a_merged_model_with_its_card_and_no_row(trained: Trained, tmp_path: Path, local: Hub) -> None:
    made = told(["export", trained.directory, "--push", "huggingface:shop/titles", "-o", tmp_path / "out"])
    assert made["pushed"] == {"hub": "huggingface", "repo": "shop/titles", "public": False,
                              "url": f"{local.url}/shop/titles", "commit": "1" * 40}  # fmt: skip
    assert local.repos == {"shop/titles": True}  # private
    assert set(local.files) == {*made["files"], "README.md"}
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert local.files["model.safetensors"] == weights
    rows = [row["question"] for row in read_json(trained.directory / "evaluation.json")["rows"]]
    everything = b"".join(local.files[name] for name in local.files if not name.startswith("tokenizer"))
    assert rows and all(row.encode() not in everything for row in rows)
    assert str(trained.base).encode() not in everything and str(tmp_path).encode() not in everything
    assert trained.sheet.name.encode() not in everything
    card = local.files["README.md"].decode()
    assert 'library_name: "transformers"' in card and SYSTEM in card and INSTRUCTION in card
    verdict = trained.result["verdict"]["words"]
    assert "char" in card and "字" in card and (verdict in card) and 'from_pretrained("shop/titles")' in card


def test_an_adapter_names_its_base_on_the_hub(
    trained: Trained, tmp_path: Path, local: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "public_place", lambda adapter: "org/base")
    made = flow.export(trained.directory, "peft", tmp_path / "out", push="huggingface:shop/adapter", public=True)
    card = local.files["README.md"].decode()
    assert made["pushed"]["public"] and local.repos == {"shop/adapter": False}
    assert 'base_model: "org/base"' in card and 'PeftModel.from_pretrained(base, "shop/adapter")' in card
    assert b'"org/base"' in local.files["adapter_config.json"]


class Recorded:
    """ModelScope's client, which speaks a protocol of its own: what it is asked is written down."""

    def __init__(self, known: dict[str, int]) -> None:
        self.known, self.asked = known, []  # type: ignore[var-annotated]

    def repo_exists(self, repo: str, **how: Any) -> bool:
        return repo in self.known

    def get_model(self, repo: str) -> dict[str, int]:
        return {"Visibility": self.known[repo]}

    def create_repo(self, repo: str, **how: Any) -> None:
        self.asked.append(("create", repo, how["visibility"]))

    def upload_folder(self, **how: Any) -> None:
        self.asked.append(("upload", how["repo_id"], tuple(how["allow_patterns"])))


@pytest.mark.parametrize(("known", "public", "answer"), [({}, False, None), ({"a/b": 5}, False, "push_public"),
                                                         ({"a/b": 1}, False, None), ({}, True, None)])  # fmt: skip
def test_modelscope_is_asked_the_same(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, int], public: bool, answer: str | None
) -> None:
    import sys
    from types import ModuleType, SimpleNamespace

    from postil.export import hubchild

    one, theirs = Recorded(known), ModuleType("modelscope.hub.api")
    theirs.HubApi, theirs.ModelScopeConfig = lambda: one, SimpleNamespace(get_token=lambda: "t")  # type: ignore[attr-defined]
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "modelscope.hub.api", theirs)
    asked = {"repo": "a/b", "public": public, "directory": "d", "files": ["README.md"], "message": "m"}
    found = hubchild.modelscope(asked)
    assert found.get("error") == answer
    created = [("create", "a/b", "public" if public else "private")] if not known else []
    assert one.asked == ([] if answer else [*created, ("upload", "a/b", ("README.md",))])
