"""What a key may not do is neither shown nor done: every page, act and download, with every scope, in every project."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from nicegui import core
from sqlalchemy import select
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from postil.api import PAGE_UPLOAD, refused
from postil.locales import say
from postil.store import SCOPES
from postil.store import tables as t
from postil.web import carry
from postil.web.desk import Desk
from postil.web.rights import ACTS, FILES, PAGES, needed
from postil.web.session import ROOT
from tests.web.lived import Lived, lived_at_home
from tests.web.press import Sheet

if TYPE_CHECKING:
    from tests.models import Build

IMPLIED = {"read": {"read"}, "train": {"train", "read"}, "serve": {"serve"}, "admin": set(SCOPES), "none": set()}
MARKS = {"proj_ours": "甲家的东西", "proj_theirs": "乙家的东西"}
SOURCES = sorted(Path(carry.__file__).parent.glob("*.py"))


@pytest.fixture(scope="module")
def house(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with lived_at_home(base("llama3"), tmp_path_factory.mktemp("rights")) as made:
        for project, mark in MARKS.items():
            made.live(project, mark)
        yield made


def narrow(house: Lived, client: httpx.Client, *scopes: str, revoke: bool = False) -> None:
    """What the key of this client may from now on."""
    with house.store.database.write() as session:
        row = session.scalar(select(t.Key).where(t.Key.id == client.headers["x-key"]))
        row.scopes, row.revoked_at = list(scopes), 1 if revoke else None


@contextmanager
def signed_in(house: Lived, *scopes: str, project: str = "proj_ours") -> Iterator[httpx.Client]:
    secret = house.key(project=project)
    with httpx.Client(
        base_url=house.studio, timeout=60, headers={"x-key": house.store.keys.check(secret).id}
    ) as client:
        assert client.post("/login", data={"given": secret}).status_code == 200
        narrow(house, client, *scopes)
        yield client


def asker(house: Lived, scope: str) -> Any:
    """Somebody with a key of one scope; nobody for ""."""
    if not scope:
        return httpx.Client(base_url=house.studio, timeout=60)
    return signed_in(house, *(() if scope == "none" else (scope,)))


def alone(work: Coroutine[Any, Any, None]) -> None:
    """Run it on a thread of its own: a browser of other tests may have a loop on this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


def address(path: str, things: dict[str, str]) -> str:
    """The path with the ids of these things in it."""
    return re.sub(r"\{(\w+)(:path)?\}", lambda part: things.get(part[1], "nothing-1"), path)


def texts(page: Sheet) -> list[str]:
    return [str(element.get("text") or "") for element in page.elements.values()]


def dump(house: Lived) -> dict[str, Any]:
    """All that is in the store, but for the keys."""
    with house.store.database.read() as session:
        tables = [table for table in t.Table.metadata.sorted_tables if table.name not in ("keys", "servers")]
        return {table.name: [tuple(row) for row in session.execute(select(table))] for table in tables}


# ── the table and the code ──


def test_every_page_file_and_act_stands_in_the_table(house: Lived) -> None:
    pages = {route.path for route in core.app.routes if isinstance(route, Route) and "/_nicegui" not in route.path}
    assert pages - {"/favicon.ico", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"} == set(PAGES)
    carried = {route.path for route in carry.routes(house.house).routes if isinstance(route, Route)}
    assert carried == {ROOT + path for path in FILES}
    assert PAGE_UPLOAD == ROOT + "/upload"


def test_every_act_of_the_code_is_in_the_table_and_every_one_of_the_table_in_the_code() -> None:
    """What the pages write at all, they write within an act: the store refuses everything else (see the next one)."""
    strings = {
        node.value
        for source in SOURCES
        if source.name != "rights.py"
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    built = [words for words in strings if words.endswith(".") and " " not in words]  # f"job.{name}"
    assert not [name for name in ACTS if name not in strings and not name.startswith(tuple(built))]


def test_a_page_that_only_shows_cannot_write(house: Lived) -> None:
    key = house.store.keys.check(house.key(project="proj_ours"))
    desk, create = Desk(house.house, key, "en", page="/data"), house.store.corrections.create

    async def look_and_write() -> None:
        with pytest.raises(RuntimeError, match="one only looks"):
            await desk.do(create, "proj_ours", "only looked")
        async with desk.acting("correction.add"):
            await desk.do(create, "proj_ours", "written down")
        with pytest.raises(RuntimeError, match="one only looks"):
            await desk.do(create, "proj_ours", "only looked")

    alone(look_and_write())
    names = [row.name for row in house.store.corrections.list("proj_ours").rows]
    assert "written down" in names and "only looked" not in names


# ── the words ──


def test_a_refusal_and_the_record_call_a_right_as_the_page_of_the_keys_does(house: Lived) -> None:
    with signed_in(house, "read") as reader, signed_in(house, *SCOPES) as client:
        for somebody in (reader, client):
            somebody.headers["accept-language"] = "zh-CN"
        assert any("“管理”" in words for words in texts(Sheet(reader, "/keys")))
        record = texts(Sheet(client, "/audit"))
    assert "test: 查看, 训练, 调用, 管理" in record, record


def test_what_the_machinery_of_a_page_says_is_in_the_readers_language(house: Lived) -> None:
    with signed_in(house, *SCOPES) as client:
        for lang in ("zh-CN", "en-US"):
            page = client.get("/models", headers={"accept-language": lang}).text
            assert f'<html lang="{lang}"' in page and f"/lang/{lang}.umd" in page


def test_what_is_refused_while_one_waits_is_told_in_its_place(house: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise refused("too_busy", what="xray")

    monkeypatch.setattr("postil.web.xray.xray", busy)
    with signed_in(house, *SCOPES) as client:
        page = Sheet(client, address("/data/{dataset_id}/xray", house.things["proj_ours"]))
        assert page.connect()
        assert page.wait(lambda: any("[too_busy]" in words for words in texts(page))), page.heard


def test_where_nothing_is_yet_whoever_may_not_begin_is_told_whom_to_ask(house: Lived) -> None:
    with signed_in(house, "read", project="proj_empty") as reader:
        for path in ("/jobs", "/models", "/evaluations", "/data"):
            assert say("web.home.reader", "en") in texts(Sheet(reader, path)), path


def test_words_that_say_what_to_do_stand_only_where_one_may(house: Lived) -> None:
    things = house.things["proj_ours"]
    with signed_in(house, "read") as reader, signed_in(house, "train") as trainer:
        for path, words in (("/data", "Model and settings"), ("/data/{dataset_id}/versions", "Look at it")):
            assert words not in texts(Sheet(reader, address(path, things)))
            assert words in texts(Sheet(trainer, address(path, things)))
        page = Sheet(reader, address("/models/{name:path}", things))
        assert f"{MARKS['proj_ours']} note" in texts(page)  # read, and in no field that takes no letters


# ── every page, file and act, with every scope ──


@pytest.mark.parametrize("scope", IMPLIED)
def test_attack_27_the_table_says_what_the_routes_really_ask(house: Lived, scope: str) -> None:
    """Each route that a page, file or act names is asked itself, over HTTP."""
    secret = house.key(project="proj_nothing")
    with house.store.database.write() as session:
        row = session.scalar(select(t.Key).where(t.Key.id == house.store.keys.check(secret).id))
        row.scopes = [] if scope == "none" else [scope]
    with httpx.Client(base_url=house.url, headers={"authorization": f"Bearer {secret}"}) as http:
        for name, route in {**PAGES, **FILES, **ACTS}.items():
            method, _, path = route.partition(" ")
            if not needed(name):
                continue
            answer = http.request(method, address(path, {}), json=None if method == "GET" else {})
            refused = answer.status_code == 403 and answer.json()["error"]["code"] == "scope_missing"
            assert refused == IMPLIED[scope].isdisjoint(needed(name)), (name, answer.status_code, answer.text)


@pytest.mark.parametrize("scope", ["", *IMPLIED])
@pytest.mark.parametrize("project", MARKS)
def test_attack_27_every_page_and_download_with_every_scope(house: Lived, project: str, scope: str) -> None:
    things = house.things[project]
    with asker(house, scope) as client:
        for path in (*PAGES, *FILES):
            if path in ("/rate/{token}", "/upload"):
                continue
            answer = client.get(address(path, things))
            allowed = not needed(path) or not IMPLIED.get(scope, set()).isdisjoint(needed(path))
            theirs = project == "proj_theirs" and "{" in path
            wanted = 303 if not scope else 403 if not allowed else 404 if theirs else 200
            assert answer.status_code == wanted, (path, scope, answer.status_code)
            assert MARKS["proj_theirs"] not in answer.text, (path, scope)
            if wanted in (303, 403):
                assert MARKS["proj_ours"] not in answer.text, (path, scope)


@pytest.mark.parametrize("scope", ["", *IMPLIED])
def test_attack_27_an_upload_with_every_scope(house: Lived, scope: str) -> None:
    before = len(dump(house)["files"])
    with asker(house, scope) as client:
        status = client.post("/upload", files={"file": ("a.csv", b"a,b\n1,2\n")}).status_code
    wanted = 303 if not scope else 200 if "train" in IMPLIED[scope] else 403
    assert (status, len(dump(house)["files"]) - before) == (wanted, int(wanted == 200))


def answered(page: Sheet, presses: int) -> bool:
    """Whether each was refused, or only led to another page, which asks itself."""
    return page.count("notify", "[scope_missing]") + page.count("open") >= presses


@pytest.mark.parametrize("scope", ["none", *(pytest.param(scope, marks=pytest.mark.full) for scope in SCOPES)])
def test_attack_27_what_is_not_shown_is_not_done_either(house: Lived, scope: str) -> None:
    """A page stands open, then its key may less: what would not be shown any more is refused at the press."""
    scopes = () if scope == "none" else (scope,)
    things, pressed = house.things["proj_ours"], 0
    paths = [address(path, {**things, "job_id": job}) for path in PAGES if path != "/rate/{token}"
             for job in ([things[name] for name in ("paused", "queued", "running", "failed", "job_id")]
                         if "job_id" in path else [""])]  # fmt: skip
    with signed_in(house, *SCOPES) as client, signed_in(house, *scopes) as smaller:
        for path in paths:
            narrow(house, client, *SCOPES)
            page, shown = Sheet(client, path), Sheet(smaller, path).words()
            hidden = [one for one in page.pressed() if page.word(one[0]) not in shown]
            if not hidden:
                continue
            assert page.connect(), path
            before = dump(house)
            narrow(house, client, *scopes)
            for element, listener in hidden:
                page.press(element, listener)
            words = [page.word(name) for name, _ in hidden]
            assert page.wait(partial(answered, page, len(hidden))), f"{path} {words} {page.heard}"
            assert dump(house) == before, path
            pressed += len(hidden)
    assert pressed or scope == "admin"


@pytest.mark.full
@pytest.mark.parametrize("scope", ["read", "train", "serve"])
def test_attack_27_what_is_shown_is_allowed(house: Lived, scope: str) -> None:
    project = f"proj_{scope}"
    things = house.things.get(project) or house.live(project, scope)
    with signed_in(house, scope, project=project) as client:
        for path in PAGES:
            if path == "/rate/{token}" or IMPLIED[scope].isdisjoint(needed(path)):
                continue
            page = Sheet(client, address(path, things))
            assert page.status == 200 and page.connect(), path
            for element, listener in page.pressed():
                page.press(element, listener)
            page.settle()
            assert not page.count("notify", "[scope_missing]"), (path, page.heard)


def test_a_limited_key_can_ask_on_the_page(house: Lived) -> None:
    """What an answer may take is booked before it begins, which is a write: the press must be an act."""
    key, secret = house.store.keys.create("proj_ours", "limited", ["serve", "read"], tokens_per_day=100_000)
    with httpx.Client(base_url=house.studio, timeout=60) as client:
        assert client.post("/login", data={"given": secret}).status_code == 200
        page = Sheet(client, f"/compare?models={quote(house.things['proj_ours']['model'])}&question=Hi")
        assert page.connect()
        (ask,) = [one for one in page.pressed() if page.word(one[0]) == "Ask"]
        page.press(*ask)
        assert page.wait(lambda: house.store.tokens.today([key.id]).get(key.id, 0) > 0), page.heard


# ── sockets ──


@contextmanager
def socket_of(house: Lived, page: str, client: httpx.Client | None = None) -> Iterator[Any]:
    """The socket of a page as browsers open it. Raises InvalidStatus when it is not let in."""
    cookies = "; ".join(f"{name}={text}" for name, text in (client.cookies if client else {}).items())
    told = f"EIO=4&transport=websocket&client_id={page}&tab_id=t&document_id=d&implicit_handshake=true"
    there = f"ws{house.studio[4:]}/_nicegui_ws/socket.io/?{told}&next_message_id=0"
    with connect(there, additional_headers={"cookie": cookies} if cookies else {}) as opened:
        opened.recv()
        opened.send("40")
        yield opened


def resume(page: Sheet) -> tuple[str, dict[str, Any]]:
    return next(one for one in page.pressed() if page.word(one[0]) == "Go on")


def paused(house: Lived) -> tuple[str, str]:
    """A page of ours with a button, and the job that it would resume."""
    job = house.things["proj_ours"]["paused"]
    return f"/jobs/{job}", job


def test_attack_27_a_page_s_socket_is_its_owner_s(house: Lived) -> None:
    path, job = paused(house)
    with signed_in(house, *SCOPES) as owner, signed_in(house, *SCOPES) as other:
        theirs, own = Sheet(owner, path), Sheet(other, path)
        assert not theirs.connect(other)  # with a page's id alone
        assert own.connect() and theirs.connect(owner)
        own.press(*resume(theirs), page=theirs.id)  # over a socket of one's own, in another's name
        own.settle()
        assert house.queue.get("proj_ours", job).status == "paused"
        stranger = httpx.Client(base_url=house.studio)
        assert not Sheet(owner, path).connect(stranger)


def test_attack_27_a_rater_s_socket_hears_the_rater_s_page_alone(house: Lived) -> None:
    path, job = paused(house)
    rater = httpx.Client(base_url=house.studio)
    vote = Sheet(rater, f"/rate/{house.things['proj_ours']['token']}")
    with signed_in(house, *SCOPES) as owner:
        theirs = Sheet(owner, path)
        assert theirs.connect()
        with socket_of(house, theirs.id, rater) as refused:
            assert "Implicit handshake failed" in refused.recv()
        with socket_of(house, vote.id, rater) as opened:
            assert opened.recv().startswith("40")
            opened.send(theirs.packet(*resume(theirs)))
            theirs.settle()
    assert house.queue.get("proj_ours", job).status == "paused"
    with pytest.raises(InvalidStatus), socket_of(house, "0" * 36):  # a page that there is not
        pass


def test_attack_27_29_an_open_socket_ends_with_the_key(house: Lived) -> None:
    path, job = paused(house)
    with signed_in(house, *SCOPES) as client:
        page = Sheet(client, path)
        with socket_of(house, page.id, client) as opened:
            assert opened.recv().startswith("40")
            narrow(house, client, *SCOPES, revoke=True)
            with pytest.raises(ConnectionClosed) as ended:
                opened.send(page.packet(*resume(page)))
                while True:
                    opened.recv()
            assert ended.value.rcvd.code in (1000, 1008)  # the library says good-bye in its own way when it is ended
        assert house.queue.get("proj_ours", job).status == "paused"
        assert client.get(path).status_code == 303


def test_a_link_that_was_replaced_votes_no_more(house: Lived) -> None:
    things = house.things["proj_ours"]
    ballots, rater = house.store.ballots, httpx.Client(base_url=house.studio)
    _, token = ballots.invite("proj_ours", things["ballot_id"], "who moves")
    page = Sheet(rater, f"/rate/{token}")
    ballot, row = ballots.of_link(token)
    ballots.new_link("proj_ours", row.id)
    with socket_of(house, page.id, rater) as opened:
        assert opened.recv().startswith("40")
        opened.send(page.packet(*page.pressed()[0]))
        while "rater_not_found" not in opened.recv():
            pass
    assert not ballots.votes(ballot)[row.id]
