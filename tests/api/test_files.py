"""Files and uploads (acceptance 8, 9, 10)."""

from __future__ import annotations

import hashlib
import io
import socket

import httpx
import openai
import pytest

from postil.api import gate
from tests.api.served import Served, refused, rows, upload


def test_08_a_file_goes_round(client: openai.OpenAI) -> None:
    data = rows()
    made = client.files.create(file=("训练 数据.jsonl", data), purpose="fine-tune")
    assert (made.filename, made.bytes, made.status) == ("训练 数据.jsonl", len(data), "processed")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == data
    assert [file.id for file in client.files.list()] == [made.id]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.delete(made.id)


def test_08_bytes_alone_are_named_upload(client: openai.OpenAI) -> None:
    assert client.files.create(file=rows(), purpose="fine-tune").filename == "upload"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../evil.jsonl", "evil.jsonl"),
        ("..\\..\\evil.jsonl", "evil.jsonl"),
        ("/etc/passwd", "passwd"),
        ("C:\\Windows\\x.jsonl", "x.jsonl"),
        ("CON", "CON"),
        ("a\u202efdp.exe", "afdp.exe"),
        ("😀.jsonl", "😀.jsonl"),
        ("x" * 4000, "x" * 255),
        ('a"b.jsonl', 'a"b.jsonl'),
        ("a\r\nb.jsonl", "ab.jsonl"),
        ("..", ".."),
    ],
)
def test_08_names_are_shown_and_never_used(
    server: Served, client: openai.OpenAI, sent: str, shown: str
) -> None:  # C2 6
    before = {path.parent for path in server.store.directory.rglob("*") if path.is_file()}
    made = client.files.create(file=(sent, rows()), purpose="user_data")
    assert made.filename == shown
    named = [path for path in server.store.directory.rglob("*") if path.is_file() and path.name in (sent, shown)]
    assert not named
    after = {path.parent for path in server.store.directory.rglob("*") if path.is_file()}
    assert all(server.store.directory in path.parents or path == server.store.directory for path in after | before)


def test_08_a_name_in_hex_and_a_nul_are_refused(http: httpx.Client) -> None:
    body = (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
            b'Content-Disposition: form-data; name="file"; filename="a\x00b"\r\n\r\nx\r\n--b--\r\n')  # fmt: skip
    answer = http.post("/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    refused(answer, 400, "invalid_form")


def test_09_waiting_for_a_good_and_a_bad_file(client: openai.OpenAI) -> None:
    good = client.files.create(file=("a.jsonl", rows()), purpose="fine-tune")
    bad = client.files.create(file=("b.jsonl", b'{"messages": [{"role": "user"\n'), purpose="fine-tune")
    assert client.files.wait_for_processing(good.id, poll_interval=0.01).status == "processed"
    found = client.files.wait_for_processing(bad.id, poll_interval=0.01)
    assert found.status == "error"
    assert found.status_details
    with pytest.raises(openai.BadRequestError) as raised:
        client.fine_tuning.jobs.create(model="tiny-llama3", training_file=bad.id)
    assert (raised.value.code, raised.value.param) == ("file_not_ready", "training_file")


def test_purposes_and_expiry(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=b"x", purpose="vision")
    assert (raised.value.code, raised.value.param) == ("unsupported_purpose", "purpose")
    made = client.files.create(file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == made.created_at + 3600
    for seconds in (3599, 2_592_001):
        with pytest.raises(openai.BadRequestError):
            client.files.create(
                file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": seconds}
            )


def test_an_empty_file_a_missing_one_and_odd_fields(http: httpx.Client) -> None:
    refused(http.post("/files", data={"purpose": "user_data"}, files={"file": b""}), 400, "empty_file")
    refused(http.post("/files", data={"purpose": "user_data"}), 400, "missing_file")
    refused(http.post("/files", files={"file": b"x"}), 400, "missing_parameter", "purpose")
    odd = http.post("/files", data={"purpose": "user_data", "odd": "1"}, files={"file": b"x"})
    refused(odd, 400, "unknown_parameter", "odd")
    twice = http.post("/files", data={"purpose": "user_data"}, files=[("file", b"x"), ("file", b"y")])
    refused(twice, 400, "invalid_form")
    other = http.post("/files", data={"purpose": "user_data"}, files={"file": b"x", "other": b"y"})
    refused(other, 400, "unknown_parameter")


def test_a_file_in_use_stays(client: openai.OpenAI) -> None:
    file = client.files.create(file=rows(), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="tiny-llama3", training_file=file.id)
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.delete(file.id)
    assert raised.value.code == "file_in_use"
    client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(file.id).deleted


def test_06_what_is_too_large_is_refused_before_it_is_read(server: Served, key: str, http: httpx.Client) -> None:
    announced = gate.FILE_BYTES + gate.FORM_BYTES + 1
    head = (f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {announced}\r\n\r\n")  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer
    refused(http.post("/chat/completions", content=b" " * (gate.JSON_BYTES + 1)), 413, "request_too_large")


def test_06_a_file_that_grows_beyond_the_bound_is_refused(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.api.openai.files.FILE_BYTES", 1000)
    answer = http.post("/files", data={"purpose": "user_data"}, files={"file": b"x" * 1001})
    refused(answer, 413, "file_too_large")


def test_quota_is_429(server: Served) -> None:
    with server.http(server.key(quota_bytes=100)) as client:
        upload(client, b"x" * 100, purpose="user_data")
        answer = client.post("/files", data={"purpose": "user_data"}, files={"file": b"y"})
        refused(answer, 429, "insufficient_quota")


def test_listing_by_purpose_and_order(client: openai.OpenAI) -> None:
    ids = [client.files.create(file=b"%d" % i, purpose="user_data").id for i in range(5)]
    assert [file.id for file in client.files.list(order="asc", limit=2)] == ids
    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    assert not list(client.files.list(purpose="fine-tune"))


# ── uploads ──


def test_10_three_parts_with_md5(client: openai.OpenAI) -> None:
    data = rows(300)
    made = client.uploads.upload_file_chunked(
        file=data, filename="大.jsonl", bytes=len(data), mime_type="application/jsonl", purpose="fine-tune",
        part_size=len(data) // 3 + 1, md5=hashlib.md5(data).hexdigest(),
    )  # fmt: skip
    assert made.status == "completed"
    assert made.file
    assert made.file.filename == "大.jsonl"
    assert client.files.content(made.file.id).read() == data


def test_10_a_wrong_md5_a_retried_part_and_the_same_completion_again(client: openai.OpenAI) -> None:
    made = client.uploads.create(bytes=6, filename="a", mime_type="text/plain", purpose="user_data")
    first = client.uploads.parts.create(made.id, data=io.BytesIO(b"abc"))
    client.uploads.parts.create(made.id, data=io.BytesIO(b"lost"))
    second = client.uploads.parts.create(made.id, data=io.BytesIO(b"def"))
    with pytest.raises(openai.BadRequestError) as raised:
        client.uploads.complete(made.id, part_ids=[first.id, second.id], md5="0" * 32)
    assert raised.value.code == "md5_mismatch"
    with pytest.raises(openai.BadRequestError) as raised:
        client.uploads.complete(made.id, part_ids=[first.id])
    assert raised.value.code == "bytes_mismatch"
    md5 = hashlib.md5(b"abcdef").hexdigest()
    done = client.uploads.complete(made.id, part_ids=[first.id, second.id], md5=md5)
    assert client.uploads.complete(made.id, part_ids=[first.id, second.id], md5=md5) == done
    assert done.file
    assert client.files.content(done.file.id).read() == b"abcdef"
    with pytest.raises(openai.BadRequestError) as raised:
        client.uploads.parts.create(made.id, data=io.BytesIO(b"x"))
    assert raised.value.code == "upload_closed"
    with pytest.raises(openai.BadRequestError):
        client.uploads.cancel(made.id)


def test_an_upload_is_cancelled_once_or_twice(client: openai.OpenAI) -> None:
    made = client.uploads.create(bytes=0, filename="a", mime_type="text/plain", purpose="user_data")
    assert client.uploads.cancel(made.id).status == "cancelled"
    assert client.uploads.cancel(made.id).status == "cancelled"
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel("upload_none")


@pytest.mark.parametrize("purpose", ["fine-tune", "user_data", "evals"])
def test_a_picture_never_becomes_a_file_of_ours(client: openai.OpenAI, http: httpx.Client, purpose: str) -> None:
    """By its content, whole or in parts; nothing of it is kept, and what is said names it."""
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(64)
    with pytest.raises(openai.BadRequestError) as error:
        client.files.create(file=("../照片.csv", picture), purpose=purpose)  # type: ignore[arg-type]
    assert error.value.code == "file_is_image" and "“照片.csv”" in error.value.message
    with pytest.raises(openai.BadRequestError) as error:
        client.uploads.upload_file_chunked(
            file=picture, filename="照片.jsonl", bytes=len(picture), mime_type="application/jsonl", purpose=purpose
        )  # type: ignore[arg-type]
    assert error.value.code == "file_is_image"
    assert list(client.files.list()) == []
