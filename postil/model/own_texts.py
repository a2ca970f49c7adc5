"""What a base model says of itself when nothing is asked: short texts, drawn from its own distribution.

A model that is kept near its base on these keeps what it could do, in whatever languages and on whatever subjects the
base has seen, and no corpus is needed: the first token is any word of the vocabulary, the others are drawn (LLM-QAT,
arXiv 2305.17888, makes its data so).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import torch

from postil.errors import TrainError
from postil.model.load import Loaded
from postil.model.template import Tokenizer, Tokens
from postil.store import read_json

TEXTS_FILE = Path("data", "own_texts.json")  # of a run's directory
COUNT, LENGTH = 64, 32  # texts, and tokens of each
LOOKED_AT = 4000  # tokens of a vocabulary, at most, until enough of them are words
# drawn from what the model says, whatever its own settings for generating are
FREELY = {
    **{"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "num_beams": 1, "min_length": 0},
    **{"repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
    **{"min_new_tokens": LENGTH - 1, "max_new_tokens": LENGTH - 1},
}


def own_texts(loaded: Loaded, seed: int) -> list[tuple[int, ...]]:
    """Token ids of COUNT texts of LENGTH tokens, each drawn from the base; its adapter is switched off for that."""
    model, tokenizer = loaded.model, loaded.tokenizer
    prefix = _prefix(tokenizer)
    starts = torch.tensor([[*prefix, word] for word in _words(tokenizer, seed)], device=loaded.device)
    training = model.training
    model.eval()
    with torch.inference_mode(), model.disable_adapter(), torch.random.fork_rng():
        torch.manual_seed(seed)
        how = {**FREELY, "pad_token_id": loaded.template.stop_ids[0]}
        rows = model.generate(input_ids=starts, attention_mask=torch.ones_like(starts), **how).tolist()
    model.train(training)
    return [tuple(row) for row in rows]


def read_texts(directory: Path) -> list[list[int]]:
    """Token ids of each text of the run in `directory`. Raises TrainError `data_changed`."""
    file = directory / TEXTS_FILE
    try:
        return [[int(token) for token in ids] for ids in read_json(file)["ids"]]
    except (OSError, ValueError, LookupError, TypeError) as damaged:
        raise TrainError("data_changed", path=str(file)) from damaged


def as_sequence(ids: tuple[int, ...]) -> Tokens:
    """Such a text as a sequence of which every token counts."""
    return Tokens(ids, (0.0, *(1.0 for _ in ids[1:])), ())


def _prefix(tokenizer: Tokenizer) -> list[int]:
    """What this model's texts begin with, if anything."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer.encode("a", add_special_tokens=True)[0] == bos else []


def _words(tokenizer: Tokenizer, seed: int) -> Iterator[int]:
    """COUNT tokens that are words, or whatever there is."""
    chance = random.Random(f"{seed}:own texts")  # noqa: S311 - a choice, not a secret
    size, special = len(tokenizer), set(tokenizer.all_special_ids)  # type: ignore[arg-type, attr-defined]
    drawn = [chance.randrange(size) for _ in range(LOOKED_AT)]
    words = [i for i in drawn if i not in special and tokenizer.decode([i]).strip().isalpha()]
    others = [i for i in drawn if i not in special]
    yield from (words if len(words) >= COUNT else [*words, *others])[:COUNT]
