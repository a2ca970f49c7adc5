"""Signing in: the link, a key, a cookie; and everything that is no way in."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from postil.locales import say
from tests.web.studio import Studio, window


@pytest.fixture
def stranger(studio: Studio) -> httpx.Client:
    return httpx.Client(base_url=studio.url, follow_redirects=False, timeout=20)


def signed_in(studio: Studio) -> httpx.Client:
    client = httpx.Client(base_url=studio.url, follow_redirects=False, timeout=20)
    answer = client.get(studio.link)
    assert answer.status_code == 200
    return client


def test_a_stranger_only_sees_the_door(stranger: httpx.Client) -> None:
    for path in ("/", "/jobs", "/models", "/models/ft:x", "/data", "/files/file-x/content", "/adapters/ft:x.zip"):
        answer = stranger.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/studio/login?next=/studio/"), path
    asked = stranger.get("/compare?models=ft%3Aa&question=%E5%A5%BD").headers["location"]
    assert asked == "/studio/login?next=/studio/compare%3Fmodels%3Dft%253Aa%26question%3D%25E5%25A5%25BD"
    assert stranger.post("/upload", files={"file": ("a.csv", b"a,b")}).status_code == 303
    assert stranger.post("/_nicegui/client/x/upload/1", files={"file": ("a.csv", b"a,b")}).status_code == 303


def test_the_link_opens_and_the_cookie_stays(studio: Studio) -> None:
    client = signed_in(studio)
    cookie = client.cookies.jar.__iter__().__next__()
    assert cookie.path == "/studio"
    answer = client.get("/jobs")
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    again = client.get(studio.link)
    said = again.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said


def test_a_key_opens_too_and_ends_with_the_key(studio: Studio, stranger: httpx.Client) -> None:
    answer = stranger.post("/login", data={"given": studio.key, "next": "/studio/jobs"})
    assert answer.status_code == 200
    assert 'url=/studio/jobs"' in answer.text
    assert stranger.get("/jobs").status_code == 200


@pytest.mark.parametrize("given", ["", "wrong", "sk-postil-x-y", "../../x", "é" * 50, "\0"])
def test_what_is_no_key_is_told_in_the_page(stranger: httpx.Client, given: str) -> None:
    answer = stranger.post("/login", data={"given": given})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert not stranger.cookies


@pytest.mark.parametrize("cookie", ["", "key_x", "key_x.abc.def", "a" * 5000, "key_x.aaaa.\x7f"])
def test_attack_15_a_forged_cookie_opens_nothing(stranger: httpx.Client, cookie: str) -> None:
    answer = stranger.get("/jobs", headers={"cookie": f"postil_session={cookie}"})
    assert answer.status_code in (303, 400)


@pytest.mark.parametrize(
    "there", ["https://evil.test/", "//evil.test", "/v1/files", "/studio/../v1", "javascript:1", "/studio\\x"]
)
def test_the_door_leads_only_into_the_pages(studio: Studio, there: str) -> None:
    answer = httpx.get(studio.link, params={"token": studio.link.partition("token=")[2], "next": there}, timeout=20)
    assert 'url=/studio/"' in answer.text


def test_attack_13_14_another_site_is_refused(studio: Studio) -> None:
    """Cross-site posts and frames, foreign names for this address, a socket from elsewhere."""
    client = signed_in(studio)
    for headers in ({"origin": "http://evil.test"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.test"}):
        assert client.post("/logout", headers=headers).status_code == 403
        assert client.post("/upload", headers=headers, files={"file": ("a", b"b")}).status_code == 403
    assert client.get("/_nicegui_ws/socket.io/?EIO=4&transport=polling",
                      headers={"origin": "http://evil.test"}).status_code == 403  # fmt: skip
    stranger = httpx.get(studio.url + "/_nicegui_ws/socket.io/?EIO=4&transport=polling", timeout=20)
    assert stranger.status_code == 303


FROM_ELSEWHERE = (  # what browsers say of a sandboxed frame or a data: address, of a foreign one, of a neighbour's
    {"origin": "null"}, {"origin": "null", "sec-fetch-site": "cross-site"},
    {"origin": "null", "sec-fetch-site": "none"}, {"origin": "null", "sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "same-origin, cross-site"},
    {"origin": "null", "sec-fetch-site": "same-origin", "host": "evil.test"},
)  # fmt: skip


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
def test_attack_13_14_what_has_no_origin_is_not_ours(studio: Studio, headers: dict[str, str]) -> None:
    client = signed_in(studio)
    assert client.post("/logout", headers=headers).status_code == 403
    assert client.post("/login", headers=headers, data={"given": studio.key}).status_code == 403
    assert client.post("/upload", headers=headers, files={"file": ("a", b"b")}).status_code == 403
    assert client.get("/jobs").status_code == 200


def test_attack_13_14_a_hidden_origin_passes_only_where_the_browser_vouches_for_the_page(studio: Studio) -> None:
    ours = {"origin": "null", "sec-fetch-site": "same-origin"}
    client = signed_in(studio)
    assert client.post("/logout", headers=ours).status_code == 303
    assert client.get("/jobs").status_code == 303


@pytest.mark.parametrize(
    "how", [{}, {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors"}]
)
def test_attack_13_14_another_site_can_only_lead_here(studio: Studio, how: dict[str, str]) -> None:
    client, foreign = signed_in(studio), {"sec-fetch-site": "cross-site"}
    assert client.get("/jobs", headers={**foreign, **how}).status_code == 403
    followed = {**foreign, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/jobs", headers=followed).status_code == 200
    assert client.post("/logout", headers=followed).status_code == 403


def test_a_link_from_another_site_arrives_with_the_cookie(studio: Studio) -> None:
    """A strict cookie stays behind when a link is followed from elsewhere: our own page asks once more, with it."""
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    stranger = httpx.Client(base_url=studio.url, follow_redirects=False, timeout=20)
    once_more = stranger.get("/jobs?models=a%22b", headers=followed)
    assert once_more.status_code == 200
    assert 'content="0;url=/studio/jobs?models=a%22b"' in once_more.text
    assert stranger.get("/jobs", headers={"sec-fetch-site": "same-origin"}).status_code == 303


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_key_opens_the_door_in_a_real_browser_and_signing_out_closes_it(
    studio: Studio, browser: Any, lang: str
) -> None:  # fmt: skip
    page = window(browser, lang).new_page()
    page.goto(f"{studio.url}/models")
    page.get_by_label(say("web.login.label", lang)).fill("sk-postil-wrong")
    page.get_by_role("button", name=say("web.login.enter", lang)).click()
    expect(page.get_by_role("alert")).to_have_text(say("web.login.wrong", lang))
    page.get_by_label(say("web.login.label", lang)).fill(studio.key)
    page.get_by_role("button", name=say("web.login.enter", lang)).click()
    page.wait_for_url(re.compile("/studio/models$"))  # where they were going
    there = f'<a href="{studio.url}/evaluations?from=mail">Postil</a>'
    page.route("http://elsewhere.test/", lambda asked: asked.fulfill(body=there, content_type="text/html"))
    page.goto("http://elsewhere.test/")
    page.get_by_role("link").click()  # as from a colleague's mail
    page.wait_for_url(re.compile("/studio/evaluations.from=mail$"))
    page.get_by_role("button", name=say("web.nav.leave", lang)).click()
    page.wait_for_url(re.compile("/studio/login$"))
    page.goto(f"{studio.url}/models")
    page.wait_for_url(re.compile("/studio/login"))
    page.context.close()


def test_signing_out_closes_the_door(studio: Studio) -> None:
    client = signed_in(studio)
    assert client.post("/logout").status_code == 303
    assert client.get("/jobs").status_code == 303


def test_the_api_goes_on_beside_the_pages(studio: Studio) -> None:
    root = studio.url.removesuffix("/studio")
    key = {"authorization": f"Bearer {studio.key}"}
    assert httpx.get(f"{root}/v1/models", headers=key, timeout=20).status_code == 200
    missing = httpx.get(f"{root}/v1/nothing", headers=key, timeout=20)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_url")
    assert httpx.request("PATCH", f"{root}/v1/files", headers=key, timeout=20).status_code == 405
    assert httpx.get(f"{root}/v1/models", timeout=20).status_code == 401


def test_an_upload_is_kept_and_an_empty_one_refused(studio: Studio) -> None:
    client = signed_in(studio)
    sent = client.post("/upload", files={"file": ("商品 标题.csv", b"a,b\n1,2\n")})
    assert sent.status_code == 200
    told = sent.json()
    assert told["filename"] == "商品 标题.csv"
    back = client.get(f"/files/{told['id']}/content")
    assert back.content == b"a,b\n1,2\n"
    assert "attachment" in back.headers["content-disposition"]
    assert client.post("/upload", files={"file": ("x.csv", b"")}).json()["error"]["code"] == "empty_file"
    assert client.post("/upload", data={"a": "b"}).status_code == 400
    assert client.get("/files/file-nothing/content").status_code == 404
