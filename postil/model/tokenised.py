"""Examples become tokens once: proven sequences are kept in this process, and in a file for the next one.

A file belongs to one set of examples, one tokenizer and template, and one version of the code that makes and proves
the sequences; that is its key. It holds numbers only, with a hash over them: a file that is damaged, or not what its
name says, is not used but written anew. Examples with a fault are never kept: what comes out of here is proven.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from postil.errors import DataError
from postil.model.labels import proven
from postil.model.readings import READINGS
from postil.model.template import Span, Template, Tokens
from postil.records import Example
from postil.settings import Settings
from postil.store import write_bytes

FORMAT = 2
MOST_BYTES = 512 << 20  # of all files together; the oldest go first
FEWEST = 32  # examples; fewer are made sooner than read
Sequences = Mapping[str, list[Tokens]]  # by the key of their example

_kept: dict[str, dict[str, list[Tokens]]] = {}  # of the last tokenizer only


def tokenised(
    examples: Sequence[Example], template: Template, max_length: int, among: Sequence[Example] = (),
    task: str = "causal_lm",
) -> list[list[Tokens]]:  # fmt: skip
    """The proven sequences of each example. `among`: the whole set that they are part of, if a file may hold that.

    Only those of answers in a chat are kept: a file of them serves every plan.

    Raises DataError `labels_wrong` with all rows and causes when any would teach something wrong.
    """
    if task in READINGS:
        return proven(examples, template, max_length, READINGS[task])
    if not template.identity:  # nobody knows which tokenizer it is
        return proven(examples, template, max_length)
    kind = _kind(template)
    if kind not in _kept:
        _kept.clear()
    known = _kept.setdefault(kind, {})
    keys = [_key(example) for example in examples]
    every = {_key(example): example for example in among} | dict(zip(keys, examples, strict=True))
    file = _file(kind, every)
    if any(key not in known for key in keys):
        known.update(_read(file, every))
    new = {key: example for key, example in zip(keys, examples, strict=True) if key not in known}
    if new:
        try:
            made = proven(list(new.values()), template, max_length)
        except DataError:
            return proven(examples, template, max_length)  # with the faults of all of them
        known.update(zip(new, made, strict=True))
        _write(file, {key: known[key] for key in every if key in known})
    _prove_length(examples, [known[key] for key in keys], template, max_length)
    return [_of(example, known[key]) for example, key in zip(examples, keys, strict=True)]


def maker(template: Template) -> Callable[[Example], list[Tokens]]:
    """What gives the sequences of an example: those that are kept, or new ones, which are not proven."""
    known = _kept.get(_kind(template), {}) if template.identity else {}

    def make(example: Example) -> list[Tokens]:
        found = known.get(_key(example)) if known else None
        return template.sequences(example) if found is None else _of(example, found)

    return make


def _prove_length(
    examples: Sequence[Example], made: Sequence[list[Tokens]], template: Template, max_length: int
) -> None:
    """The one proof that another plan may change: nothing is cut."""
    long = [e for e, own in zip(examples, made, strict=True) if any(len(one.ids) > max_length for one in own)]
    if long:
        proven(long, template, max_length)


def _of(example: Example, sequences: list[Tokens]) -> list[Tokens]:
    """The sequences with the rows of this example: another of the same words may stand in other rows."""
    if all(one.rows == example.rows for one in sequences):
        return sequences
    return [Tokens(one.ids, one.weights, one.spans, example.rows) for one in sequences]


# ── keys ──


def _kind(template: Template) -> str:
    """Tokenizer, template, whether answers show their reasoning, and the code that makes and proves sequences."""
    return _hash([template.identity, template.thinking, _code()])


@cache
def _code() -> list[str]:
    rooms = ("template.py", "marks.py", "labels.py", "tokenised.py")
    files = [Path(__file__).with_name(name) for name in rooms]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    return [str(FORMAT), transformers.__version__, tokenizers.__version__, *hashes]


def _key(example: Example) -> str:
    return _hash(example.as_json())


def _hash(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ── files ──


def _file(kind: str, keys: Iterable[str]) -> Path:
    """Of the set, in whatever order: the parts of a split are read one after the other."""
    return Settings().home / "cache" / "tokens" / f"{_hash([kind, sorted(keys)])}.safetensors"


def _write(file: Path, sequences: Sequences) -> None:
    """Best effort: what cannot be written only costs time."""
    if len(sequences) < FEWEST:
        return
    own = [(key, s) for key, found in sequences.items() for s in found]
    place = {key: i for i, key in enumerate(sequences)}
    tensors = {
        "keys": torch.tensor([list(bytes.fromhex(key)) for key in sequences], dtype=torch.uint8),
        "owners": torch.tensor([place[key] for key, _ in own], dtype=torch.int64),
        "lengths": torch.tensor([len(s.ids) for _, s in own], dtype=torch.int64),
        "ids": torch.tensor([i for _, s in own for i in s.ids], dtype=torch.int32),
        "spans": torch.tensor(
            [[n, p.start, p.end] for n, (_, s) in enumerate(own) for p in s.spans], dtype=torch.int64
        ),
        "weights": torch.tensor([s.weights[p.start] for _, s in own for p in s.spans], dtype=torch.float64),
    }
    tensors["digest"] = _digest(file.stem, tensors)
    with suppress(OSError):
        write_bytes(file, save(tensors, metadata={"format": "pt"}))
        _make_room(file.parent)


def _make_room(folder: Path) -> None:
    files = sorted(((s := f.stat()).st_mtime, s.st_size, f) for f in folder.glob("*.safetensors"))
    over = sum(size for _, size, _ in files) - MOST_BYTES
    for _, size, file in files[:-1]:
        if over <= 0:
            break
        file.unlink(missing_ok=True)
        over -= size


def _read(file: Path, examples: Mapping[str, Example]) -> dict[str, list[Tokens]]:
    """What the file holds of these examples; nothing when it is not there, or not whole."""
    try:
        tensors = load_file(file)
        if not torch.equal(tensors["digest"], _digest(file.stem, tensors)):
            return {}
        found = _rebuilt(tensors, examples)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError):
        return {}
    with suppress(OSError):
        os.utime(file)
    return found


def _digest(name: str, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    digest = hashlib.sha256(name.encode())
    for key in sorted(set(tensors) - {"digest"}):
        digest.update(f"{key} {tensors[key].dtype} {list(tensors[key].shape)}".encode())
        digest.update(tensors[key].contiguous().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _rebuilt(tensors: Mapping[str, torch.Tensor], examples: Mapping[str, Example]) -> dict[str, list[Tokens]]:
    """The sequences as `Template.sequences` made them; the words of the answers are the examples' own."""
    keys = [bytes(row).hex() for row in tensors["keys"].tolist()]
    ids, spans = tensors["ids"].tolist(), tensors["spans"].tolist()
    ends = tensors["lengths"].cumsum(0).tolist()
    weights = tensors["weights"].tolist()
    within: dict[int, list[tuple[int, int, float]]] = {}
    for (n, start, end), weight in zip(spans, weights, strict=True):
        within.setdefault(n, []).append((start, end, weight))
    found: dict[str, list[Tokens]] = {key: [] for key in keys if key in examples}
    words = {key: [m.content for m in examples[key].messages if m.role == "assistant" and m.weight] for key in found}
    begin = 0
    for n, (owner, end) in enumerate(zip(tensors["owners"].tolist(), ends, strict=True)):
        key = keys[owner]
        if key in found:
            row = [0.0] * (end - begin)
            own = []
            for a, b, weight in within.get(n, ()):
                row[a:b] = [weight] * (b - a)
                own.append(Span(a, b, words[key].pop(0)))
            found[key].append(Tokens(tuple(ids[begin:end]), tuple(row), tuple(own), examples[key].rows))
        begin = end
    return found
