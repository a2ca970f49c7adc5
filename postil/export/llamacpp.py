"""A real llama.cpp holds the other end: a GGUF file is asked as its users will ask it.

llama.cpp's server runs as a child process on this machine: the program `llama-server` where it is installed, or the
one inside the package xllamacpp. It is spoken to over HTTP on 127.0.0.1, and ends with us.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType, GGUFReader

from postil.child import Limit, TookTooLong, Watch
from postil.errors import ExportError
from postil.export.parity import Prompt, Question, Said
from postil.extras import command, has
from postil.settings import for_child

SERVER, PACKAGE = "llama-server", "xllamacpp"
START_SECONDS = 900.0  # a large file from a slow disk, on a machine that has much else to do
ANSWER_SECONDS = 6000.0
MOST_TOLD = 20
STOP_SECONDS = 10.0
EXACT_CACHE = ("--cache-type-k", "f32", "--cache-type-v", "f32")  # the file's numbers, not a cache's


def installed() -> bool:
    """Whether there is a llama.cpp to ask."""
    return shutil.which(SERVER) is not None or has(PACKAGE)


@contextmanager
def open_llama(
    model: Path, adapter: Path | None = None, *, threads: int = 1, context: int = 4096, end: int | None = None
) -> Iterator[OfLlama]:
    """llama.cpp with a GGUF file, and a LoRA file on it. end: a token of which is found out whether it ends an answer.

    Raises ExportError `llama_missing`, or `llama_failed` with its last words when it does not take the file.
    """
    if not installed():
        raise ExportError("llama_missing", command=command(PACKAGE), program=SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = secrets.token_hex(16)
    told = {"model": str(model), "adapter": str(adapter) if adapter else None, "port": port, "threads": threads,
            "context": context, "key": key}  # fmt: skip
    with tempfile.TemporaryDirectory() as place, (log := Path(place) / "log").open("wb") as sink:
        child = subprocess.Popen(_command(told), stdin=subprocess.PIPE, stdout=sink, stderr=sink, env=for_child())
        try:
            assert child.stdin is not None
            with suppress(OSError):
                child.stdin.write((json.dumps(told) + "\n").encode())
                child.stdin.flush()
            address = f"http://127.0.0.1:{port}"
            _wait(child, address, key, log)
            yield OfLlama(address, key, model, end)
        finally:
            _end(child)


def _command(told: Mapping[str, Any]) -> list[str]:
    program = shutil.which(SERVER)
    if program is None:
        return [sys.executable, str(Path(__file__).with_name("llamachild.py"))]  # by its path: it needs none of us
    lora = ["--lora", str(told["adapter"])] if told["adapter"] else []
    return [program, "--model", told["model"], *lora, "--host", "127.0.0.1", "--port", str(told["port"]), "--jinja",
            "--ctx-size", str(told["context"]), "--threads", str(told["threads"]), "--api-key", told["key"],
            "--parallel", "1", "--no-warmup", "--flash-attn", "off", *EXACT_CACHE]  # fmt: skip


def _wait(child: subprocess.Popen[bytes], address: str, key: str, log: Path) -> None:
    begins = Watch(child, Limit(START_SECONDS, os.cpu_count() or 1), bound=False)
    with suppress(TookTooLong):
        while child.poll() is None:
            begins.look()
            with suppress(OSError, ValueError):
                if _ask(f"{address}/health", None, key).get("status") == "ok":
                    return
            time.sleep(0.05)
    raise ExportError("llama_failed", reason=_last_words(log))


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    wrong = [line for line in lines if "error loading" in line or line.startswith("error")]
    return (wrong or lines or ["-"])[-1][:300]


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.close()  # ours ends with that; the program is told
    if shutil.which(SERVER) is not None:
        child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _ask(address: str, told: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    data = None if told is None else json.dumps(told).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(address, data, headers)  # noqa: S310 - of our own making: http on this machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands between us
    with opener.open(request, timeout=ANSWER_SECONDS) as answer:
        return dict(json.loads(answer.read()))


class OfLlama:
    """A GGUF file in llama.cpp."""

    name = "llama.cpp"

    def __init__(self, address: str, key: str, model: Path, end: int | None) -> None:
        self._address, self._key = address, key
        self.dtype = dtype_of(model)
        self.render: Callable[[Question], str] = self._render
        self.stops: frozenset[int] | None = None
        if end is not None:
            self.stops = frozenset([end] if self.stops_at(end) else [])

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        return [self._prompt(question) for question in questions]

    def _prompt(self, question: Question) -> Prompt:
        """As a chat completion makes it: rendered by the file's template, then tokenised with what it adds."""
        text = self.render(question)
        told = self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return Prompt(tuple(told["tokens"]), text)

    def _render(self, question: Question) -> str:
        messages = [{"role": message.role, "content": message.content} for message in question]
        return str(self._post("/apply-template", {"messages": messages})["prompt"])

    def stops_at(self, token: int) -> bool:
        """Whether an answer ends with this token: tried, by making it the only one that may come."""
        told = self._complete([token], 2, {"logit_bias": [[token, 1000.0]]})
        return bool(told["stop_type"] == "eos")

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        return [self._say(list(prompt), new) for prompt in prompts]

    def _say(self, prompt: list[int], new: int) -> Said:
        told = self._complete(prompt, new, {"n_probs": MOST_TOLD})
        tokens = [int(token) for token in told["tokens"]]
        steps = told.get("completion_probabilities", [])
        top: list[dict[Any, float]] = [{} for _ in tokens]
        for place, step in _placed(tokens, [int(step["id"]) for step in steps]):
            top[place] = {int(one["id"]): float(one["logprob"]) for one in steps[step]["top_logprobs"]}
        return Said(tuple(tokens), tuple(top), told["stop_type"] == "eos")

    def _complete(self, prompt: list[int], new: int, more: Mapping[str, Any]) -> dict[str, Any]:
        how = {"prompt": prompt, "n_predict": new, "temperature": 0.0, "top_k": 1, "samplers": ["top_k"],
               "cache_prompt": False, "return_tokens": True, **more}  # fmt: skip
        return self._post("/completion", how)

    def _post(self, path: str, told: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return _ask(self._address + path, told, self._key)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")[:300]
            raise ExportError("target_refuses", door=self.name, reason=said) from error
        except OSError as error:
            raise ExportError("llama_failed", reason=str(error)) from error


def _placed(tokens: Sequence[int], steps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(place, step) where it is certain which token a step tells of: those that end within a character are not told."""
    forward, backward = _matched(tokens, steps), _matched(tokens[::-1], steps[::-1])
    for step, place in enumerate(forward):
        if place == len(tokens) - 1 - backward[len(steps) - 1 - step]:
            yield place, step


def _matched(tokens: Sequence[int], steps: Sequence[int]) -> list[int]:
    """For each step the first place that it may tell of."""
    places: list[int] = []
    for step in steps:
        places.append(tokens.index(step, places[-1] + 1 if places else 0))
    return places


def dtype_of(file: Path) -> str:
    """The number type in which most of a GGUF file's matrices are stored, in our words."""
    sizes: dict[str, int] = {}
    for tensor in GGUFReader(file).tensors:
        if len(tensor.shape) > 1:
            name = GGMLQuantizationType(tensor.tensor_type).name
            sizes[name] = sizes.get(name, 0) + int(tensor.n_elements)
    most = max(sizes, key=lambda name: sizes[name]) if sizes else "F32"
    return {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(most, most.lower())
