"""How far an export's numbers lie from the trainer's, by target and number type: by it the certificate is set.

Each target is asked the same prompts as the trainer; two that are wrong on purpose (the adapter merged twice as
strong, and not at all) show how far apart right and wrong are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import evaluation, results

if TYPE_CHECKING:
    from postil.export.parity import Certificate, Question, Trainer
    from postil.records import Adapter

PLACE = Path(__file__).parents[1] / "out" / "benchmarks" / "parity"
TARGETS = [("merged", "float32"), ("merged", "float16"), ("merged", "bfloat16"), ("gguf", "f32"), ("gguf", "f16"),
           ("gguf", "bf16"), ("gguf", "q8_0"), ("gguf", "q5_0"), ("gguf", "q4_0"), ("gguf-lora", "f16")]  # fmt: skip
STRENGTHS = {"twice as strong": 2.0, "left out": 0.0}
NEW = 16  # tokens of an answer
QUICK = 4  # prompts


class Kept:
    """A trainer whose answers are found once for all targets."""

    def __init__(self, trainer: Trainer, questions: Sequence[Question]) -> None:
        self.name, self.dtype, self.start, self.end = trainer.name, trainer.dtype, trainer.start, trainer.end
        self.stops, self.templated, self.word = trainer.stops, trainer.templated, trainer.word
        self._prompts = trainer.prompts(questions)
        self._said = trainer.say([prompt.ids for prompt in self._prompts], NEW)

    def prompts(self, questions: Sequence[Question]) -> list[Any]:
        return self._prompts

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Any]:
        return self._said


def run(rounds: int, quick: bool, command: str) -> None:
    """The section `parity`. rounds: how many prompts there are."""
    from postil import export, flow
    from postil.export.doors import open_trainer

    adapter = flow.open_adapter(evaluation.adapter())
    questions = evaluation.questions(QUICK if quick else rounds)
    trainer = Kept(open_trainer(adapter), questions)
    shutil.rmtree(PLACE, ignore_errors=True)
    rows = []
    for to, kind in TARGETS[:4] if quick else TARGETS:
        output = PLACE / f"{to}-{kind}"
        export.export(adapter, export.Wanted(to, kind, "titles", check=False), output, lambda event: None)
        rows.append(_line(f"{to} {kind}", _held(trainer, questions, kind, _door(adapter, to, output))))
        shutil.rmtree(output)
    for words, strength in STRENGTHS.items():
        output = _wrong(adapter, strength)
        rows.append(
            _line(f"merged float32, {words}", _held(trainer, questions, "f32", _door(adapter, "merged", output)))
        )
    shutil.rmtree(PLACE)
    head = ("target", "largest difference, nats", "95 % of the answers below", "answers alike", "parted at a tie",
            "tokens compared")  # fmt: skip
    body = (f"{len(questions)} held-out titles, at most {NEW} new tokens each, SmolLM2-135M with an adapter trained in "
            "float32 on one thread. *difference*: of the log probabilities of all tokens that are likelier than 1 %; "
            f"the tolerances in `postil/export/parity.py` are set by it.\n\n{results.table(head, rows)}")  # fmt: skip
    results.write("parity", command, body)


def _held(trainer: Kept, questions: Sequence[Question], kind: str,
          door: Callable[[], AbstractContextManager[Any]]) -> Certificate:  # fmt: skip
    from postil.export.parity import certify
    from postil.export.run import DTYPE_OF

    with door() as opened:
        return certify(lambda: trainer, lambda: opened, questions, asked=DTYPE_OF.get(kind, kind),
                       rounded=lambda dtype: trainer, new=NEW)  # fmt: skip


def _door(adapter: Adapter, to: str, output: Path) -> Callable[[], AbstractContextManager[Any]]:
    from postil.export.doors import ByTransformers
    from postil.export.gguf import write_model
    from postil.export.llamacpp import open_llama
    from postil.export.merge import Updates, plan_merge
    from postil.model.load import load_template

    if to == "merged":
        return lambda: nullcontext(ByTransformers(output))
    if to == "gguf":
        return lambda: open_llama(output / "titles.gguf")
    base, template = output / "base.gguf", load_template(adapter.base_path)
    write_model(
        plan_merge(adapter.base_path, Updates({}, {}, ()), None), adapter.base_path, template, base, "f16", "base"
    )
    return lambda: open_llama(base, output / "adapter.gguf")


def _wrong(adapter: Adapter, strength: float) -> Path:
    """The model merged with the adapter at another strength than it was trained at."""
    from postil.export.merge import Updates, plan_merge, read_updates
    from postil.export.plain import write_whole
    from postil.model.load import load_template

    output = PLACE / "wrong"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    updates = read_updates(adapter.path)
    layers = {name: replace(one, scale=strength * one.scale) for name, one in updates.layers.items()}
    planned = plan_merge(adapter.base_path, Updates(layers, {}, updates.ranks), None)
    write_whole(planned, adapter.base_path, load_template(adapter.base_path), output, None)
    return output


def _line(name: str, found: Certificate) -> list[str]:
    differences = sorted(row.difference for row in found.rows)
    most = differences[int(0.95 * (len(differences) - 1))]
    alike = sum(row.parts_at is None for row in found.rows)
    ties, tokens = sum(row.tie for row in found.rows), sum(row.tokens for row in found.rows)
    print(name, f"{differences[-1]:.4f}", alike, flush=True)
    return [name, f"{differences[-1]:.4f}", f"{most:.4f}", f"{alike} of {len(found.rows)}", str(ties), str(tokens)]
