"""The client of foreign endpoints, against a real server of this machine that answers badly in every way."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from postil.errors import EngineError, PostilError
from postil.networks import numbers_of, place_of, read_networks
from postil.remote import Client, Limits, Names, check_sealed, wait_of
from postil.secret import Address, Secret
from postil.serve import opener
from postil.settings import Settings, online

KEY = "sk-very-secret-0123456789"
NAMES = Names("--endpoint", "POSTIL_REMOTE_KEY")
GOOD = json.dumps({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}).encode()
Reply = Callable[[BaseHTTPRequestHandler], None]


def replies(status: int, body: bytes = b"", **headers: str) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, text in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.end_headers()
        handler.wfile.write(body)

    return send


class There:
    """A server of this machine; the last of its replies is given again and again."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = [replies(200, GOOD)]
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.heads.append({name.lower(): text for name, text in self.headers.items()})
                outer.paths.append(self.path)
                (outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0])(self)

            def log_message(self, *words: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def there() -> Iterator[There]:
    server = There()
    yield server
    server.close()


def client(address: str, sleeps: list[float] | None = None, key: str = KEY, **options: Any) -> Client:
    sleep = (sleeps if sleeps is not None else []).append
    return Client(Address(address), lambda: Secret(key), NAMES, sleep=sleep, **options)


def fails(code: str, call: Callable[[], Any]) -> PostilError:
    with pytest.raises(PostilError) as refused:
        call()
    assert refused.value.code == code, (refused.value.code, str(refused.value))
    for lang in ("zh", "en"):
        assert KEY not in refused.value.cause(lang) + refused.value.remedy(lang)
    return refused.value


def leads_to(*numbers_host_port: Any) -> list[str]:
    """A resolver: the numbers that come before the host and the port that it is asked for."""
    return list(numbers_host_port[:-2])


# ── which addresses ──


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a/v1",
        "ftp://a.example/v1",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://u:p@a.example/v1",
        "https://u@a.example",
        "https://@a.example/v1",
        "https://a.example/v1?key=1",
        "https://a.example/v1#x",
        "https://a.example/v1?",
        "https://a.example\\@b.example/v1",
        "https://a.example /v1",
        "https://a.exa\nmple/v1",
        "https://a.example:0/v1",
        "https://a.example:99999/v1",
        "https://a..example/v1",
        "https://.example/v1",
        "https://2130706433/v1",
        "https://0x7f000001/v1",
        "https://0x7f.1/v1",
        "https://127.1/v1",
        "https://0177.0.0.1/v1",
        "https://127.0.0.01/v1",
        "https://256.1.1.1/v1",
        "https://１２７.0.0.1/v1",
        "http://ⓛocalhost/v1",
        "https://[::1/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://[::1]x/v1",
        "https://" + "a" * 64 + ".example/v1",
        "https://a.example../v1",
    ],
)
def test_attack_32_18_an_address_in_a_form_that_hides_where_it_leads_is_none(address: str) -> None:
    fails("remote_address", lambda: client(address))


@pytest.mark.parametrize(
    "address",
    [
        "http://judge.example.com/v1",
        "HTTP://judge.example.com",
        "http://127.0.0.1.example/v1",
        "http://10.0.0.5:8000/v1",
        "http://localhost.example/v1",
        "http://[2001:db8::1]/v1",
        "http://192.168.1.1",
        "http://localhostt",
        "http://1.1.1.1",
    ],
)
def test_attack_32_a_key_goes_nowhere_in_the_open(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTIL_NETWORKS", "0.0.0.0/0, ::/0")
    fails("remote_open", lambda: client(address))
    fails("remote_open", lambda: check_sealed(Address(address), "POSTIL_HF_ENDPOINT"))
    monkeypatch.setenv("POSTIL_ENGINE", "vllm")
    monkeypatch.setenv("POSTIL_VLLM_URL", address)
    fails("remote_open", lambda: opener(Settings()))
    monkeypatch.setenv("POSTIL_HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", KEY)
    assert KEY not in online().values() and online()["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


PRIVATE = (
    "10.0.0.5",
    "172.16.1.1",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd12::1",
    "::ffff:10.0.0.5",
    "::ffff:127.0.0.1",
    "64:ff9b::10.0.0.5",
    "2002:a00:5::1",
    "::127.0.0.1",
    "192.0.2.1",
)
NEVER = (
    "169.254.169.254",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *((number, "remote_private") for number in PRIVATE),
        *((number, "remote_never") for number in NEVER),
    ],
)
def test_attack_32_18_a_name_is_judged_by_where_it_leads(number: str, code: str) -> None:
    for found in ([number], ["8.8.8.8", number], [number, "8.8.8.8"]):
        named = place_of(Address("https://a.example/v1"), "x")
        fails(code, partial(numbers_of, named, (), partial(leads_to, *found)))
    literal = f"https://[{number}]/v1" if ":" in number else f"https://{number}/v1"
    place = place_of(Address(literal), "x")
    if not place.is_local:
        fails(code, lambda: numbers_of(place, (), lambda host, port: []))


def test_attack_32_no_setting_opens_what_clouds_tell_themselves() -> None:
    place = place_of(Address("https://a.example/v1"), "x")
    everything = read_networks("0.0.0.0/0, ::/0")
    for number in NEVER:
        fails("remote_never", partial(numbers_of, place, everything, partial(leads_to, number)))


def test_localhost_that_leads_elsewhere_is_not_this_machine() -> None:
    fails(
        "remote_private", lambda: numbers_of(place_of(Address("http://localhost/v1"), "x"), (), lambda *_: ["8.8.8.8"])
    )


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{}/v1",
        "http://localhost:{}/v1/",
        "http://LOCALHOST.:{}/v1",
        "http://127.0.0.1:{}/v1/chat/completions",
        "http://[::ffff:127.0.0.1]:{}/v1",
    ],
)
def test_this_machine_is_asked_under_all_its_names(there: There, address: str) -> None:
    assert client(address.format(there.port)).chat({}).text == "yes"
    assert there.paths == ["/v1/chat/completions"]
    assert there.heads[0]["authorization"] == f"Bearer {KEY}"


def test_attack_32_a_name_that_leads_elsewhere_the_next_time_gets_no_key(there: There) -> None:
    """DNS rebinding: a public address while it is looked at, this machine when it is asked. It is looked up once."""
    looked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"]

    fails("remote_private", lambda: client(f"https://a.example:{there.port}/v1", resolve=resolve).chat({}))
    assert looked == ["a.example"] and not there.heads


def test_the_remedy_for_a_private_network_works(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> Any:
        return client(f"https://a.example:{there.port}/v1", resolve=lambda host, port: ["127.0.0.1"]).chat({})

    monkeypatch.delenv("POSTIL_NETWORKS", raising=False)
    error = fails("remote_private", ask)
    monkeypatch.setenv("POSTIL_NETWORKS", str(error.values["address"]))
    fails("remote_unreachable", ask)  # it is asked now, and speaks no TLS
    monkeypatch.setenv("POSTIL_NETWORKS", "10.0.0.0/8, mine")
    fails("networks_unreadable", ask)


def test_one_address_that_does_not_answer_is_not_all(there: There) -> None:
    resolve = partial(leads_to, "127.0.0.2", "127.0.0.1")
    assert client(f"http://localhost:{there.port}/v1", resolve=resolve).chat({}).text == "yes"


# ── certificates ──


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    """A server with a certificate for judge.example, which the system trusts."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl makes the certificate")
    subprocess.run(
        [
            program,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=judge.example",
            "-addext",
            "subjectAltName=DNS:judge.example",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.setenv("POSTIL_NETWORKS", "127.0.0.0/8")
    server = There(context)
    yield server
    server.close()


def test_attack_32_the_certificate_must_be_that_of_the_name(sealed: There) -> None:
    def asked(host: str) -> Client:
        return client(f"https://{host}:{sealed.port}/v1", resolve=lambda *_: ["127.0.0.1"])

    assert asked("judge.example").chat({}).text == "yes"
    assert sealed.heads[0]["host"] == f"judge.example:{sealed.port}"
    error = fails("remote_unreachable", lambda: asked("other.example").chat({}))
    assert "certificate" in str(error.values["why"]).lower()
    fails("remote_unreachable", lambda: client(f"https://127.0.0.1:{sealed.port}/v1").chat({}))
    assert len(sealed.heads) == 1, "nothing was sent to a name whose certificate is another's"


# ── what comes back ──


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_attack_32_a_key_is_not_sent_on(there: There, status: int) -> None:
    other = There()
    for where in (f"http://127.0.0.1:{other.port}/v1", "/elsewhere", f"//u:{KEY}@evil.example/"):
        there.replies = [replies(status, location=where)]
        fails("remote_moved", lambda: client(f"http://127.0.0.1:{there.port}/v1").chat({}))
    other.close()
    assert not other.heads and len(there.heads) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 451])
def test_a_refusal_that_no_second_try_mends(there: There, status: int) -> None:
    said = json.dumps({"error": {"message": f"bad \x1b[31m key {KEY}, or {KEY[:12]}…"}}).encode()
    there.replies = [replies(status, said)]
    error = fails("remote_refused", lambda: client(f"http://127.0.0.1:{there.port}/v1").chat({}))
    assert (error.values["status"], len(there.heads)) == (status, 1)
    assert "bad" in str(error) and "\x1b" not in str(error) and KEY[:8] not in str(error)


def test_what_a_second_try_may_mend(there: There) -> None:
    sleeps: list[float] = []
    moment = formatdate(4102444800, usegmt=True)  # in the year 2100
    there.replies = [
        replies(500),
        replies(429, retry_after="7"),
        replies(503, retry_after=moment),
        replies(429, retry_after_ms="1500", retry_after="9"),
        replies(200, GOOD),
    ]
    assert client(f"http://127.0.0.1:{there.port}/v1", sleeps).chat({}).text == "yes"
    assert sleeps == [1.0, 7.0, 120.0, 1.5]
    there.replies = [replies(408)]
    fails("remote_refused", lambda: client(f"http://127.0.0.1:{there.port}/v1", sleeps).chat({}))
    assert len(there.heads) == 10


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after-ms": "2500", "retry-after": "9"}, 2.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": formatdate(1030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(900, usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 99 Jan 9999 99:99:99 GMT"}, None),
    ],
)
def test_how_long_a_service_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(headers, 1000.0) == seconds


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "9999")
    handler.end_headers()
    handler.wfile.write(GOOD)


def gone(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with pytest.raises(OSError):
        while True:
            handler.wfile.write(b" " * 65536)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (half, "remote_unreachable"),
        (gone, "remote_unreachable"),
        (replies(200, b""), "remote_not_understood"),
        (replies(200, b"[" * 100_000), "remote_not_understood"),
        (replies(200, b"\xff"), "remote_not_understood"),
        (replies(200, b'{"choices": [{"message": "x"}]}'), "remote_not_understood"),
        (replies(200, b'{"choices": [{"message": {"content": {}}}]}'), "remote_not_understood"),
        (replies(200, GOOD, content_encoding="gzip"), ""),
        (replies(418), "remote_refused"),
    ],
)
def test_what_is_broken_is_asked_for_again_and_then_told(there: There, bad: Reply, code: str) -> None:
    there.replies = [bad, replies(200, GOOD)]
    if code != "remote_refused":
        assert client(f"http://127.0.0.1:{there.port}/v1").chat({}).text == "yes"
    if code:
        there.replies = [bad]
        fails(code, lambda: client(f"http://127.0.0.1:{there.port}/v1").chat({}))


def test_an_answer_without_end_is_not_read_to_its_end(there: There) -> None:
    there.replies = [endless]
    limits = Limits(most_bytes=1 << 20)
    fails("remote_too_large", lambda: client(f"http://127.0.0.1:{there.port}/v1", limits=limits).chat({}))
    assert len(there.heads) == 1


def test_an_answer_in_drops_is_given_up(there: There) -> None:
    def drops(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with pytest.raises(OSError):
            while True:
                handler.wfile.write(b" ")
                threading.Event().wait(0.02)

    there.replies = [drops]
    limits = Limits(tries=2, seconds=0.2)
    fails("remote_unreachable", lambda: client(f"http://127.0.0.1:{there.port}/v1", limits=limits).chat({}))


@pytest.mark.parametrize("key", ["sk\r\nHost: evil", "sk\x00", "密钥", "two words", "sk\t"])
def test_a_key_that_is_none(there: There, key: str) -> None:
    fails("remote_key", lambda: client(f"http://127.0.0.1:{there.port}/v1", key=key))
    assert not there.heads


def test_attack_32_what_the_environment_says_of_proxies_is_not_followed(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = There()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
    assert client(f"http://127.0.0.1:{there.port}/v1").chat({}).text == "yes"
    other.close()
    assert not other.heads


def test_attack_32_the_key_is_in_no_error_and_no_repr(there: There) -> None:
    there.replies = [replies(401, f"no {KEY}".encode())]
    asked = client(f"http://127.0.0.1:{there.port}/v1")
    with pytest.raises(EngineError) as refused:
        asked.chat({})
    held = [refused.value, refused.value.values, asked, vars(asked), *vars(asked).values()]
    assert not [one for one in held if KEY in repr(one)]
