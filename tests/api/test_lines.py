"""Business lines are called like models; they are switched and rolled back by those who may."""

from __future__ import annotations

import httpx
import pytest

from tests.api.served import BASE, Served, refused

HI = [{"role": "user", "content": "Hi"}]


def test_a_line_answers_with_the_model_that_it_has_now(server: Served, http: httpx.Client, key: str) -> None:
    server.says = lambda request: request.adapter.name if request.adapter else "base"
    first, second = server.model(key), server.model(key)
    made = http.post("/postil/lines/after-sales", json={"model": first, "reason": "first", "title": "售后"}).json()
    assert (made["callable"], made["title"], made["live"]) == ("line:after-sales", "售后", True)

    def says() -> str:
        answer = http.post("/chat/completions", json={"model": "line:after-sales", "messages": HI}).json()
        assert answer["model"] == "line:after-sales"
        return str(answer["choices"][0]["message"]["content"])

    names = {name: server.store.models.get(server.project(key), name).directory.rpartition("/")[2]
             for name in (first, second)}  # fmt: skip
    assert says() == names[first]
    http.post("/postil/lines/after-sales", json={"model": second, "reason": "better"})
    assert says() == names[second]
    assert http.post("/postil/lines/after-sales/back", json={"reason": "complaints"}).json()["model"] == first
    assert says() == names[first]
    refused(http.post("/postil/lines/after-sales/back", json={}), 400, "nothing_before")
    log = http.get("/postil/lines/after-sales/log").json()["data"]
    assert [(one["action"], one["model"], one["reason"]) for one in log] == [
        ("set", first, "first"), ("set", second, "better"), ("rolled_back", first, "complaints"),
    ]  # fmt: skip
    refused(http.delete(f"/models/{first}"), 400, "model_on_line")
    http.post("/postil/models/withdraw", json={"model": first, "reason": "x"})
    assert http.get("/postil/lines").json()["data"][0]["live"] is False
    refused(http.post("/chat/completions", json={"model": "line:after-sales", "messages": HI}), 403, "model_not_live")
    assert http.delete("/postil/lines/after-sales").json()["deleted"] is True
    refused(http.post("/chat/completions", json={"model": "line:after-sales", "messages": HI}), 404, "not_found")


def test_a_line_may_have_a_base_and_is_listed_among_the_models(http: httpx.Client) -> None:
    http.post("/postil/lines/faq", json={"model": BASE})
    assert "line:faq" in [one["id"] for one in http.get("/models").json()["data"]]
    assert http.get("/models/line:faq").json()["id"] == "line:faq"
    assert http.post("/chat/completions", json={"model": "line:faq", "messages": HI}).status_code == 200
    refused(http.delete("/models/line:faq"), 404)
    refused(http.get("/models/line:none"), 404)


@pytest.mark.parametrize("name", ["After", "a_b", "售后", "-a", "a" * 64, "a.b"])
def test_a_line_has_a_plain_name(http: httpx.Client, name: str) -> None:
    refused(http.post(f"/postil/lines/{name}", json={"model": BASE}), 400, param="line")


def test_a_line_takes_only_what_may_be_called(server: Served, http: httpx.Client, key: str) -> None:
    for model, status in (("ft:none", 404), (server.model(key, outcome="worse"), 403), ("line:x", 400), ("/etc", 404)):
        refused(http.post("/postil/lines/x", json={"model": model}), status)
    assert http.get("/postil/lines").json()["data"] == []


def test_attack_15_only_an_admin_switches_a_line(server: Served, http: httpx.Client, key: str) -> None:
    http.post("/postil/lines/x", json={"model": BASE})
    with server.http(server.key("train", "serve", project=server.project(key))) as worker:
        refused(worker.post("/postil/lines/x", json={"model": BASE}), 403, "scope_missing")
        refused(worker.post("/postil/lines/x/back", json={}), 403)
        refused(worker.delete("/postil/lines/x"), 403)
        assert worker.get("/postil/lines/x").status_code == 200
    with server.http() as other:
        for method, path in (("GET", "/postil/lines/x"), ("GET", "/postil/lines/x/log"), ("DELETE", "/postil/lines/x")):
            refused(other.request(method, path), 404)
        refused(other.post("/postil/lines/x/back", json={}), 404)
        refused(other.post("/chat/completions", json={"model": "line:x", "messages": HI}), 404)
