"""The card that a model has on a hub: what it is made of, what it was shown to do, how to load it; in both languages.

Made from what the run wrote down. Of the data it tells numbers, never a row, a file's name or a place on this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postil.export.push import Place
from postil.locales import LANGUAGES, knows, say
from postil.records import Adapter, Evaluation, Target


@dataclass(frozen=True)
class Facts:
    """What the run tells. rows: examples of training, validation and test; updates, epochs: as they were done."""

    licence: str = ""
    rows: tuple[int, int, int] = (0, 0, 0)
    result: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None


def write_card(
    adapter: Adapter, to: Target, reference: str, facts: Facts, parity: Mapping[str, Any], place: Place
) -> str:
    """The text of README.md."""
    parts = [_head(adapter, to, reference, facts, place), f"# {place.repo.partition('/')[2]}"]
    for lang in LANGUAGES:
        parts += _page(adapter, to, facts, parity, lang)
    parts.append(_load(adapter, to, reference, place))
    return "\n\n".join(parts) + "\n"


def _head(adapter: Adapter, to: Target, reference: str, facts: Facts, place: Place) -> str:
    """What the hubs read: YAML, each value as JSON, which YAML understands."""
    told: dict[str, Any] = {
        "library_name": "peft" if to == "peft" else "transformers", "pipeline_tag": _PIPELINES[adapter.plan.task],
        "tags": ["postil", adapter.plan.method],
    }  # fmt: skip
    if "/" in reference and not reference.startswith(("/", ".")) and "\\" not in reference:
        told["base_model"] = reference
    if facts.licence:
        told["license"] = facts.licence.lower()
    return "\n".join(
        ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in told.items()), "---"]
    )


_PIPELINES = {"causal_lm": "text-generation", "pretraining": "text-generation", "dpo": "text-generation",
              "seq_cls": "text-classification", "token_cls": "token-classification",
              "seq_2_seq_lm": "text2text-generation"}  # fmt: skip


def _page(adapter: Adapter, to: Target, facts: Facts, parity: Mapping[str, Any], lang: str) -> list[str]:
    plan, (training, validation, test) = adapter.plan, facts.rows
    base = Path(adapter.base).name  # never a place on this machine
    lines = [say(f"card.what.{to}", lang, base=base),
             say("card.base", lang, base=base, sha256=adapter.base_sha256[:16], licence=facts.licence or "-"),
             say("card.how", lang, method=plan.method, task=plan.task, r=plan.r, alpha=plan.lora_alpha,
                 rate=f"{facts.result.get('learning_rate') or plan.learning_rate:.2g}",
                 epochs=facts.result.get("epochs", plan.n_epochs), seed=plan.seed)]  # fmt: skip
    if any(facts.rows):
        lines.append(say("card.data", lang, training=training, validation=validation, test=test))
    lines += [say(f"export.readme.{name}", lang, **{name: told})
              for name, told in (("system", plan.system), ("instruction", plan.instruction)) if told]  # fmt: skip
    lines.append(say("export.readme.marks", lang))
    if facts.evaluation is not None:
        lines.append(say("card.verdict", lang, verdict=facts.evaluation.verdict.words(lang)))
    page = ["\n".join(f"- {line}" for line in lines)]
    if facts.evaluation is not None:
        page.append(_table(facts.evaluation, lang))
    return [*page, say(f"card.parity.{parity['outcome']}", lang)]


def _table(found: Evaluation, lang: str) -> str:
    rows = [f"| {say(f'metric.{name}', lang)} | {found.base[name]:.3f} | {found.tuned[name]:.3f} |"
            for name in found.base if name in found.tuned and knows(f"metric.{name}")]  # fmt: skip
    return "\n".join([f"| {say('card.metric', lang)} | {say('card.before', lang)} | {say('card.after', lang)} |",
                      "|---|---|---|", *rows])  # fmt: skip


def _load(adapter: Adapter, to: Target, reference: str, place: Place) -> str:
    auto = {"seq_cls": "AutoModelForSequenceClassification", "token_cls": "AutoModelForTokenClassification",
            "seq_2_seq_lm": "AutoModelForSeq2SeqLM"}.get(adapter.plan.task, "AutoModelForCausalLM")  # fmt: skip
    lines = [
        f"from transformers import {auto}, AutoTokenizer",
        f'tokenizer = AutoTokenizer.from_pretrained("{place.repo}")',
    ]
    if to == "peft":
        lines += ["from peft import PeftModel", f'base = {auto}.from_pretrained("{reference}")',
                  f'model = PeftModel.from_pretrained(base, "{place.repo}")']  # fmt: skip
    else:
        lines.append(f'model = {auto}.from_pretrained("{place.repo}")')
    return "```python\n" + "\n".join(lines) + "\n```"
