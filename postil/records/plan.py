"""The plan of a training run, the reasons for it, and what it will need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from postil.locales import say

Kind = Literal["copywriting", "service_qa", "consulting", "extraction", "chat"]
Task = Literal["causal_lm", "seq_cls", "token_cls", "seq_2_seq_lm", "pretraining", "dpo"]
Method = Literal[
    "lora",
    "rslora",
    "dora",
    "lora_plus",
    "pissa",
    "olora",
    "eva",
    "qlora",
    "full",
    "partial",
    "bottleneck",
    "ia3",
    "prefix",
    "prompt",
    "p_tuning",
]
Metric = Literal["exact_match", "field_match", "char_f1", "rouge_l", "bleu", "loss", "entity_f1", "preferred"]


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
    kl_weight: float = Field(0.0, ge=0, le=100)  # of the divergence from the base on texts of its own; 0: not looked at
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
    minutes: float = Field(0.0, ge=0, le=100_000)  # for the whole job; 0: as long as it takes

    # the proof
    metric: Metric = "char_f1"
    max_new_tokens: int = Field(256, ge=1, le=32_768)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)

    # the machine
    device: str = "cpu"  # cpu | cuda | mps
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int = Field(1, ge=1, le=1024)
    torch_compile: bool = False


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
        return {
            "value": self.value,
            "reason": self.why(),
            "source": self.source,
            "code": self.reason,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will need. `seconds` is a range, and so is `proof_seconds`, the part of it for the answers of base and
    tuned model; cost is in `currency`. `memory_bytes`: where it computes; `host_bytes`: of the machine's own memory,
    which is less when it computes on a card that has its own; `update_seconds`: of one update, the middle of the range.
    """

    seconds: tuple[float, float]
    memory_bytes: int
    disk_bytes: int
    cost: tuple[float, float]
    currency: str = "CNY"
    updates: int = 0
    tokens: int = 0
    trained_parameters: int = 0
    proof_seconds: tuple[float, float] = (0.0, 0.0)
    host_bytes: int = 0
    update_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Proposal:
    """A plan, with the reason for each of its values and what it will need."""

    plan: Plan
    reasons: Mapping[str, Choice]
    estimate: Estimate

    def as_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.model_dump(),
            "reasons": {k: c.as_json() for k, c in self.reasons.items()},
            "kind": self.plan.kind,
            "estimate": self.estimate.as_json(),
        }
