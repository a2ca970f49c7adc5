"""The loops for models that a `Decoder` cannot drive: transformers' own, and one where tokens are put before texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.generation.streamers import BaseStreamer

from postil.model.layout import FEWEST_SHARED
from postil.model.load import Loaded
from postil.model.sample import Chooser, Sampling, choose_all

MOST_TOKENS = 4096  # of one padded batch of prompts


def by_transformers(
    loaded: Loaded, prompts: Sequence[Sequence[int]], new: int, how: Sampling, say: Callable[[int, int], None],
    tell: Callable[[int], None],
) -> list[list[int]]:  # fmt: skip
    """The new tokens of each prompt, with the one that ends it. `say` hears each token of a single prompt as it comes.

    Drawn answers are drawn row by row: in a batch they would share one source of chance.
    """
    written: list[list[int]] = [[] for _ in prompts]
    done = 0
    for group in _groups([len(prompt) for prompt in prompts], new, 1 if how.temperature else len(prompts)):
        rows = [prompts[i] for i in group]
        torch.manual_seed(how.seed)
        past, start = _read_once(loaded, rows)
        ids, mask = _pad_left(rows, loaded.device, start)
        heard = _Tokens(lambda token: say(0, token)) if len(prompts) == 1 else None
        out = loaded.model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=past, streamer=heard, **_how(loaded, new, how)
        )
        for i, row in zip(group, out[:, ids.shape[1] :].tolist(), strict=True):
            written[i] = _to_its_end(row, loaded.template.stop_ids)
        done += len(group)
        tell(done)
    return written


def pass_by_pass(
    loaded: Loaded, prompts: Sequence[Sequence[int]], new: int, how: Sampling, say: Callable[[int, int], None],
    tell: Callable[[int], None],
) -> list[list[int]]:  # fmt: skip
    """The same for a model that puts tokens of its own before each text. In the first pass it does; what it remembers
    of them then stands before all that follows. Rows of one length go together: padding would come between."""
    written: list[list[int]] = [[] for _ in prompts]
    lengths: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt), []).append(i)
    done = 0
    for length, rows in lengths.items():
        most = max(1, MOST_TOKENS // (length + new))
        for group in (rows[at : at + most] for at in range(0, len(rows), most)):
            _write_on(loaded, prompts, group, written, new, how, say)
            done += len(group)
            tell(done)
    return written


def _write_on(
    loaded: Loaded, prompts: Sequence[Sequence[int]], group: Sequence[int], written: list[list[int]], new: int,
    how: Sampling, say: Callable[[int, int], None],
) -> None:  # fmt: skip
    stops, choosers, under_way = set(loaded.template.stop_ids), [Chooser(how) for _ in group], set(group)
    ids = torch.tensor([list(prompts[i]) for i in group], device=loaded.device)
    out = loaded.model(input_ids=ids, use_cache=True, logits_to_keep=1)
    while True:
        tokens = choose_all(choosers, out.logits[:, -1])
        for i, token in zip(group, tokens, strict=True):
            if i in under_way:
                written[i].append(token)
                say(i, token)
                if token in stops or len(written[i]) == new:
                    under_way.remove(i)
        if not under_way:
            return
        ids = torch.tensor(tokens, device=loaded.device)[:, None]
        out = loaded.model.get_base_model()(input_ids=ids, past_key_values=out.past_key_values, use_cache=True)


def _to_its_end(row: list[int], stops: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(row) if token in stops), len(row))
    return row[: end + 1]


def _how(loaded: Loaded, max_new_tokens: int, how: Sampling) -> dict[str, Any]:
    drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
    sampling = drawn if how.temperature else {"do_sample": False, "top_k": None}
    return {
        **sampling,
        "max_new_tokens": max_new_tokens,
        "eos_token_id": list(loaded.template.stop_ids) or None,
        "pad_token_id": loaded.template.stop_ids[0] if loaded.template.stop_ids else 0,
        "repetition_penalty": 1.0,  # a base's own defaults must not differ from what was trained and measured
    }


def _groups(lengths: Sequence[int], max_new_tokens: int, most: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        size = len(groups[-1]) + 1 if groups else 1
        if groups and size <= most and size * (lengths[i] + max_new_tokens) <= MOST_TOKENS:
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


class _Tokens(BaseStreamer):  # type: ignore[misc]
    """Hands on each new token; what comes first is the prompt."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say, self._prompt_passed = say, False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_passed:
            for token in value.flatten().tolist():
                self._say(token)
        self._prompt_passed = True

    def end(self) -> None:
        pass
