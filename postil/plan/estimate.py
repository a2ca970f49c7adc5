"""What will it take? Seconds, memory, disk and money of a plan, from a measured step or from the sizes alone."""

from __future__ import annotations

import math
from dataclasses import replace

from postil.plan import sizes
from postil.records import Base, Counts, Estimate, Issue, Machine, Plan, Probe
from postil.settings import Settings

FORWARD_SHARE = 1 / 3  # of a training step's time
EFFICIENCY = (0.3, 0.7)  # of the matmul peak that training reaches, worst and best
SPREAD = (0.85, 1.25)  # around a measured time
GUESSED_FLOPS_PER_CORE = 30e9
GUESSED_BANDWIDTH = {"cpu": 10e9, "mps": 100e9, "cuda": 1e12}  # bytes/s; each new token reads all weights once
LOADING = (4.0, 1.5)  # seconds, and seconds per gigabyte of weights
NEUTRAL_TOKENS = 4_000  # of the forgetting guard, read twice
GENERATED_TOGETHER = 8  # rows, as the probe measured
ANSWERED_TOGETHER = 2.0  # a batch goes on until its longest answer ends


def estimate(
    plan: Plan, counts: Counts, base: Base, machine: Machine, probe: Probe | None, settings: Settings
) -> Estimate:
    """What training and the before/after on the test part will need. `cost` is in the settings' currency."""
    n = min(counts.n, plan.training_rows) or counts.n
    rows = counts.mean_length * n * plan.n_epochs
    tokens = rows + sizes.anchor_tokens(plan) * sizes.updates(plan, n)
    low_rate, high_rate = _token_seconds(plan, counts, base, machine, probe)
    proof = _proof_tokens(plan, counts)
    work = tokens + _validation_tokens(plan, counts, n) + proof
    early = _earliest_end(plan)
    loading, (low, high) = _loading_seconds(plan, base), _answering_seconds(plan, counts, base, probe)
    seconds = (loading[0] + low + low_rate * (work - tokens * (1 - early)), loading[1] + high + high_rate * work)
    memory = memory_bytes(plan, counts, base)
    return Estimate(
        seconds=(round(seconds[0], 1), round(seconds[1], 1)),
        memory_bytes=memory,
        host_bytes=sizes.HOST_BYTES if plan.device.startswith("cuda") else memory,
        disk_bytes=disk_bytes(plan, base),
        cost=(cost(seconds[0], settings), cost(seconds[1], settings)),
        currency=settings.currency,
        updates=sizes.updates(plan, n),
        tokens=round(rows),
        trained_parameters=sizes.trained_parameters(base.shape, plan),
        proof_seconds=(round(low + low_rate * proof, 1), round(high + high_rate * proof, 1)),
        update_seconds=round(
            (low_rate + high_rate) / 2 * (counts.mean_length * min(plan.batch_size, n) + sizes.anchor_tokens(plan)), 3
        ),
    )


def bounded(estimated: Estimate, most: float, settings: Settings) -> Estimate:
    """The same for a job that ends within `most` seconds, whatever it has to leave out for that."""
    low, high = (min(seconds, most) for seconds in estimated.seconds)
    return replace(estimated, seconds=(low, high), cost=(cost(low, settings), cost(high, settings)))


def cost(seconds: float, settings: Settings) -> float:
    """Money for that long: rent if a rented machine's price is set, else electricity. Rounded to 1/10,000."""
    hours = seconds / 3600
    rate = settings.price_per_hour or settings.watts / 1000 * settings.price_per_kwh
    return round(hours * rate, 4)


def doubts(plan: Plan, counts: Counts, estimated: Estimate, machine: Machine) -> tuple[Issue, ...]:
    """What stands against starting this plan here, as issues: no memory, no disk, answers that would be cut."""
    found = []
    free = machine.gpu_memory_bytes if plan.device.startswith("cuda") else machine.free_bytes
    if free and estimated.memory_bytes > free:
        found.append(Issue("memory_short", "warning", values=_gigabytes(needed=estimated.memory_bytes, free=free)))
    if estimated.disk_bytes > machine.disk_free_bytes:
        values = _gigabytes(needed=estimated.disk_bytes, free=machine.disk_free_bytes)
        found.append(Issue("disk_short", "error", values=values))
    if plan.max_length < counts.longest:
        found.append(Issue("longer_than_plan", "error", values={"longest": counts.longest, "limit": plan.max_length}))
    return tuple(found)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────


def _token_seconds(
    plan: Plan, counts: Counts, base: Base, machine: Machine, probe: Probe | None
) -> tuple[float, float]:
    """Seconds for each trained token, best and worst."""
    if probe and probe.step_seconds and probe.step_tokens:
        each = probe.step_seconds / probe.step_tokens * sizes.work_share(plan, counts, base.shape)
        each *= 4 / 3 if plan.gradient_checkpointing else 1.0
        return each * SPREAD[0], each * SPREAD[1]
    peak = probe.gemm_flops if probe else machine.cores * GUESSED_FLOPS_PER_CORE
    flops = sizes.training_flops(plan, counts, base.shape) / max(1, counts.tokens)
    flops *= 4 / 3 if plan.gradient_checkpointing else 1.0
    return flops / (peak * EFFICIENCY[1]), flops / (peak * EFFICIENCY[0])


def _validation_tokens(plan: Plan, counts: Counts, n: int) -> float:
    """What is read besides the training while it goes, as if it were trained tokens."""
    validations = plan.evaluations_per_epoch * plan.n_epochs + 1
    probing = 0.0
    if plan.learning_rate_probe and plan.validation_rows:
        steps = max(5, round(0.06 * sizes.updates(plan, n)))
        if 3 * steps <= sizes.updates(plan, n):
            probing, validations = 3.0 * steps * plan.batch_size * counts.mean_length, validations + 3
    return probing + FORWARD_SHARE * validations * plan.validation_rows * counts.mean_length


def _proof_tokens(plan: Plan, counts: Counts) -> float:
    """What is read for the before and after: a loss of each model, the prompts of answers, and everyday text."""
    read = 3 * plan.test_rows * counts.mean_length + 2 * NEUTRAL_TOKENS
    return FORWARD_SHARE * read if plan.test_rows else 0.0


def _earliest_end(plan: Plan) -> float:
    """The share of the training after which it may stop by itself at the earliest, but not counted below a half."""
    if not plan.validation_rows:
        return 1.0
    return min(1.0, max(0.5, (plan.patience + 1) / (plan.evaluations_per_epoch * plan.n_epochs)))


def _loading_seconds(plan: Plan, base: Base) -> tuple[float, float]:
    """Best and worst."""
    loading = LOADING[0] + LOADING[1] * sizes.weights_bytes(base.shape, plan.dtype) / 1e9
    return loading * SPREAD[0], 1.5 * loading * SPREAD[1]


def _answering_seconds(plan: Plan, counts: Counts, base: Base, probe: Probe | None) -> tuple[float, float]:
    """The answers of base and tuned model on the test part: best and worst."""
    each = probe.generate_seconds if probe and probe.generate_seconds else None
    if each is None:
        each = sizes.weights_bytes(base.shape, plan.dtype) / GUESSED_BANDWIDTH[plan.device.partition(":")[0]]
    rounds = math.ceil(plan.test_rows / GENERATED_TOGETHER)
    short = min(plan.max_new_tokens, ANSWERED_TOGETHER * counts.mean_answer)
    low = each * rounds * 2 * short  # both models end by themselves
    high = each * rounds * (plan.max_new_tokens + 1.5 * short)  # the base goes on to the limit
    return low * SPREAD[0], high * SPREAD[1]


# ── memory and disk ───────────────────────────────────────────────────────────────────────────────


def memory_bytes(plan: Plan, counts: Counts, base: Base) -> int:
    """The peak of a training step: weights, adapter and its moments, activations and logits of a micro-batch."""
    shape = base.shape
    tokens = min(plan.micro_batch_tokens, sizes.update_tokens(plan, counts))
    tokens = max(tokens, min(counts.longest, plan.max_length))
    learned = counts.loss_tokens / max(1, counts.n)
    each = sizes.token_bytes(
        shape,
        plan.dtype,
        counts.mean_length,
        checkpointing=plan.gradient_checkpointing,
        gpu=plan.device.startswith("cuda"),
    )
    return int(
        sizes.FRAMEWORK_BYTES
        + sizes.weights_bytes(shape, plan.dtype, four_bits=plan.method == "qlora")
        + sizes.state_bytes(shape, plan)
        + tokens * each * sizes.kept_share(shape, plan)
        + sizes.logit_bytes(shape, min(tokens, learned * plan.batch_size))
    )


def disk_bytes(plan: Plan, base: Base) -> int:
    """Checkpoints (adapter, the best one and two moments each; one more while it is written), adapter, tokenizer."""
    adapter = 4 * sizes.kept_parameters(base.shape, plan)
    return adapter * (4 * (plan.save_total_limit + 1) + 1) + 20_000_000


def _gigabytes(**counts: int) -> dict[str, str]:
    return {name: f"{count / 1e9:.1f}" for name, count in counts.items()}
