"""Every number of a plan, decided, each with its reason. The rules are a start; what was measured stands beside them.

A wish (`--set`) comes before a given plan (`--plan`), that before a preset, a preset before a rule; what follows from a
value follows from the one taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from postil.errors import PlanError
from postil.plan import sizes
from postil.plan.fit import PARTS, Changes
from postil.plan.kinds import kind_of
from postil.plan.methods import WAYS, check_method
from postil.plan.presets import Preset, preset
from postil.plan.schema import check_settings
from postil.plan.tasks import check_task, task_of, terms_of
from postil.records import Base, Choice, Counts, Example, Machine, Plan, Probe, Shape

LORA_WITHOUT_REGRET = "Thinking Machines, LoRA Without Regret (2025)"
OPENAI_NOTEBOOK = "OpenAI, fine-tuning data preparation notebook"
ARTICLES = "the two LoRA articles"

# parameters up to -> rate at 128 rows an update; the first line is measured here, see `_learning_rate`
LEARNING_RATES = ((0.3e9, 4e-3), (4.5e9, 2e-3), (15e9, 1e-3), (math.inf, 6e-4))
KL_WEIGHT = 1.0  # as heavy as the rows, per token
PATIENCE_EPOCHS = 1.5  # of validations that fall behind the best, before the run ends; sooner is noise on few rows
BATCHES = ((2_000, 8), (8_000, 16), (math.inf, 32))  # examples below -> rows an update
FEWEST_UPDATES_PER_EPOCH = 20
SMALLEST_RANK, LARGEST_RANK = 8, 256
PASSES = {"copywriting": 1.0, "consulting": 4 / 3, "chat": 4 / 3, "extraction": 5 / 3, "service_qa": 2.0}
METRICS = {
    "extraction": "exact_match",
    "service_qa": "char_f1",
    "consulting": "char_f1",
    "chat": "char_f1",
    "copywriting": "loss",
}
# Where the form of the answers says more than their kind: the reason of the kind -> metric
FORM_METRICS = {"kind_structured": "field_match", "kind_rewritten": "char_f1"}
MEMORY_SHARE = 0.7  # of what is free; the rest belongs to whatever else runs
WORTH_COMPILING = 600  # seconds of training on a GPU
WIDE = 2048  # of hidden states; a card waits for the processor below, compiled or not (`benchmarks/RESULTS.md`, gpu)
GPU_SHARE = 0.5  # of the matmul rate, that a training step reaches there
LARGEST_MICRO_BATCH = {"cpu": 2048, "mps": 4096, "cuda": 16384}
THINKING = "<think>"


def choose(
    examples: Sequence[Example],
    counts: Counts,
    base: Base,
    machine: Machine,
    probe: Probe | None = None,
    preset_name: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    changes: Changes | None = None,
) -> tuple[Plan, dict[str, Choice]]:
    """A plan for the training examples, and for each of its fields the reason.

    overrides: wishes by field name, as texts or values; given: values of an earlier plan; changes: what `fit` made of
    values that are no wishes. Raises PlanError: unknown_field, setting_*, unknown_preset, method_*.
    """
    draft = _Draft(preset(preset_name), check_settings(overrides or {}), check_settings(given or {}), changes or {})
    _about_data(draft, examples, counts, base)
    _about_machine(draft, machine, probe)
    _about_adapter(draft, counts, base.shape, machine)
    _about_memory(draft, counts, base.shape, machine)
    _about_training(draft, counts, base.shape)
    _about_stopping(draft, counts)
    _about_proof(draft, counts, base.shape)
    _about_compiling(draft, counts, base.shape, probe)
    check_method(draft.plan())
    return draft.plan(), draft.choices()


class _Draft:
    """Values as they are decided, one field after the other."""

    def __init__(
        self, chosen: Preset | None, wishes: Mapping[str, Any], given: Mapping[str, Any], changes: Changes
    ) -> None:
        self._preset, self._wishes, self._given, self._changes = chosen, wishes, given, changes
        self._taken: dict[str, Choice] = {}

    def take(self, name: str, value: Any, reason: str, source: str = "rule", **values: Any) -> Any:
        """Decide `name`: the user's wish, else the given plan's or the preset's value, else `value`. Returns it."""
        if name in self._wishes:
            reason = "user_text" if value is None else "user"
            choice = Choice(self._wishes[name], reason, "user", {"rule": _shown(value)})
        elif name in self._given:
            choice = Choice(self._given[name], "given", "plan", {"rule": _shown(value)})
        elif name in self._changes:
            choice = self._changed(name, value)
        elif self._preset and name in self._preset.plan:
            taken = self._preset.plan[name]
            code = f"preset_{self._preset.name}_{name}"
            choice = Choice(taken, code, f"preset:{self._preset.name}", {"value": _shown(taken), "rule": _shown(value)})
        else:
            choice = Choice(value, reason, source, {"value": _shown(value), **values})
        self._taken[name] = choice
        return choice.value

    def _changed(self, name: str, value: Any) -> Choice:
        """Parts of the split are as large as they have become; the others as `fit` has made them."""
        change = self._changes[name]
        chosen = value if name in PARTS else change.after
        return Choice(chosen, f"fit_{name}", "measured", {"value": chosen, "rule": change.before})

    def __getitem__(self, name: str) -> Any:
        return self._taken[name].value

    def reason(self, name: str) -> str:
        """The code of the reason why `name` was decided so."""
        return self._taken[name].reason

    def wished(self, name: str) -> bool:
        return name in self._wishes or name in self._given

    def asked(self, name: str, otherwise: Any) -> Any:
        """What the user or the preset wants of `name`, before it is decided."""
        return {**(self._preset.plan if self._preset else {}), **self._given, **self._wishes}.get(name, otherwise)

    def plan(self) -> Plan:
        try:
            return Plan(**{name: choice.value for name, choice in self._taken.items()})
        except ValidationError as refused:
            first = refused.errors()[0]
            raise PlanError("plan_invalid", name=str(first["loc"][0]), detail=first["msg"]) from refused

    def choices(self) -> dict[str, Choice]:
        """In the order of the plan's fields."""
        return {name: self._taken[name] for name in Plan.model_fields}


# ── what the data says ────────────────────────────────────────────────────────────────────────────


def _about_data(draft: _Draft, examples: Sequence[Example], counts: Counts, base: Base) -> None:
    task, reason, values = task_of(examples, base)
    task = draft.take("task", task, reason, "data", **values)
    check_task(task, examples, base)
    kind, reason, values = kind_of(examples)
    if terms_of(task).labels:
        kind, reason = "extraction", "kind_of_task"
    draft.take("kind", kind, reason, "data", **values)
    system = _common_system(examples)
    draft.take("system", system, "system_in_data" if system else "system_none", "data" if system else "rule")
    draft.take("instruction", None, "instruction_none")
    thinks = sum(THINKING in example.answer for example in examples) * 2 > len(examples)
    draft.take("thinking", thinks, "thinking_in_data" if thinks else "thinking_off", "data")
    wanted = max(64, 64 * math.ceil(counts.longest / 64))
    length = min(wanted, base.shape.context)
    reason = "max_length_fits" if length >= counts.longest else "max_length_context"
    draft.take("max_length", length, reason, "data", longest=counts.longest, context=base.shape.context)
    draft.take("prompt_loss_weight", 0.0, "prompt_loss_weight_zero", "arXiv 2401.13586")


def _common_system(examples: Sequence[Example]) -> str | None:
    """The system prompt that every example begins with: a bare question must be asked under it too."""
    prompts = {first.content if (first := example.messages[0]).role == "system" else None for example in examples}
    return prompts.pop() if len(prompts) == 1 else None


# ── what the machine says ─────────────────────────────────────────────────────────────────────────


def _about_machine(draft: _Draft, machine: Machine, probe: Probe | None) -> None:
    if probe is None:
        draft.take("device", "cpu", "device_unmeasured")
        draft.take("dtype", "float32", "dtype_unmeasured")
        draft.take("threads", machine.cores, "threads_unmeasured", cores=machine.cores)
        return
    rates = {name: f"{probe.reason[name]:.0f}" for name in ("float32", "bfloat16") if name in probe.reason}
    measured = {"float32": "?", "bfloat16": "?", **rates}
    draft.take("device", probe.device, "device_measured", "measured")
    draft.take("dtype", probe.dtype, "dtype_measured", "measured", **measured)
    draft.take(
        "threads",
        probe.threads,
        "threads_measured",
        "measured",
        cores=machine.cores,
        tried=str(probe.reason.get("tried", "?")),
    )


def _about_memory(draft: _Draft, counts: Counts, shape: Shape, machine: Machine) -> None:
    """Micro-batches as large as memory allows; if not even one row fits, activations are computed twice."""
    place, free = _place(draft, machine)
    largest = LARGEST_MICRO_BATCH[place]
    if place == "cuda" and not free:  # not known: the loop halves the micro-batch when memory runs out
        draft.take("gradient_checkpointing", False, "checkpointing_off")
        draft.take("micro_batch_tokens", max(largest, draft["max_length"]), "micro_batch_gpu")
        return
    room = MEMORY_SHARE * free - _fixed_bytes(shape, draft.plan())
    checkpointing = draft.asked("gradient_checkpointing", False)
    tokens = _tokens_in(room, draft, counts, shape, checkpointing=checkpointing)
    needed = max(64, draft["max_length"])
    tight = tokens < needed and "gradient_checkpointing" not in WAYS[draft["method"]].without
    draft.take(
        "gradient_checkpointing", tight, "checkpointing_tight" if tight else "checkpointing_off", free=_gigabytes(free)
    )
    if draft["gradient_checkpointing"] and not checkpointing:
        tokens = _tokens_in(room, draft, counts, shape, checkpointing=True)
    fitting = min(largest, 1 << max(6, int(math.log2(max(64, tokens)))))
    draft.take(
        "micro_batch_tokens",
        max(fitting, needed),
        "micro_batch_memory",
        free=_gigabytes(free),
        longest=draft["max_length"],
    )


def _about_compiling(draft: _Draft, counts: Counts, shape: Shape, probe: Probe | None) -> None:
    """On a GPU, where the card is what takes the time, and takes enough of it to win back what compiling takes."""
    seconds = 0.0
    if probe and probe.device == "cuda":
        work = sizes.training_flops(draft.plan(), counts, shape) * draft["n_epochs"]
        seconds = work / (GPU_SHARE * probe.gemm_flops)
    pays = seconds >= WORTH_COMPILING and shape.hidden >= WIDE and not draft["gradient_checkpointing"]
    draft.take("torch_compile", pays, "compile_long" if pays else "compile_off")


def _place(draft: _Draft, machine: Machine) -> tuple[str, int]:
    """The kind of device, and the memory that is free on it [bytes; 0: not known]."""
    place = draft["device"].partition(":")[0]
    return place, machine.gpu_memory_bytes if place == "cuda" else machine.free_bytes


def _is_tight(draft: _Draft, counts: Counts, shape: Shape, machine: Machine) -> bool:
    """Whether not even the longest row fits beside the smallest adapter on all layers."""
    _, free = _place(draft, machine)
    smallest = draft.plan().model_copy(update={"r": SMALLEST_RANK, "target_modules": "all-linear"})
    room = MEMORY_SHARE * free - _fixed_bytes(shape, smallest)
    return bool(free) and _tokens_in(room, draft, counts, shape, checkpointing=False) < draft["max_length"]


def _fixed_bytes(shape: Shape, plan: Plan) -> float:
    weights = sizes.weights_bytes(shape, plan.dtype, four_bits=plan.method == "qlora")
    return weights + sizes.state_bytes(shape, plan) + sizes.FRAMEWORK_BYTES


def _tokens_in(room: float, draft: _Draft, counts: Counts, shape: Shape, *, checkpointing: bool) -> float:
    """Tokens of a micro-batch that fit into `room` bytes."""
    learned = counts.loss_tokens / max(1, counts.tokens)
    each = sizes.token_bytes(
        shape, draft["dtype"], counts.mean_length, checkpointing=checkpointing, gpu=draft["device"].startswith("cuda")
    )
    return room / (each + sizes.logit_bytes(shape, learned))


# ── the adapter ───────────────────────────────────────────────────────────────────────────────────


def _about_adapter(draft: _Draft, counts: Counts, shape: Shape, machine: Machine) -> None:
    method = draft.take("method", "lora", "method_lora", LORA_WITHOUT_REGRET)
    tight = _is_tight(draft, counts, shape, machine)
    wanted, reason = ("mlp-only", "target_mlp_tight") if tight else ("all-linear", "target_all_linear")
    free = _gigabytes(_place(draft, machine)[1])
    modules = draft.take("target_modules", wanted, reason, LORA_WITHOUT_REGRET, free=free)
    each = sizes.adapter_parameters(shape, 1, modules)
    enough = _power_of_two(math.ceil(counts.loss_tokens / each))
    rank = min(max(enough, SMALLEST_RANK), LARGEST_RANK)
    reason = {SMALLEST_RANK: "rank_smallest", LARGEST_RANK: "rank_largest"}.get(rank, "rank_by_tokens")
    rank = draft.take("r", rank, reason, LORA_WITHOUT_REGRET, tokens=counts.loss_tokens, parameters=each * rank)
    alpha, reason = (2 * SMALLEST_RANK, "alpha_rslora") if method == "rslora" else (2 * rank, "alpha_twice_rank")
    draft.take("lora_alpha", float(alpha), reason, ARTICLES, r=rank)
    draft.take("lora_dropout", 0.0, "dropout_zero")
    draft.take("bias", "none", "bias_none", ARTICLES)
    draft.take("lora_plus_ratio", 16.0, "lora_plus_ratio", "arXiv 2402.12354")
    draft.take("trained_modules", "last-2", "trained_modules")
    draft.take("bottleneck", 64, "bottleneck", "arXiv 1902.00751")
    draft.take("num_virtual_tokens", 20, "num_virtual_tokens", "arXiv 2104.08691")


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below `number`."""
    return 1 << max(0, (max(1, number) - 1).bit_length())


# ── the training ──────────────────────────────────────────────────────────────────────────────────


def _about_training(draft: _Draft, counts: Counts, shape: Shape) -> None:
    limit = draft.take("training_rows", 0, "training_rows_all", n=counts.n)
    n = min(counts.n, limit) if limit else counts.n
    batch, reason = _batch(n)
    batch = draft.take("batch_size", batch, reason, LORA_WITHOUT_REGRET, n=n, updates=math.ceil(n / batch))
    epochs, reason = _epochs(n, draft["kind"])
    epochs = draft.take("n_epochs", epochs, reason, OPENAI_NOTEBOOK, n=n)
    planned = math.ceil(n / batch) * epochs
    tried = draft["task"] != "causal_lm" and planned >= FEWEST_UPDATES_PER_EPOCH and counts.validation > 0
    draft.take(
        "learning_rate_probe", tried and not draft.wished("learning_rate"), "probe_task" if tried else "probe_off"
    )
    way, of_task = WAYS[draft["method"]], terms_of(draft["task"]).rate
    usual = _learning_rate(shape.parameters, batch)
    rate = float(f"{way.rate * of_task * usual:.2g}")
    draft.take(
        "learning_rate",
        rate,
        "learning_rate_fixed" if way.rate == 1 else "learning_rate_method",
        way.source or LORA_WITHOUT_REGRET,
        size=_billions(shape.parameters),
        batch=batch,
        updates=planned,
        method=draft["method"],
        times=_shown(way.rate),
    )
    draft.take("lr_scheduler", "linear", "scheduler_linear", ARTICLES)
    draft.take("warmup_ratio", 0.05, "warmup_short")
    draft.take("weight_decay", 0.0, "weight_decay_zero", LORA_WITHOUT_REGRET)
    draft.take("dpo_beta", 0.1, "dpo_beta", "arXiv 2305.18290")
    near = draft["task"] == "causal_lm"
    draft.take("kl_weight", KL_WEIGHT if near else 0.0, "kl_near" if near else "kl_off")
    draft.take("max_grad_norm", 1.0, "grad_norm_one")
    draft.take("seed", 42, "seed_fixed", ARTICLES)


def _batch(n: int) -> tuple[int, str]:
    usual = next(rows for below, rows in BATCHES if n < below)
    most = max(1, n // FEWEST_UPDATES_PER_EPOCH)
    if most >= usual:
        return usual, "batch_usual"
    return 1 << (most.bit_length() - 1), "batch_small_data"


def _epochs(n: int, kind: str) -> tuple[int, str]:
    """At most twice what OpenAI's notebook would take; early stopping ends it sooner."""
    if 3 * n < 100:
        usual, reason = min(25, 100 // max(1, n)), "epochs_few_rows"
    elif 3 * n > 25_000:
        usual, reason = max(1, 25_000 // n), "epochs_many_rows"
    else:
        usual, reason = 3, f"epochs_{kind}"
    return max(1, round(usual * PASSES[kind])), reason


def _learning_rate(parameters: int, batch: int) -> float:
    """By the size of the base and the rows of an update.

    1e-3 is what served three tasks of `benchmarks/tuning` on the 135M model at 8 rows an update; larger bases have the
    ratios that LoRA Without Regret gives. A probe of a few updates is no help: it takes the largest of its rates,
    whatever becomes of it in the end.
    """
    most = next(rate for size, rate in LEARNING_RATES if parameters <= size)
    return float(f"{most * math.sqrt(batch / 128):.2g}")


def _about_stopping(draft: _Draft, counts: Counts) -> None:
    n = min(counts.n, draft["training_rows"]) or counts.n
    planned = math.ceil(n / draft["batch_size"]) * draft["n_epochs"]
    draft.take("validation_rows", counts.validation, "validation_split", "data", n=counts.validation)
    enough = counts.test >= 20
    draft.take("test_rows", counts.test, "test_split" if enough else "test_too_few", "data", n=counts.test)
    each = draft.take("evaluations_per_epoch", 3, "evaluate_thrice")
    draft.take("patience", math.ceil(PATIENCE_EPOCHS * each), "patience_epochs", epochs=PATIENCE_EPOCHS)
    draft.take("logging_steps", 1 if planned <= 500 else 10, "logging", updates=planned)
    draft.take("save_steps", min(max(planned // 10, 20), 100), "saving", updates=planned)
    draft.take("save_total_limit", 3, "keep_three", ARTICLES)
    draft.take("minutes", 0.0, "minutes_none")


# ── the proof ─────────────────────────────────────────────────────────────────────────────────────


def _about_proof(draft: _Draft, counts: Counts, shape: Shape) -> None:
    kind, terms = draft["kind"], terms_of(draft["task"])
    form = draft.reason("kind")
    if terms.metric:
        draft.take("metric", terms.metric, f"metric_{draft['task']}")
    elif form in FORM_METRICS:
        draft.take("metric", FORM_METRICS[form], f"metric_of_{form}")
    else:
        draft.take("metric", METRICS[kind], f"metric_{kind}")
    if terms.labels:
        draft.take("max_new_tokens", 1, "new_tokens_none")
        draft.take("temperature", 0.0, "temperature_none")
        draft.take("top_p", 1.0, "temperature_none")
        return
    room = max(16, shape.context - (counts.longest - counts.longest_answer))
    wanted = terms.new_tokens or 16 * math.ceil((1.5 * counts.longest_answer + 8) / 16)
    draft.take("max_new_tokens", min(max(wanted, 32), 2048, room), "new_tokens", "data", longest=counts.longest_answer)
    varied = kind == "copywriting"
    draft.take("temperature", 0.7 if varied else 0.0, "temperature_varied" if varied else "temperature_greedy")
    draft.take("top_p", 0.9 if varied else 1.0, "top_p_varied" if varied else "top_p_all")


def _shown(value: Any) -> str:
    """A value as a person reads it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"


def _billions(count: int) -> str:
    return f"{count / 1e9:.2g}"
