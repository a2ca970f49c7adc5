"""Ways to a model in this process: the trainer's own, and plain transformers as anybody would use it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2.exceptions import TemplateError
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from postil.errors import ExportError
from postil.export.parity import Prompt, Question, Said, Trainer, clear
from postil.model.adapt import METHODS, open_adapter
from postil.model.generate import written
from postil.model.load import DTYPES, Loaded, load_base, load_planned
from postil.model.methods.beside import Beside
from postil.model.template import Template
from postil.records import Adapter, Message

FOUR_BITS = "nf4"  # how the base is kept for QLoRA
MOST_TOLD = 20  # likeliest tokens for each place


class OfTrainer:
    """The adapter on its base, asked as it was trained and measured."""

    name = "trainer"

    def __init__(self, loaded: Loaded, dtype: str) -> None:
        self._loaded, self.dtype = loaded, dtype
        template = loaded.template
        self._stops = frozenset(template.stop_ids)
        self.stops: frozenset[int] | None = self._stops
        self.start, self.end = template.tokenizer.bos_token_id, template.end_id
        self.templated: Callable[[Question, str | None], str] = _with_system(template)
        self._tokenizer = template.tokenizer

    def word(self, token: int) -> str:
        return self._tokenizer.decode([token])

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        template = self._loaded.template
        return [Prompt(tuple(template.prompt(one)), template.prompt_text(one)) for one in questions]

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        answers = written(self._loaded, prompts, max_new_tokens=new)
        return [
            Said(tuple(answer), _top(self._loaded.model, prompt, answer), bool(answer) and answer[-1] in self._stops)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]


def open_trainer(adapter: Adapter) -> OfTrainer:
    """The trainer of an adapter."""
    four_bits = METHODS[adapter.plan.method].four_bits
    return OfTrainer(_loaded(adapter), FOUR_BITS if four_bits else adapter.plan.dtype)


def _loaded(adapter: Adapter) -> Loaded:
    torch.set_num_threads(adapter.plan.threads)
    loaded = load_planned(adapter.base_path, adapter.plan)
    loaded.model = open_adapter(loaded.model, adapter.path)
    return loaded


def rounded_trainer(adapter: Adapter, dtype: str) -> Trainer:
    """The trainer with its adapter merged and its weights rounded to `dtype`: what rounding alone does to it.

    Of one that was trained on a base in four bits: with the base as it is.
    """
    plan = adapter.plan
    torch.set_num_threads(plan.threads)
    loaded = load_base(adapter.base_path, dtype=plan.dtype, device=plan.device, thinking=plan.thinking)
    adapted = open_adapter(loaded.model, adapter.path)
    model = adapted.base_model if isinstance(adapted, Beside) else adapted.merge_and_unload()
    if dtype in DTYPES:
        return OfTrainer(replace(loaded, model=model.to(DTYPES[dtype])), dtype)
    _quantize(model, dtype)
    return OfTrainer(replace(loaded, model=model), dtype)


def _quantize(model: Any, dtype: str) -> None:
    """Round the matrices of a model to a number type of GGUF, in place."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    kind = GGMLQuantizationType["Q8_0" if dtype.upper() not in ("Q4_0", "Q4_1", "Q5_0", "Q5_1") else dtype.upper()]
    for parameter in model.parameters():
        if parameter.dim() == 2 and parameter.shape[1] % 32 == 0:
            values = parameter.data.float().cpu().numpy()
            parameter.data = torch.from_numpy(dequantize(quantize(values, kind), kind).astype(np.float32)).to(parameter)


def _with_system(template: Template) -> Callable[[Question, str | None], str]:
    def text(question: Question, system: str | None) -> str:
        others = [message for message in question if message.role != "system"]
        before = [Message("system", system)] if system is not None else []
        return template.prompt_text([*before, *others])

    return text


class ByTransformers:
    """A directory in plain transformers (and PEFT): nothing of ours between the files and the answer."""

    name = "transformers"

    def __init__(self, directory: Path, base: Path | None = None, dtype: str | None = None) -> None:
        """base: where the model lies when `directory` is an adapter; dtype: of it, None: as it is stored."""
        model = AutoModelForCausalLM.from_pretrained(
            str(base or directory), dtype=DTYPES[dtype] if dtype else "auto", local_files_only=True,
            use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
        if base is not None:
            model = PeftModel.from_pretrained(model, str(directory), use_safetensors=True)
        self._model = model.eval()
        self._tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        generation: GenerationConfig = model.generation_config
        stops = generation.eos_token_id
        self.stops: frozenset[int] | None = frozenset([stops] if isinstance(stops, int) else stops or ())
        self.dtype = str(model.dtype).removeprefix("torch.")

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        return [self._prompt(question) for question in questions]

    def _prompt(self, question: Question) -> Prompt:
        messages = [{"role": message.role, "content": message.content} for message in question]
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            told = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except (TemplateError, ValueError, TypeError) as error:
            raise ExportError("target_refuses", door=self.name, reason=str(error).partition("\n")[0]) from error
        return Prompt(tuple(told["input_ids"]), text)

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        return [self._say(list(prompt), new) for prompt in prompts]

    def _say(self, prompt: list[int], new: int) -> Said:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, top_k=None,
                top_p=None, temperature=None, repetition_penalty=1.0, pad_token_id=0,
            )  # fmt: skip
        answer = out[0, len(prompt) :].tolist()
        ended = bool(answer) and answer[-1] in (self.stops or ())
        return Said(tuple(answer), _top(self._model, prompt, answer), ended)


Told = tuple[str, float, Sequence[tuple[str, float]]]  # a token's text, its log probability, the likeliest in its place
Ask = Callable[[Sequence[Message], Sequence[int], int], tuple[Sequence[Told], int, bool]]


class OfEngine:
    """Our serving engine, through its client. It tells the texts of tokens, not their ids.

    ask: (messages, prompt ids, new tokens) -> tokens, length of the prompt, whether the answer ended. Either the
    messages or the ids are empty.
    """

    name = "engine"
    stops: frozenset[int] | None = None

    def __init__(self, ask: Ask, template: Template, dtype: str) -> None:
        self._ask, self._template, self.dtype = ask, template, dtype
        self._questions: dict[tuple[int, ...], Question] = {}

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        """Ours, if the engine says the same of the messages as of these ids; else ids that are nobody's."""
        return [self._prompt(question) for question in questions]

    def _prompt(self, question: Question) -> Prompt:
        ids = tuple(self._template.prompt(question))
        (told, count, _), (by_ids, _, _) = self._ask(question, (), 1), self._ask((), ids, 1)
        same = count == len(ids) and all(
            a[0] == b[0] and abs(a[1] - b[1]) < 1e-3 for a, b in zip(told, by_ids, strict=True)
        )
        self._questions[ids] = question
        return Prompt(ids if same else ())

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        return [self._say(self._questions[tuple(prompt)], new) for prompt in prompts]

    def _say(self, question: Question, new: int) -> Said:
        told, _, ended = self._ask(question, (), new)
        return Said(tuple(one[0] for one in told), tuple(clear(one[2]) for one in told), ended)


def _top(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> tuple[Mapping[Hashable, float], ...]:
    """For each token of an answer the likeliest tokens in its place, and that one, with their log probabilities."""
    if not answer:
        return ()
    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    chances = torch.log_softmax(logits, -1)
    values, places = chances.topk(min(MOST_TOLD, chances.shape[-1]))
    own = chances.gather(1, torch.tensor(answer, device=chances.device)[:, None])[:, 0]
    return tuple(
        {**dict(zip(places[i].tolist(), values[i].tolist(), strict=True)), token: float(own[i])}
        for i, token in enumerate(answer)
    )
