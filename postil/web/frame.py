"""What all pages have in common: the frame around them, and the small pieces that they are made of.

Text goes through elements that show it as text; nothing that came from a person is ever HTML.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastapi import Request
from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from postil.api import LANGUAGE_COOKIE, refused
from postil.locales import LANGUAGES, in_a_row
from postil.web.desk import REFUSALS, Desk, desk_of, status_of
from postil.web.rights import needed
from postil.web.session import ROOT

NAV = ("new", "jobs", "compare", "models", "evaluations", "data")
DARK_COOKIE = "postil_dark"
TONES = {"succeeded": "good", "failed": "bad", "cancelled": "", "running": "info", "queued": "warn", "paused": "warn",
         "validating_files": "info"}  # fmt: skip
AT = "desk"  # under which a page's client keeps whose it is
PATIENCE = 60.0  # seconds that a page may take before it is given up: on a busy machine, an import takes several

E = TypeVar("E", bound=ui.element)


class Text(TextElement):
    """An HTML element of any kind with plain text in it."""

    def __init__(self, tag: str, text: str, classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)


def box(classes: str = "", tag: str = "div") -> ui.element:
    """A plain element to put others into."""
    return ui.element(tag).classes(classes)


def text(words: str, classes: str = "", tag: str = "p") -> Text:
    """A paragraph, or text in another element."""
    return Text(tag, words, classes)


def heading(words: str, level: int = 2) -> Text:
    return Text(f"h{level}", words).props(f'role=heading aria-level="{level}"')


def note(words: str, tone: str = "info", more: str = "") -> ui.element:
    """A message beside the text: good, bad, warn or info."""
    with box(f"note {tone}") as made:
        text(words, "wrap strong" if more else "wrap")
        if more:
            text(more, "wrap")
    return made.props("role=alert") if tone == "bad" else made


def chip(words: str, tone: str = "") -> Text:
    return Text("span", words, f"chip {tone}")


def button(
    words: str, act: Callable[..., Any] | None = None, *, main: bool = False, icon: str | None = None
) -> ui.button:  # fmt: skip
    made = ui.button(words, on_click=act, icon=icon, color=None)
    return made.props("unelevated no-caps" if main else "flat no-caps").classes("main-act" if main else "plain-act")


def act_button(
    desk: Desk,
    name: str,
    words: str,
    do: Callable[..., Awaitable[Any]],
    *,
    main: bool = False,
    icon: str | None = None,
) -> ui.button | None:
    """A button that changes or gives something; none for whoever may not. name: in the table of rights."""
    return button(words, act(desk, name, do), main=main, icon=icon) if desk.can(name) else None


def way(words: str, path: str, *, main: bool = False) -> ui.button | None:
    """A button that leads to another page or file of ours; none for whoever may not go there."""
    return button(words, lambda: go(path), main=main) if _may_open(path) else None


def _may_open(path: str) -> bool:
    """Whether the person at this page may go there."""
    desk: Desk = ui.context.client.storage[AT]
    return desk.may_open(path)


def link(words: str, path: str, classes: str = "") -> Text:
    """A link to another page of ours, its words alone for whoever may not go there. `path` begins after the root."""
    if not _may_open(path):
        return Text("span", words, classes)
    made = Text("a", words, classes)
    made.props["href"] = ROOT + path
    return made


def pointer(words: str, path: str) -> Text | None:
    """A link whose words say what to do there, not what is there; none for whoever may not go there."""
    return link(words, path) if _may_open(path) else None


def go(path: str) -> None:
    ui.navigate.to(path)


def address_shown(path: str) -> None:
    """Put another address over the page without loading it."""
    ui.run_javascript(f"history.replaceState(null, '', {json.dumps(path)})")


def bar(percent: float, label: str) -> ui.element:
    """How far something is, 0 to 100."""
    with labelled(box("bar"), label) as made:
        made.props(f'role=progressbar aria-valuemin=0 aria-valuemax=100 aria-valuenow="{percent:.0f}"')
        box().style(f"width: {min(100.0, max(0.0, percent)):.1f}%")
    return made


@contextmanager
def card(title: str | None = None) -> Iterator[ui.element]:
    with box("card stack", "section") as made:
        if title:
            heading(title)
        yield made


def nothing_yet(desk: Desk, words: str) -> None:
    """What stands where there is nothing yet, with the way to the beginning; who may not go it is told whom to ask."""
    with card():
        text(words)
        if way(desk.say("web.nav.new"), "/new", main=True) is None:
            text(desk.say("web.home.reader"), "soft")


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], label: str) -> ui.element:
    """A table of texts; a cell may also be a function that fills it.

    On a narrow screen each cell stands beside its heading; of two columns the first is the heading of the second.
    """
    facts = len(headers) == 2
    with labelled(box("table").props("tabindex=0 role=region"), label) as outer, box(tag="table"):
        with box(tag="thead"), box(tag="tr"):
            for header in headers:
                Text("th", header).props("scope=col")
        with box(tag="tbody"):
            for row in rows:
                with box(tag="tr"):
                    for header, cell in zip((headers[0], str(row[0])) if facts else headers, row, strict=True):
                        _cell(header, cell)
    return outer.classes("stacks facts" if facts else "stacks")


def _cell(header: str, cell: Any) -> None:
    """A cell, with its heading for where the screen is too narrow for a row of them."""
    if callable(cell):
        with box(tag="td") as made:
            cell()
    else:
        made = Text("td", str(cell))
    made.props["data-label"] = header


def told(desk: Desk, error: Exception) -> None:
    """Show an error where one is: what happened, what to do."""
    cause, remedy, code = desk.words(error)
    note(cause, "bad", f"{remedy} [{code}]" if code else remedy)


@contextmanager
def telling(desk: Desk, place: ui.element) -> Iterator[None]:
    """What is refused within is told in its place, which would say else for ever that something is being worked out."""
    try:
        yield
    except REFUSALS as error:
        place.clear()
        with place:
            told(desk, error)


def notify(desk: Desk, error: Exception) -> None:
    """Show an error above the page."""
    cause, remedy, code = desk.words(error)
    ui.notify(in_a_row(cause, f"{remedy} [{code}]"), type="negative", multi_line=True, timeout=10_000, close_button="×")


def guarded(desk: Desk, act: Callable[..., Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """The handler `act` of an event, for whoever may still be here. It shows an error of ours instead of losing it."""

    async def run(event: Any) -> None:
        try:
            await desk.still_may()
            await act(event)
        except REFUSALS as error:
            notify(desk, error)

    return run


def act(desk: Desk, name: str, do: Callable[..., Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """The handler of an event that changes or gives something, for whoever may at that moment.

    name: in the table of rights. Handlers of events that only show something are `guarded`.
    """

    async def run(event: Any) -> None:
        async with desk.acting(name):
            await do(event)

    return guarded(desk, run)


def soon(desk: Desk, act: Callable[..., Awaitable[None]], *, every: float | None = None) -> ui.timer:
    """Do `act` as soon as the page stands, or `every` so many seconds."""
    run = guarded(desk, act)
    return ui.timer(every or 0.05, lambda: run(None), once=every is None)


def page(path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator of a page of ours, which stands in the table of rights: who may not open it is told so instead."""
    scopes = needed(path)

    def decorate(build: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
        @wraps(build)
        async def opened(*, request: Request, **named: Any) -> None:
            desk = ui.context.client.storage[AT] = desk_of(request)
            if desk.can(path):
                await build(request=request, **named)
                return
            async with frame(desk, "", desk.say("web.refused.title")):
                raise refused("scope_missing", scope=scopes[0])

        return ui.page(path, response_timeout=PATIENCE)(opened)

    return decorate


@asynccontextmanager
async def frame(desk: Desk, here: str, title: str, lead: str = "") -> AsyncIterator[None]:
    """The page's head and what stands in it. An error of ours in the middle is told in its place."""
    ui.page_title(f"{title} · Postil 批注")
    _dress(desk)
    dark = desk.cookies.get(DARK_COOKIE)
    mode = ui.dark_mode(None if dark is None else dark == "1")
    with ui.header(wrap=False).classes("top"), box("top-in"):
        link("Postil 批注", "/", "brand")
        with labelled(box("nav", "nav"), desk.say("web.nav.label")):
            for name in filter(lambda name: desk.may_open(f"/{name}"), NAV):
                item = link(desk.say(f"web.nav.{name}"), f"/{name}")
                if name == here:
                    item.props("aria-current=page")
        _tools(desk, mode)
    with box("main"):  # within the element <main> that every page has
        with box():
            heading(title, 1)
            if lead:
                text(lead, "lead")
        try:
            yield
        except REFUSALS as error:
            told(desk, error)
            ui.context.client.status_code = status_of(error)


# How the machinery of the pages calls our languages: what it says itself, mostly to who cannot see, is in the reader's.
SPOKEN: dict[str, Literal["en-US", "zh-CN"]] = {"en": "en-US", "zh": "zh-CN"}
# What the pages' own machinery says when the connection breaks stands in the page in English.
LOST = """<script>document.addEventListener('DOMContentLoaded', () => {
  const said = %s;
  document.querySelectorAll('#popup span').forEach((span, i) => { span.textContent = said[i]; });
});</script>"""


def _dress(desk: Desk) -> None:
    """Style and language of a page."""
    ui.add_css(_style())
    ui.add_head_html(LOST % json.dumps([desk.say("web.connection.lost"), desk.say("web.connection.again")]))
    client = ui.context.client
    client.page = copy(client.page)  # which all visitors have in common
    client.page.language = SPOKEN[desk.lang]
    ui.colors(primary="#b3261e", positive="#1b6b3a", negative="#b3261e", warning="#8a5200", info="#1f5a96")


@asynccontextmanager
async def plain_frame(desk: Desk, title: str) -> AsyncIterator[None]:
    """A page without the way to the others: for whoever is no user of the studio."""
    ui.page_title(f"{title} · Postil 批注")
    _dress(desk)
    ui.dark_mode(None)
    with box("main"):
        text("Postil 批注", "brand", "div")
        yield


def labelled(element: E, label: str) -> E:
    """The element with a name for those who hear the page instead of seeing it."""
    element.props["aria-label"] = label
    return element


def _tools(desk: Desk, mode: Any) -> None:
    """Language, light or dark, sign out."""
    other = next(lang for lang in LANGUAGES if lang != desk.lang)

    async def turn() -> None:
        dark = mode.value if mode.value is not None else await ui.run_javascript("Quasar.Dark.isActive")
        mode.value = not dark
        _remember(DARK_COOKIE, "0" if dark else "1")

    with box("tools"):
        if desk.may("admin"):
            labelled(button("", lambda: go("/keys"), icon="key"), desk.say("web.nav.keys"))
        button("中文" if other == "zh" else "English", lambda: _remember(LANGUAGE_COOKIE, other, again=True))
        labelled(button("", turn, icon="contrast"), desk.say("web.nav.dark"))
        with box(tag="form") as form:
            form.props(f'method=post action="{ROOT}/logout"')
            labelled(ui.button(icon="logout", color=None).props("flat type=submit").classes("plain-act"),
                     desk.say("web.nav.leave"))  # fmt: skip


def _remember(name: str, value: str, *, again: bool = False) -> None:
    """A preference of this browser. It holds no secret."""
    cookie = json.dumps(f"{name}={value}; path=/; max-age=31536000; samesite=strict")
    ui.run_javascript(f"document.cookie = {cookie};" + (" location.reload();" if again else ""))


@cache
def _style() -> str:
    return Path(__file__).with_name("theme.css").read_text("utf-8")
