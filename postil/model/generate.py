"""Answers: greedy unless asked otherwise, each row stopping at its own end of turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.generation.streamers import BaseStreamer

from postil.model.layout import FEWEST_SHARED
from postil.model.load import Loaded
from postil.records import Answer

MOST_TOKENS = 4096  # of one batch of prompts, padding included


def generate(
    loaded: Loaded,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """One answer for each prompt (token ids), in their order; `tell` hears how many are done.

    Prompts of like length share a batch. What they all begin with is read once, and the padding stands behind it.
    Temperature 0 is greedy.
    """
    answers: list[Answer] = [Answer("", 0, False)] * len(prompts)
    done = 0
    for group in _groups([len(prompt) for prompt in prompts], max_new_tokens):
        rows = [prompts[i] for i in group]
        torch.manual_seed(seed)
        with torch.inference_mode():
            past, start = _read_once(loaded, rows)
            ids, mask = _pad_left(rows, loaded.device, start)
            how = _how(loaded, max_new_tokens, temperature, top_p)
            out = loaded.model.generate(input_ids=ids, attention_mask=mask, past_key_values=past, **how)
        for i, row in zip(group, out[:, ids.shape[1] :].tolist(), strict=True):
            answers[i] = _answer(loaded, prompts[i], row)
        done += len(group)
        tell(done)
    return answers


def stream(
    loaded: Loaded,
    prompt: Sequence[int],
    say: Callable[[str], None],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Answer:
    """One answer, its text given to `say` piece by piece as it comes."""
    ids, mask = _pad_left([prompt], loaded.device)
    pieces = _Pieces(loaded, say)
    torch.manual_seed(seed)
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids, attention_mask=mask, streamer=pieces, **_how(loaded, max_new_tokens, temperature, top_p)
        )
    return _answer(loaded, prompt, out[0, len(prompt) :].tolist())


def _how(loaded: Loaded, max_new_tokens: int, temperature: float, top_p: float) -> dict[str, Any]:
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature else {"do_sample": False}
    return {
        **sampling,
        "max_new_tokens": max_new_tokens,
        "eos_token_id": list(loaded.template.stop_ids) or None,
        "pad_token_id": loaded.template.stop_ids[0] if loaded.template.stop_ids else 0,
        "repetition_penalty": 1.0,  # a base's own defaults must not differ from what was trained and measured
        "top_k": 0 if temperature else None,
    }


def _groups(lengths: Sequence[int], max_new_tokens: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * (lengths[i] + max_new_tokens) <= MOST_TOKENS:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _read_once(loaded: Loaded, rows: Sequence[Sequence[int]]) -> tuple[Any, int]:
    """The keys and values of what all rows begin with, for each of them, and its length; (None, 0) without such.

    Padding behind a shared beginning is harmless only where attention goes by the mask alone: a layer with a sliding
    window would count it, and an architecture with another kind of memory would read it.
    """
    shortest = min(len(row) for row in rows) - 1
    first, last = min(map(list, rows)), max(map(list, rows))  # what these two share, all do
    start = next((i for i in range(shortest) if first[i] != last[i]), shortest)
    if len(rows) < 2 or start < FEWEST_SHARED:
        return None, 0
    beginning = torch.tensor([list(rows[0][:start])], device=loaded.device)
    try:
        past = loaded.model(input_ids=beginning, use_cache=True, logits_to_keep=1).past_key_values
    except (TypeError, AttributeError):  # an architecture without such a cache
        return None, 0
    if type(past) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in past.layers):
        return None, 0
    past.batch_repeat_interleave(len(rows))
    return past, start


def _pad_left(rows: Sequence[Sequence[int]], device: str, start: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask [rows, longest]; the padding stands after the first `start` tokens."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.ones_like(ids)
    for place, row in enumerate(rows):
        padding = longest - len(row)
        ids[place] = torch.tensor([*row[:start], *[0] * padding, *row[start:]])
        mask[place, start : start + padding] = 0
    return ids.to(device), mask.to(device)


def _answer(loaded: Loaded, prompt: Sequence[int], row: Sequence[int]) -> Answer:
    end = next((i for i, token in enumerate(row) if token in loaded.template.stop_ids), None)
    ids = list(row if end is None else row[:end])
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}").strip()
    if loaded.tokenizer.decode(list(prompt[-8:])).rstrip().endswith("<think>"):
        text = f"<think>\n{text}"  # the prompt opened the reasoning; without the mark it could not be told apart
    return Answer(text, len(row) if end is None else end + 1, end is not None)


class _Pieces(BaseStreamer):  # type: ignore[misc]
    """Gives whole characters: a Chinese character may take several tokens."""

    def __init__(self, loaded: Loaded, say: Callable[[str], None]) -> None:
        self._loaded, self._say = loaded, say
        self._ids: list[int] = []
        self._said = 0
        self._prompt_passed = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_passed:
            self._prompt_passed = True
            return
        self._ids += [i for i in value.flatten().tolist() if i not in self._loaded.template.stop_ids]
        text = self._loaded.tokenizer.decode(self._ids, skip_special_tokens=True)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            self._say(text[self._said :])
            self._said = len(text)

    def end(self) -> None:
        text = self._loaded.tokenizer.decode(self._ids, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}")
        self._say(text[self._said :])
