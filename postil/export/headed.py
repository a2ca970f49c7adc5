"""Models of another class than plain language's leave the house: merged in memory, as transformers saves them.

Those with a head for labels have their labels' names with them, and are held against the trainer.

The answer of such a model is a label for the text, or for each unit of it, and the probabilities of the others; the
certificate compares these. How a text is cut into units is Postil's alone: for those, both are given the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoTokenizer

from postil.export.parity import Prompt, Question, Said
from postil.export.plain import write_notices, write_tokenizer
from postil.model.adapt import open_adapter
from postil.model.heads import HEADS
from postil.model.labelled import asked, open_labelled
from postil.model.labelset import LABELLED, Labels, read_labels
from postil.model.load import DTYPES, Loaded, load_base
from postil.model.methods.beside import Beside
from postil.model.reader import Reader
from postil.records import Adapter


def write_headed(adapter: Adapter, directory: Path, dtype: str) -> None:
    """The merged model with its head as a directory of its own. dtype: of its weights."""
    loaded = _merged(adapter)
    config = loaded.model.config
    if isinstance(loaded.template, Reader) and not loaded.template.each_token:
        config.problem_type = "single_label_classification"
    if config.pad_token_id is None and loaded.tokenizer.pad_token_id is not None:
        config.pad_token_id = loaded.tokenizer.pad_token_id  # or it would take one text at a time
    loaded.model.to(DTYPES[dtype]).save_pretrained(directory)
    if isinstance(loaded.template, Reader):
        write_tokenizer(adapter.base_path, loaded.template, directory)
    else:
        loaded.tokenizer.save_pretrained(str(directory))  # it is asked in plain text
    write_notices(adapter.base_path, directory)


def _merged(adapter: Adapter) -> Loaded:
    """The base as it is stored, with the head and the adapter merged into it, in the plan's dtype."""
    plan = adapter.plan
    labels = read_labels(adapter.path) if plan.task in LABELLED else Labels()
    torch.set_num_threads(plan.threads)
    loaded = load_base(adapter.base_path, dtype=plan.dtype, device=plan.device, task=plan.task, labels=labels.names,
                       seed=plan.seed)  # fmt: skip
    adapted = open_adapter(loaded.model, adapter.path)
    loaded.model = adapted.base_model if isinstance(adapted, Beside) else adapted.merge_and_unload()
    return loaded


class OfHead:
    """The trainer of a model with labels: its tokens are numbers of labels."""

    name = "trainer"
    stops: frozenset[int] | None = None
    end: int | None = None

    def __init__(self, loaded: Loaded, labels: Labels, dtype: str) -> None:
        self._loaded, self._labels, self.dtype = loaded, labels, dtype
        self.start: int | None = loaded.tokenizer.bos_token_id
        self._asked: dict[tuple[int, ...], Question] = {}
        self.templated: Callable[[Question, str | None], str] = lambda question, system: ""

    def word(self, token: int) -> str:
        return f"{self._labels.names[token]} "

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        reader = self._loaded.template
        assert isinstance(reader, Reader)
        made = [tuple(reader.read(question)[0]) for question in questions]
        self._asked |= dict(zip(made, questions, strict=True))
        return [Prompt(ids) for ids in made]

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        rows = asked(self._loaded, [self._asked[tuple(ids)] for ids in prompts], lambda done: None)
        return [_said(row) for row in rows]


def open_headed(adapter: Adapter) -> OfHead:
    """The trainer of an adapter with a head for labels."""
    labels = read_labels(adapter.path)
    return OfHead(open_labelled(adapter, labels), labels, adapter.plan.dtype)


def rounded_headed(adapter: Adapter, dtype: str) -> OfHead:
    """The same, merged and rounded to `dtype`."""
    loaded = _merged(adapter)
    loaded.model.to(DTYPES[dtype])
    return OfHead(loaded, read_labels(adapter.path), dtype)


class ByHead:
    """A directory in plain transformers (and PEFT), asked for labels."""

    name = "transformers"
    stops: frozenset[int] | None = None

    def __init__(self, directory: Path, task: str, reader: Reader, labels: Labels, base: Path | None = None) -> None:
        """base: where the model lies when `directory` is an adapter. reader: for the units of a text alone."""
        named = {"id2label": dict(enumerate(labels.names)), "label2id": {n: i for i, n in enumerate(labels.names)}}
        model = HEADS[task].auto.from_pretrained(
            str(base or directory), dtype="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False,
            **(named if base else {}),
        )  # fmt: skip
        if base is not None:
            model = PeftModel.from_pretrained(model, str(directory), use_safetensors=True)
        self._model, self._reader = model.eval(), reader
        self._tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        self.dtype = str(model.dtype).removeprefix("torch.")
        self._places: dict[tuple[int, ...], list[int]] = {}

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        return [Prompt(self._ids(question)) for question in questions]

    def _ids(self, question: Question) -> tuple[int, ...]:
        ids: Sequence[int]
        if self._reader.each_token:
            ids, places = self._reader.read(question)
            self._places[tuple(ids)] = places
        elif self._reader.encoder:
            ids = self._tokenizer("\n".join(message.content for message in question))["input_ids"]
        else:
            messages = [{"role": message.role, "content": message.content} for message in question]
            ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
        return tuple(ids)

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        return [self._say(tuple(ids)) for ids in prompts]

    def _say(self, ids: tuple[int, ...]) -> Said:
        with torch.inference_mode():
            told: Any = self._model(input_ids=torch.tensor([ids])).logits[0]
        rows = told[self._places[ids]] if self._reader.each_token else told[None]
        return _said(torch.log_softmax(rows.float(), -1))


def _said(rows: torch.Tensor) -> Said:
    """Log probabilities [places, labels] as an answer: the likeliest label of each place."""
    return Said(tuple(rows.argmax(-1).tolist()), tuple(dict(enumerate(row.tolist())) for row in rows), True)
