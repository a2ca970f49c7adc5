"""Where a file comes in: dropped or chosen, sent with its progress, and stopped if wished."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from postil.api import FILE_BYTES, PAGE_UPLOAD
from postil.web.desk import Desk
from postil.web.frame import box, button, guarded, note, text
from postil.web.place import Meter, Place

Came = Callable[[dict[str, Any]], Awaitable[None]]  # hears {"id", "filename"} of what is in the store now

# The browser sends the file itself; the page's connection only hears how far it is.
SEND = """(event) => {
  const file = (event.dataTransfer || event.target).files[0];
  if (!file) return;
  if (file.size > %(most)d) { emit({state: 'large'}); return; }
  const form = new FormData(); form.append('file', file);
  const sent = window.postilUpload = new XMLHttpRequest();
  let told = 0;
  sent.upload.onprogress = (e) => {
    if (Date.now() - told > 300) { told = Date.now(); emit({state: 'sending', percent: 100 * e.loaded / e.total}); }
  };
  sent.onload = () => {
    let reply = null;
    try { reply = JSON.parse(sent.responseText); } catch { reply = null; }
    emit({state: sent.status === 200 && reply ? 'done' : 'failed', reply: reply});
  };
  sent.onerror = () => emit({state: 'failed', reply: null});
  sent.onabort = () => emit({state: 'stopped'});
  sent.open('POST', %(path)s);
  sent.send(form);
  if (event.target.value) event.target.value = '';
}"""
SCRIPT = SEND % {"most": FILE_BYTES, "path": json.dumps(PAGE_UPLOAD)}


STOP = "() => window.postilUpload?.abort()"  # in the browser alone: it must work while the connection is full


class Upload:
    """A place for one file. act: what is done with it, by its name in the table of rights."""

    def __init__(self, desk: Desk, came: Came, label: str = "", *, act: str) -> None:
        self._desk, self._came, self._act = desk, came, act
        heard = guarded(desk, self._heard)
        with box("drop stack") as drop:
            with box("drop-label", "label"):  # the browser's own button speaks the browser's language
                text(label or desk.say("web.upload.label"), "strong", "span")
                text(desk.say("web.upload.choose"), "drop-button", "span")
                box("sr", "input").props("type=file").on("change", heard, js_handler=SCRIPT)
            self._place = Place(live=True)
        drop.on("dragover.prevent", js_handler="() => {}")
        drop.on("drop.prevent", heard, js_handler=SCRIPT)

    async def _heard(self, event: Any) -> None:
        told = event.args
        state = told["state"]
        if state == "sending":
            self._show(float(told["percent"]))
        elif state == "done":
            self._place.empty()
            async with self._desk.acting(self._act):
                await self._came(told["reply"])
        elif state == "large":
            self._refuse(self._desk.say("web.upload.rejected"))
        elif state == "failed":
            error = (told.get("reply") or {}).get("error") or {}
            self._refuse(str(error.get("message") or self._desk.say("web.upload.failed")))
        else:  # stopped by whoever began it
            self._place.show(state, lambda: note(self._desk.say("web.upload.stopped"), "info"))

    def _refuse(self, words: str) -> None:
        """What was wrong stays until the next file comes."""
        self._place.show(words, lambda: note(words, "bad"))

    def _show(self, percent: float) -> None:
        """Told several times a second: bar and figure move, the button stays the one that is about to be pressed."""
        self._place.show("sending", self._begin)
        self._meter.at(percent)
        self._share.text = f"{percent:.0f} %"

    def _begin(self) -> None:
        self._meter = Meter(0.0, self._desk.say("web.upload.progress"))
        with box("line"):
            self._share = text("", "small soft number", "span")
            button(self._desk.say("web.upload.stop")).on("click", js_handler=STOP)
