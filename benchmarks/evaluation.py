"""Greedy answers of base and tuned to held-out titles: Postil beside two `generate` loops of one row at a time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.bases import embedded
from benchmarks.results import spread
from benchmarks.shapes import ROWS, Shape, sample_titles
from benchmarks.side import Took, children

if TYPE_CHECKING:
    from benchmarks.side import Pace

ADAPTER = Path(__file__).parents[1] / "out" / "benchmarks" / "titles"
SIDES = ["generate loops", "Postil answers"]
TITLES_SEED = 7  # not the seed of the sample sheet: these titles are in no training row
QUICK = 6  # titles


def adapter() -> Path:
    """A run on 96 of the sample's titles, of one epoch: trained when it is not there."""
    from postil import flow, train

    if not (ADAPTER / "result.json").exists():
        base = flow.fetched(flow.find_base(flow.EMBEDDED))
        wishes = {"n_epochs": "1", "training_rows": "96", "dtype": "float32", "threads": "1", "minutes": "0"}
        made = flow.plan(sample_titles(), base, preset="quick_try", settings=wishes, measure=False)
        source = {"path": str(made.dataset.path), "sha256": made.dataset.sha256}
        train.prepare(ADAPTER, made.proposal, base, flow.fingerprint(base), made.split, source, force=True)
        train.run(ADAPTER, lambda event: None)
    return ADAPTER


def questions(count: int = ROWS) -> list[Any]:
    """Titles that the adapter has not seen, as the messages before the answer."""
    from examples.make_samples import titles
    from postil.dataset import ask
    from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM

    seen = {example.question[-1].content for example in sample_titles().examples}
    made = [ask(title, TITLES_SYSTEM, TITLES_INSTRUCTION) for title, _, _ in titles(random.Random(TITLES_SEED))]
    return [question for question in made if question[-1].content not in seen][:count]


def postil(shape: Shape, pace: Pace) -> None:
    """`Pair.answers`, base and tuned, as `postil evaluate` has them."""
    from postil import flow
    from postil.model.pair import open_pair

    asked, found = questions(), flow.open_adapter(adapter())
    pace.before_weights()
    pair = open_pair(found)

    def update(index: int) -> Mapping[str, Any]:
        some = asked[:index]
        said = [answer.text for tuned in (False, True) for answer in pair.answers(some, tuned=tuned)]
        return {"said": said}

    pace.go(pair._loaded.model, update)


def loops(shape: Shape, pace: Pace) -> None:
    """transformers' `generate`, one row at a time, once with the base and once with the adapter; as greedy as ours."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from postil import flow
    from postil.model.load import load_template

    path, template, asked = embedded(), load_template(embedded()), questions()
    new = flow.open_adapter(adapter()).plan.max_new_tokens
    pace.before_weights()
    base, tuned = (AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval() for _ in range(2))
    tuned = PeftModel.from_pretrained(tuned, str(adapter())).eval()

    def answer(model: Any, question: Any) -> str:
        ids = torch.tensor([template.prompt(question)])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
                eos_token_id=list(template.stop_ids), pad_token_id=template.stop_ids[0], repetition_penalty=1.0,
                temperature=None, top_p=None, top_k=None,
            )  # fmt: skip
        text = str(template.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
        return text.rstrip("\N{REPLACEMENT CHARACTER}").strip()  # half a character where the answer was cut

    def update(index: int) -> Mapping[str, Any]:
        return {"said": [answer(model, question) for model in (base, tuned) for question in asked[:index]]}

    pace.go(base, update)


def run(rounds: int, quick: bool, command: str) -> None:
    """All titles by each side in turn, CPU time on one thread and wall time on two."""
    count = QUICK if quick else len(questions())
    adapter()  # before the sides ask for it
    took: dict[tuple[str, int], list[Took]] = {}
    with children(SIDES, "titles") as found:
        for side in SIDES:
            found[side].update(2, 1)
        for _ in range(rounds):
            for threads in (1, 2):
                for side in SIDES:
                    took.setdefault((side, threads), []).append(found[side].update(count, threads))
    results.write("evaluate", command, _page(took, count))


def _page(took: Mapping[tuple[str, int], Sequence[Took]], count: int) -> str:
    cpu, wall = ([t.cpu for t in took[side, 1]] for side in SIDES), ([t.wall for t in took[side, 2]] for side in SIDES)
    rows, ratios = [], []
    for name, (theirs, own) in (("CPU s, 1 thread", cpu), ("wall s, 2 threads", wall)):
        ratios = [a / b for a, b in zip(theirs, own, strict=True)]
        rows.append((name, spread(theirs, 1), spread(own, 1), spread(ratios, 1)))
    said = [took[side, 1][0].said for side in SIDES]
    same = sum(a == b for a, b in zip(*said, strict=True)) / max(1, len(said[0]))
    return (
        f"Base and tuned answer {count} titles that neither has seen, greedily, at most "
        f"as many new tokens as the plan says. Answers that are the same on both sides: {same:.1%}.\n\n"
        + results.table(("", "two `generate` loops of batch 1", "Postil", "ratio"), rows)
    )
