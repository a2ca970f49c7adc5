"""What every answer has, and every refusal (acceptance 6 and 7)."""

from __future__ import annotations

import httpx
import openai
import pytest

from postil.errors import StoreError
from tests.api.served import Served, refused, upload


def test_health_needs_no_key_and_tells_nothing_more(server: Served) -> None:
    answer = httpx.get(f"{server.url}/health")
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "version"}


def test_every_answer_has_its_number_and_the_safe_headers(http: httpx.Client) -> None:
    first, second = http.get("/models"), http.get("/models")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in first.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "", 404, "unknown_url"),
        ("GET", "/files/", 404, "unknown_url"),
        ("PATCH", "/models", 405, "method_not_allowed"),
        ("GET", "/chat/completions", 405, "method_not_allowed"),
        ("POST", "/responses", 404, "unknown_url"),
        ("POST", "/embeddings", 404, "unknown_url"),
        ("POST", "/completions", 404, "unknown_url"),
        ("GET", "/batches", 404, "unknown_url"),
        ("GET", "/files/file-nothing", 404, "file_not_found"),
        ("GET", "/models/nothing", 404, "model_not_found"),
        ("GET", "/fine_tuning/jobs/ftjob-nothing", 404, "not_found"),
    ],
)
def test_06_what_is_not_there_is_an_error_object(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    refused(http.request(method, path), status, code)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"model": NaN}', b'{"a":' * 100_000, b"1" * 5000, b'{"model":"\\ud800"}',
     b'{"model":"\\u0000"}', b'"x"', b'{"model":"x"} trailing'],
)  # fmt: skip
def test_06_malformed_json_is_a_bad_request(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})
    assert refused(answer, 400, "invalid_json")["type"] == "invalid_request_error"


def test_06_a_body_that_says_nothing_of_json_is_refused(http: httpx.Client) -> None:
    refused(http.post("/chat/completions", content=b"a=1", headers={"content-type": "text/plain"}), 400, "invalid_json")


def test_06_a_fault_of_ours_is_a_500_that_tells_its_number_only(
    server: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a secret /etc/place")

    monkeypatch.setattr(server.store.files, "list", broken)
    answer = http.get("/files")
    error = refused(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] in error["message"]
    assert "secret" not in answer.text


def test_06_a_full_disk_is_503_and_not_to_be_tried_again(
    server: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("storage_full")

    monkeypatch.setattr(server.store.files, "keep", full)
    answer = http.post("/files", data={"purpose": "user_data"}, files={"file": b"x"})
    assert refused(answer, 503, "storage_full")["type"] == "server_error"
    assert answer.headers["x-should-retry"] == "false"


def test_07_refusals_are_not_sent_again(server: Served, key: str) -> None:
    sent: list[httpx.Request] = []
    with httpx.Client(event_hooks={"request": [sent.append]}) as own:
        client = server.openai(key, max_retries=2, http_client=own)
        with pytest.raises(openai.BadRequestError) as raised:
            client.fine_tuning.jobs.create(model="none", training_file="file-none")
        assert raised.value.code == "file_not_found"
        assert raised.value.param == "training_file"
        assert raised.value.request_id
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve("file-none")
    assert len(sent) == 2


def test_messages_are_in_the_language_that_is_asked_for(server: Served, key: str) -> None:
    with server.http(key, **{"accept-language": "zh-CN,zh;q=0.9"}) as chinese:
        assert "没有" in chinese.get("/files/file-none").json()["error"]["message"]
    with server.http(key, **{"accept-language": "de"}) as other:
        assert "There is no file" in other.get("/files/file-none").json()["error"]["message"]


def test_nulls_and_empty_queries_count_as_absent(http: httpx.Client) -> None:
    file = upload(http)
    body = {"model": "tiny-llama3", "training_file": file, "seed": None, "suffix": None, "metadata": None,
            "integrations": None, "validation_file": None, "hyperparameters": {}, "method": None}  # fmt: skip
    made = http.post("/fine_tuning/jobs", json=body)
    assert made.status_code == 200, made.text
    assert http.get("/fine_tuning/jobs", params={"after": "", "limit": ""}).status_code == 200


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "01", " 1"])
def test_a_limit_is_a_whole_number_from_one(http: httpx.Client, limit: str) -> None:
    refused(http.get("/fine_tuning/jobs", params={"limit": limit}), 400, param="limit")


def test_a_limit_above_the_most_is_the_most(http: httpx.Client) -> None:
    assert http.get("/fine_tuning/jobs", params={"limit": "999999999"}).status_code == 200


@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/files"])
@pytest.mark.parametrize("cursor", ["file-never", "../x", "\0", "字"])
def test_a_cursor_that_never_was_is_refused(http: httpx.Client, path: str, cursor: str) -> None:
    refused(http.get(path, params={"after": cursor}), 400, "invalid_cursor", "after")
