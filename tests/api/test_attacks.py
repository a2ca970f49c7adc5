"""The attacks that concern the HTTP door, by their number in docs/security.md."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.api import connections, gate
from tests.api.served import BASE, Served, refused, rows, upload

HI = [{"role": "user", "content": "Hi"}]


def raw(served: Served, data: bytes, *, wait: float = 5.0) -> bytes:
    """What comes back on a bare connection until it is closed or nothing comes for a while."""
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=wait) as connection:
        connection.sendall(data)
        try:
            while piece := connection.recv(1 << 16):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def routes(served: Served) -> list[tuple[str, str]]:
    """Every method and path of the document, with names that do not exist."""
    found = []
    for path, item in served.app.openapi()["paths"].items():
        for part in ("{file_id}", "{upload_id}", "{job_id}", "{model}", "{checkpoint}", "{permission_id}", "{task_id}",
                     "{key_id}", "{set_id}", "{correction_id}", "{line}", "{ballot_id}", "{rater_id}",
                     "{token}"):  # fmt: skip
            path = path.replace(part, "nothing-1")
        found += [(method.upper(), path) for method in item]
    return found


def test_attack_04_a_request_brings_no_template(http: httpx.Client) -> None:
    bomb = "{% for a in range(10**9) %}{{ 'a' * 10**9 }}{% endfor %}"
    for more in ({"chat_template": bomb}, {"chat_template_kwargs": {"chat_template": bomb}}):
        refused(http.post("/chat/completions", json={"model": BASE, "messages": HI, **more}), 400)


def test_attack_06_no_file_is_written_outside_the_store(served_alone: Served, tmp_path: Path) -> None:
    outside = sorted(path for path in tmp_path.rglob("*"))
    with served_alone.http() as client:
        for name in ("../../x", "..\\..\\x", "/etc/x", "C:\\x", "CON", "x" * 4096, "\u202ex", "😀"):
            upload(client, rows(), name=name, purpose="user_data")
    assert sorted(path for path in tmp_path.rglob("*")) == outside
    inside = [path.name for path in served_alone.store.directory.rglob("*") if path.is_file()]
    assert all(len(name) == 64 or name.startswith(("postil.db", ".")) or name == "directory.id" for name in inside), (
        inside
    )


@pytest.fixture
def served_alone(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.api.served import served

    with served(tmp_path_factory.mktemp("alone"), home) as made:
        yield made


NAMES = ("..%2f..%2fetc%2fpasswd", "%2e%2e", "%252e%252e%252fetc", "..%5c..%5cx", "%00", "a%00b", "%ff%fe", "x" * 5000,
         "ft:..%2f..%2f", "%F0%9F%98%80")  # fmt: skip
PATHS = ("files/{}", "files/{}/content", "models/{}", "fine_tuning/jobs/{}", "postil/tasks/{}",
         "postil/sets/{}", "postil/correction_sets/{}/corrections", "postil/lines/{}", "postil/ballots/{}/rows",
         "fine_tuning/jobs/{}/events", "fine_tuning/checkpoints/{}/permissions")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", PATHS)
def test_attack_07_names_are_looked_up_and_never_joined_to_a_path(
    server: Served, key: str, path: str, name: str
) -> None:
    target = f"/v1/{path.format(name)}"
    head = (f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n"
            "Connection: close\r\n\r\n")  # fmt: skip
    answer = raw(server, head.encode())
    assert answer.split(b" ")[1] == b"404", answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize("secret", ["../../x", "../../../etc/passwd", "sk-postil-../..-x", "metadata"])
def test_attack_07_a_key_is_no_directory(server: Served, secret: str) -> None:
    with server.http(secret) as client:
        refused(client.get("/files"), 401, "invalid_api_key")


def test_attack_07_suffix_and_metadata_stay_texts(server: Served, http: httpx.Client, key: str) -> None:
    order = {"model": BASE, "training_file": upload(http), "suffix": "../../x", "metadata": {"../..": "../../y"}}
    job = http.post("/fine_tuning/jobs", json=order).json()
    assert (job["user_provided_suffix"], job["metadata"]) == ("../../x", {"../..": "../../y"})
    assert not [path for path in server.store.directory.parent.rglob("*") if path.name in ("x", "y")]


def archives() -> dict[str, bytes]:
    """Names that lead out, links and devices."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in ("../../escaped", "/tmp/escaped-postil", "train.jsonl"):
            archive.writestr(name, rows())
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name, kind in (
            ("a", tarfile.SYMTYPE),
            ("b", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("d", tarfile.FIFOTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    return {"train.zip": zipped.getvalue(), "train.tar": tarred.getvalue(), "train.jsonl": tarred.getvalue(),
            "train.xlsx": zipped.getvalue()}  # fmt: skip


@pytest.mark.parametrize("name", ["train.zip", "train.tar", "train.jsonl", "train.xlsx"])
def test_attack_08_an_archive_is_no_training_file_and_is_not_unpacked(
    server: Served, http: httpx.Client, name: str
) -> None:
    sent = http.post("/files", data={"purpose": "fine-tune"}, files={"file": (name, archives()[name])})
    refused(sent, 400)
    assert "passwd" not in sent.text
    assert not list(server.store.directory.parent.rglob("escaped*"))
    assert not Path("/tmp/escaped-postil").exists()


def test_attack_08_a_link_in_the_store_is_not_followed(server: Served, http: httpx.Client, tmp_path: Path) -> None:
    file = upload(http, b"mine", purpose="user_data")
    (tmp_path / "secret").write_text("a secret")
    name = hashlib.sha256(b"mine").hexdigest()
    place = server.store.directory / "blobs" / name[:2] / name
    place.unlink()
    place.symlink_to(tmp_path / "secret")
    answer = http.get(f"/files/{file}/content")
    assert answer.status_code >= 400 and "a secret" not in answer.text
    place.unlink()


def test_attack_10_bodies_of_every_kind_are_refused_and_cost_nothing(http: httpx.Client) -> None:
    odd = [b'{"a":' * 10**5, b'{"model":' + b"9" * 10**6 + b"}", b'{"model":"\\ud800"}', b'{"model":"\\u0000"}',
           b"\xef\xbb\xbf{}", '{"model":"x"}'.encode("utf-16"), b'{"model":1e999}', b'{"model":-Infinity}']  # fmt: skip
    for data in odd:
        for path in ("/fine_tuning/jobs", "/chat/completions", "/uploads", "/postil/check", "/postil/keys"):
            started = time.monotonic()
            refused(http.post(path, content=data, headers={"content-type": "application/json"}), 400)
            assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_attack_13_a_form_of_another_site_changes_nothing(server: Served, kind: str) -> None:
    with httpx.Client(base_url=server.url) as anyone:
        for method, path in routes(server):
            if method != "GET" and path.startswith(("/v1", "/rate/")):
                foreign = {"origin": "https://evil.test", "content-type": kind, "sec-fetch-site": "cross-site"}
                answer = anyone.request(method, path, headers=foreign, content=b"{}")
                refused(answer, 403, "origin_not_allowed")
                unknown = 404 if path.startswith("/rate/") else 401
                refused(anyone.request(method, path, headers={"content-type": kind}, content=b"{}"), unknown)


@pytest.mark.parametrize(
    "host",
    ["evil.test", "localhost.evil.test:{port}", "127.0.0.1.nip.io:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]", "",
     "127.0.0.1:{port}.evil.test", "user@127.0.0.1:{port}", "0.0.0.0:{port}"],
)  # fmt: skip
def test_attack_14_only_our_own_addresses_answer(server: Served, key: str, host: str) -> None:
    named = {"host": host.format(port=server.port), "authorization": f"Bearer {key}"}
    for path in ("/v1/models", "/health", "/openapi.json"):
        refused(httpx.get(server.url + path, headers=named), 403, "host_not_allowed")


@pytest.mark.parametrize("origin", ["null", "https://evil.test", "http://localhost", "file://", "http://127.0.0.1:1"])
def test_attack_14_foreign_origins_are_refused_before_the_key_is_looked_at(server: Served, origin: str) -> None:
    answer = httpx.get(f"{server.url}/v1/models", headers={"origin": origin, "user-agent": "Mozilla/5.0"})
    refused(answer, 403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_attack_14_our_own_page_may_ask(server: Served, http: httpx.Client) -> None:
    assert http.get("/models", headers={"origin": server.url}).status_code == 200
    assert http.get("/models", headers={"host": f"localhost:{server.port}"}).status_code == 200


@pytest.mark.parametrize("secret", ["EMPTY", "sk-wrong", "x" * 10_000, "sk-postil-aaaaaaaaaaaa-" + "0" * 64])
def test_attack_15_wrong_keys_open_nothing(server: Served, secret: str) -> None:
    answer = httpx.get(f"{server.url}/v1/models", headers={"authorization": f"Bearer {secret}"})
    refused(answer, 401, "invalid_api_key")


def test_attack_15_no_key_another_scheme_and_odd_bytes(server: Served, key: str) -> None:
    refused(httpx.get(f"{server.url}/v1/models"), 401, "invalid_api_key")
    refused(httpx.get(f"{server.url}/v1/models", headers={"authorization": f"Basic {key}"}), 401)
    for secret in (b"", b"\xff\xfe", "密钥".encode(), b"a\tb"):
        refused(
            httpx.get(f"{server.url}/v1/models", headers={b"authorization": b"Bearer" + (secret and b" " + secret)}),
            401,
        )  # type: ignore[dict-item]


def test_attack_15_every_route_but_the_open_ones_asks_for_a_key(server: Served) -> None:
    with httpx.Client(base_url=server.url) as anyone:
        for method, path in routes(server):
            if path not in gate.OPEN_PATHS and not path.startswith("/rate/"):
                refused(anyone.request(method, path), 401, "invalid_api_key")


def test_attack_15_a_revoked_key_opens_nothing_more(server: Served) -> None:
    secret = server.key()
    with server.http(secret) as client:
        keys = client.get("/postil/keys").json()["data"]
        assert all(key["secret"] is None for key in keys)
        assert client.delete(f"/postil/keys/{keys[0]['id']}").json()["revoked_at"]
        refused(client.get("/models"), 401, "invalid_api_key")


def test_attack_15_scopes_hold(server: Served) -> None:
    allowed = {"read": ("GET", "/files"), "train": ("POST", "/uploads"), "serve": ("POST", "/chat/completions"),
               "admin": ("GET", "/postil/keys")}  # fmt: skip
    opens = {"read": {"read"}, "train": {"read", "train"}, "serve": {"serve"}, "admin": set(allowed)}
    for scope, may in opens.items():
        with server.http(server.key(scope)) as client:
            for wanted, (method, path) in allowed.items():
                assert (client.request(method, path).status_code == 403) == (wanted not in may), (scope, wanted)


def test_attack_16_another_project_s_objects_do_not_exist(server: Served, http: httpx.Client, key: str) -> None:
    file, model = upload(http), server.model(key)
    job = http.post("/fine_tuning/jobs", json={"model": BASE, "training_file": file}).json()["id"]
    event = http.get(f"/fine_tuning/jobs/{job}/events").json()["data"][0]["id"]
    sent = http.post("/uploads", json={"bytes": 1, "filename": "a", "mime_type": "b", "purpose": "user_data"}).json()[
        "id"
    ]
    with server.http() as other:
        own = upload(other)
        for method, path in [
            ("GET", f"/files/{file}"), ("GET", f"/files/{file}/content"), ("DELETE", f"/files/{file}"),
            ("GET", f"/models/{model}"), ("DELETE", f"/models/{model}"), ("GET", f"/fine_tuning/jobs/{job}"),
            ("GET", f"/fine_tuning/jobs/{job}/events"), ("GET", f"/fine_tuning/jobs/{job}/checkpoints"),
            ("POST", f"/fine_tuning/jobs/{job}/cancel"), ("POST", f"/fine_tuning/jobs/{job}/pause"),
            ("POST", f"/fine_tuning/jobs/{job}/resume"), ("POST", f"/uploads/{sent}/cancel"),
            ("GET", f"/fine_tuning/checkpoints/{model}/permissions"), ("GET", f"/postil/jobs/{job}/live"),
            ("DELETE", f"/postil/jobs/{job}"), ("POST", f"/postil/jobs/{job}/keep"),
        ]:  # fmt: skip
            theirs, nobody_s = other.request(method, path), other.request(method, path.replace(job, "ftjob-no"))
            assert theirs.status_code == 404, (method, path)
            assert nobody_s.status_code == 404
        for path, body in [
            ("/chat/completions", {"model": model, "messages": HI}),
            ("/postil/comparisons", {"model": model, "question": "Hi"}),
            ("/postil/models/allow", {"model": model, "reason": "x"}),
        ]:
            refused(other.post(path, json=body), 404, "model_not_found")
        for body in ({"model": BASE, "training_file": file}, {"model": model, "training_file": own}):
            refused(other.post("/fine_tuning/jobs", json=body), 400)
        refused(other.post("/postil/check", json={"file": file}), 400, "file_not_found")
        refused(other.get("/files", params={"after": file}), 400, "invalid_cursor")
        refused(other.get("/fine_tuning/jobs", params={"after": job}), 400, "invalid_cursor")
        assert [one["id"] for one in other.get("/files").json()["data"]] == [own]
        assert model not in other.get("/models").text
        assert event not in other.get("/fine_tuning/jobs").text
    assert http.get(f"/fine_tuning/jobs/{job}").json()["status"] == "validating_files"


def test_attack_17_a_secret_is_nowhere_to_be_found(server: Served) -> None:
    secret = server.key()
    tail = secret.rpartition("-")[2].encode()
    with server.http(secret) as client:
        client.get("/files/nothing")
        client.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(client)})
        assert tail not in client.get("/postil/keys").content
    for path in server.store.directory.rglob("*"):
        if path.is_file():
            assert tail not in path.read_bytes(), path


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://[::1]/", "file:///etc/passwd", "http:\\\\evil.test"]
)
def test_attack_18_no_url_of_a_request_is_fetched(
    http: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ({"type": "image_url", "image_url": {"url": url}}, {"type": "file", "file": {"file_id": url}},
                 {"type": "input_audio", "input_audio": {"data": url}}):  # fmt: skip
        body = {"model": BASE, "messages": [{"role": "user", "content": [part]}]}
        refused(http.post("/chat/completions", json=body), 400, param="messages[0].content[0]")
    assert http.post("/fine_tuning/jobs", json={"model": url, "training_file": "file-x"}).status_code == 400


@pytest.mark.parametrize(
    "field", ["training_file", "training_file_ids", "url", "endpoint", "wandb_base_url", "webhook"]
)
def test_attack_18_no_address_in_a_description_of_a_job_is_fetched(
    server: Served, http: httpx.Client, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of another service may name addresses; only the command line asks any, and only the one it was given."""
    asked: list[Any] = []
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *told, **named: asked.append(told))
    job = {"model": "m", "training_file": "f", field: "http://127.0.0.1:9/v1"}
    told = http.post("/postil/imports", json={"description": job})
    assert told.status_code == 200
    assert not asked


def test_attack_19_a_slow_head_is_cut_off(server_module: Any, server: Served) -> None:
    started = time.monotonic()
    answer = raw(server, b"GET /v1/models HTTP/1.1\r\nHost: ", wait=10)
    assert answer == b""
    assert time.monotonic() - started < 5


@pytest.fixture
def server_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)


def test_attack_19_a_slow_body_is_refused(server: Served, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PIECE_SECONDS", 0.3)
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")  # fmt: skip
    assert b" 408 " in raw(server, head.encode(), wait=3).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"GET /v1/models HTTP/9.9\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
    ids=range(8),
)  # fmt: skip
def test_attack_19_broken_http_is_a_bad_request_and_the_server_lives(server: Served, data: bytes) -> None:
    answer = raw(server, data, wait=2)
    assert not answer or answer.split(b" ")[1] in (b"400", b"403", b"401", b"431")
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_attack_19_two_lengths_are_not_both_believed(server: Served, key: str) -> None:
    smuggled = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                f"Authorization: Bearer {key}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                f"0\r\n\r\nDELETE /v1/files/x HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n")  # fmt: skip
    answers = raw(server, smuggled.encode(), wait=1)
    assert b"HTTP/1.1 200" not in answers
    assert b"deleted" not in answers


def test_attack_19_forms_with_very_many_or_very_long_fields(http: httpx.Client) -> None:
    many = b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % i for i in range(10_000))
    long = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 10**6 + b"\r\n"
    head = b'--b\r\nContent-Disposition: form-data; name="' + b"x" * 10**5 + b'"\r\n\r\nx\r\n'
    for data in (many, long, head, b"--b\r\n\r\n", b"--b", b"", b"\r\n" * 10_000):
        answer = http.post(
            "/files", content=data + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
        )
        refused(answer, 400)


def test_attack_19_compressed_bodies_and_ranges(http: httpx.Client) -> None:
    packed = {"content-encoding": "gzip", "content-type": "application/json"}
    refused(http.post("/chat/completions", content=b"\x1f\x8b", headers=packed), 400, "content_encoding")
    file = upload(http, b"x" * 100, purpose="user_data")
    ranges = "bytes=" + ",".join(f"{i}-" for i in range(10_000))
    assert http.get(f"/files/{file}/content", headers={"range": ranges[:60_000]}).content == b"x" * 100


def test_attack_21_what_would_take_everything_is_refused(server: Served, http: httpx.Client) -> None:
    for more in (
        {"n": 10**6},
        {"max_tokens": 10**9},
        {"stop": ["x"] * 10**4},
        {"top_logprobs": 10**6, "logprobs": True},
    ):
        refused(http.post("/chat/completions", json={"model": BASE, "messages": HI, **more}), 400)
    assert http.get("/files", params={"limit": 10**9}).status_code == 200
    with server.http(server.key(requests_per_minute=3)) as limited:
        assert [limited.get("/models").status_code for _ in range(3)] == [200] * 3
        answer = limited.get("/models")
        assert refused(answer, 429, "rate_limit_exceeded")["type"] == "rate_limit_error"
        assert answer.headers["retry-after"]


def test_attack_22_schemas_grammars_and_graders_are_not_run(http: httpx.Client) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(40):
        schema = {"anyOf": [schema, schema]} if len(json.dumps(schema)) < 10**5 else schema
    for more in ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
                 {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}):  # fmt: skip
        refused(
            http.post("/chat/completions", json={"model": BASE, "messages": HI, **more}), 400, "unsupported_parameter"
        )
    refused(http.post("/fine_tuning/alpha/graders/run", json={"grader": {"type": "python"}}), 404, "unknown_url")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), index=st.integers(0, 200), kind=st.sampled_from(
    ["application/json", "multipart/form-data; boundary=b", "text/plain", ""]))  # fmt: skip
def test_attack_25_no_bytes_make_the_server_fail(http: httpx.Client, server: Served, data: bytes, index: int, kind: str
                                                 ) -> None:  # fmt: skip
    known = [route for route in routes(server) if route[1].startswith("/v1") and not route[1].endswith("/live")]
    method, path = known[index % len(known)]
    answer = http.request(method, path.removeprefix("/v1"), content=data, headers={"content-type": kind})
    assert answer.status_code < 500


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=12,
)  # fmt: skip
KEYS = ("model", "messages", "training_file", "method", "hyperparameters", "x_postil", "metadata", "stop", "seed",
        "bytes", "filename", "purpose", "mime_type", "part_ids", "file", "columns", "settings", "question", "reason",
        "name", "scopes", "project_ids", "logit_bias", "chat_template_kwargs", "stream_options")  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(KEYS), JSONS), index=st.integers(0, 200))
def test_attack_25_no_json_makes_the_server_fail(http: httpx.Client, server: Served, body: Any, index: int) -> None:
    known = [route for route in routes(server) if route[0] == "POST"]
    method, path = known[index % len(known)]
    answer = http.request(method, path.removeprefix("/v1"), json=body)
    assert answer.status_code < 500, (path, body, answer.text)
