"""The script run to its end, with its loss on held-out titles, and how much sooner Postil gets there."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import results, script
from benchmarks.bases import RATE, opened
from benchmarks.ours import learner_of
from benchmarks.shapes import SEED, sample_titles, split_of_titles
from benchmarks.side import Child
from postil import flow
from postil.model.labels import proven
from postil.model.template import Tokens
from postil.records import Example, Plan
from postil.train.batches import Schedule

RECORD = Path(__file__).with_name("script_run.json")
VALIDATE_EVERY = 3  # updates of Postil
CUTS = ("<s>", "</s>", "###")  # where the script cuts a reply; what comes behind need not be written
QUICK_LOSS = 3.0  # a quick look only goes to here, which is soon
SCRIPT_EVERY = 6  # updates of Postil between two of the script


# ── the script to its end ──


def script_loss(run: script.Script, tokenizer: Any, examples: tuple[Example, ...]) -> float:
    """Nats for each token of the answers, without the texts around them."""
    run.model.eval()
    total, count = 0.0, 0
    for example in examples:
        asked, answer = (tokenizer.encode(text, add_special_tokens=False) for text in _parts(example))
        with torch.inference_mode():
            logits = run.model(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum"))
        count += len(answer)
    run.model.train()
    return total / count


def script_answers(run: script.Script, tokenizer: Any, examples: Sequence[Example]) -> list[str]:
    """Greedy answers, cut as the script cuts them."""
    run.model.eval()
    said = []
    for example in examples:
        ids = torch.tensor([tokenizer.encode(_parts(example)[0], add_special_tokens=False)])
        with torch.inference_mode():
            out = run.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=200, do_sample=False, pad_token_id=0,
                stop_strings=list(CUTS), tokenizer=tokenizer,
            )  # fmt: skip
        reply = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=False)
        for mark in CUTS:
            reply = reply.split(mark)[0]
        said.append(reply.strip())
    return said


def _parts(example: Example) -> tuple[str, str]:
    asked, answer = script.samples_of(example)[0]
    return script.prompt_of(asked), answer


def run_script(quick: bool) -> dict[str, Any]:
    """Train as the script says: two rows an update, 8 epochs. Returns the record of RECORD."""
    torch.set_num_threads(1)
    parts, loaded = split_of_titles(), opened("")
    n, epochs, held_out = (8, 2, 2) if quick else (len(parts.training), script.EPOCHS, len(parts.validation))
    rows = [script.ids_of(example, loaded.tokenizer)[0] for example in parts.training[:n]]
    run = script.Script(loaded.model, loaded.tokenizer.pad_token_id)
    before = script_loss(run, loaded.tokenizer, parts.validation[:held_out])
    record: list[dict[str, float]] = []
    order, done, wall, cpu = random.Random(SEED), 0, 0.0, 0.0
    for epoch in range(epochs):
        shuffled = order.sample(rows, len(rows))
        started = (time.monotonic(), time.process_time())
        for at in range(0, len(rows), script.ROWS_A_PASS):
            run.update(shuffled[at : at + script.ROWS_A_PASS], RATE * (1 - done / (epochs * len(rows))))
            done += script.ROWS_A_PASS
        wall, cpu = wall + time.monotonic() - started[0], cpu + time.process_time() - started[1]
        loss = script_loss(run, loaded.tokenizer, parts.validation[:held_out])
        record.append({"epoch": epoch + 1, "cpu": round(cpu, 1), "wall": round(wall, 1), "loss": round(loss, 4)})
        print(record[-1], flush=True)
    asked = parts.test[:held_out]
    right = [
        answer == one.answer for answer, one in zip(script_answers(run, loaded.tokenizer, asked), asked, strict=True)
    ]
    exact = sum(right) / len(right)
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": len(rows), "before": round(before, 4), "exact": exact,
            "epochs": record}  # fmt: skip


def run_and_record(rounds: int, quick: bool, command: str) -> None:
    """More than an hour. Quick: a few rows, and nothing is kept."""
    record = run_script(quick)
    if not quick:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    rows = [[f"{line['epoch']}", f"{line['cpu']:.0f}", f"{line['loss']:.4f}"] for line in record["epochs"]]
    text = results.table(("epoch", "CPU s, 1 thread", "held-out loss, nats an answer token"), rows)
    results.write("script", command, (
        f"The script (b) to its end: {record['rows']} titles, 8 epochs, 2 rows an update. "
        f"Before: {record['before']:.4f}. Test titles answered exactly: {record['exact']:.0%}.\n\n{text}"
    ))  # fmt: skip


# ── Postil, until it is there ──


@dataclass(frozen=True)
class Arrival:
    """When Postil reached the loss: after so many updates, in so many CPU seconds of updates and of validation."""

    loss: float
    updates: int
    training: float
    validation: float
    script_epoch: float  # CPU seconds of the script's epoch, measured in between


def run(rounds: int, quick: bool, command: str) -> None:
    """Postil's own plan for the sheet, until its held-out loss is the best that the script ever had."""
    record = json.loads(RECORD.read_text("utf-8"))
    best = min(record["epochs"], key=lambda line: line["loss"])
    wanted = QUICK_LOSS if quick else best["loss"]
    arrivals = [arrive(wanted, seed) for seed in range(SEED, SEED + rounds)]
    header = ("seed", "updates", "held-out loss", "CPU s of updates", "of validations",
              "the script's CPU s to its best", "ratio", "with validations")  # fmt: skip
    rows = []
    for seed, there in enumerate(arrivals, SEED):
        theirs = best["epoch"] * there.script_epoch
        ratios = (theirs / there.training, theirs / (there.training + there.validation))
        told = [f"{ratio:.1f}" for ratio in ratios] if there.loss <= wanted else ["not reached", "not reached"]
        rows.append((f"{seed}", f"{there.updates}", f"{there.loss:.4f}", f"{there.training:.0f}",
                     f"{there.validation:.0f}", f"{theirs:.0f}", *told))  # fmt: skip
    results.write("sooner", command, (
        f"The script (b) had its best held-out loss, {best['loss']:.4f} nats an answer token, after epoch "
        f"{best['epoch']} of {len(record['epochs'])} (run of {record['date']}, {record['rows']} titles). "
        "Its seconds an epoch are measured in turn with Postil's updates here. Postil trains by its own plan, "
        f"quick_try, on the same rows until its loss is {wanted:.4f}, looking every {VALIDATE_EVERY} updates."
        f"\n\n{results.table(header, rows)}"
    ))  # fmt: skip


def own_plan(seed: int) -> Plan:
    """What `postil quickstart` plans for these titles, in float32 on one thread."""
    wishes = {"seed": str(seed), "dtype": "float32", "threads": "1", "minutes": "0"}
    prepared = flow.plan(sample_titles(), flow.fetched(flow.find_base(flow.EMBEDDED)), preset="quick_try",
                         settings=wishes, measure=False)  # fmt: skip
    return prepared.proposal.plan


def arrive(loss: float, seed: int) -> Arrival:
    """Train until the held-out loss is at most `loss`, or to the end of the plan."""
    torch.set_num_threads(1)
    plan, parts, loaded = own_plan(seed), split_of_titles(), opened("")
    rows, held_out = (proven(part, loaded.template, plan.max_length) for part in (parts.training, parts.validation))
    held_out = [[without_end(tokens) for tokens in row] for row in held_out]
    learner, schedule = learner_of(loaded.model, plan, shares=True), Schedule(len(rows), plan)
    peer, epochs = Child("script (b)", "titles"), []
    peer.ready()
    training = validation = 0.0
    for step in range(schedule.total):
        if step % SCRIPT_EVERY == 0:
            took = peer.update(step // SCRIPT_EVERY, 1)
            epochs += [took.cpu / took.share] * (step > 0)
        started = time.process_time()
        learner.update(step, [rows[i] for i in schedule.rows(step)], schedule.learning_rate(step, plan.learning_rate))
        training += time.process_time() - started
        if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == schedule.total:
            started = time.process_time()
            now = learner.validation(held_out).loss
            validation += time.process_time() - started
            print(f"update {step + 1}: {training:.0f} CPU s, {now:.4f} nats an answer token", flush=True)
            if now <= loss:
                break
    epochs = epochs or [took.cpu / took.share]
    peer.end()
    return Arrival(now, step + 1, training, validation, median(epochs))


def without_end(tokens: Tokens) -> Tokens:
    """The same without loss on the token that ends the answer, which the script never learns."""
    ends = {span.end - 1 for span in tokens.spans}
    weights = tuple(0.0 if i in ends else weight for i, weight in enumerate(tokens.weights))
    return Tokens(tokens.ids, weights, tokens.spans, tokens.rows)
