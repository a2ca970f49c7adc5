"""One adapter that learns: an update, a validation, and the state that both depend on."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._dynamo.exc import TorchDynamoException

from postil.errors import TrainError
from postil.model.adapt import METHODS, put_weights, weights_of
from postil.model.attention import Unpackable
from postil.model.layers import compile_blocks, uncompile_blocks
from postil.model.memory import lacks_memory
from postil.records import Plan
from postil.settings import Ranks
from postil.train.anchor import Anchor
from postil.train.grade import Grade
from postil.train.objectives import Objective

SMALLEST_MICRO_BATCH = 64  # tokens; below this, halving frees no memory worth having
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # AdamW's own names
Tensors = dict[str, torch.Tensor]
Result = TypeVar("Result")
Rows = Sequence[Sequence[Any]]  # for each example, its sequences


def dropout_seed(seed: int, step: int, micro: int, rank: int) -> int:
    """The same on every machine and in every Python, which `hash` does not promise."""
    return zlib.crc32(f"{seed}:{step}:{micro}:{rank}".encode("ascii"))


class Learner:
    """An adapter on its base with AdamW. Rows are examples; an example may have several sequences."""

    def __init__(self, objective: Objective, plan: Plan, ranks: Ranks, anchor: Anchor | None = None) -> None:
        self.objective, self._anchor = objective, anchor
        self.model = model = objective.model
        self.plan = plan
        self.ranks = ranks
        self.micro_batch_tokens = plan.micro_batch_tokens
        self._names = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._groups(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        self._training = plan.lora_dropout > 0 or plan.gradient_checkpointing
        self.packs: bool | None = None  # whether rows are packed; None: not found out yet
        self.lacks: dict[str, str] = {}  # what makes it slower here, and why: not_packed, not_compiled
        self._compiles = plan.torch_compile
        if plan.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.enable_input_require_grads()

    def _groups(self) -> list[dict[str, Any]]:
        """The parameters by how many times the learning rate they learn at."""
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self._names:
            groups.setdefault(METHODS[self.plan.method].rate(name, self.plan), []).append(parameter)
        return [{"params": parameters, "times": times} for times, parameters in groups.items()]

    def update(self, step: int, rows: Rows, learning_rate: float) -> float:
        """Learn from `rows` once. Returns their mean loss in nats per token that counts.

        Halves the micro-batch and tries again when memory runs out. Raises TrainError when the loss is not finite, or
        when a single row does not fit.
        """
        self.model.train(self._training)
        loss = self._fitting(lambda: self._gradients(step, rows))
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in self._names], self.plan.max_grad_norm)
        if not isfinite(loss) or not isfinite(float(norm)):
            raise TrainError("diverged", step=step + 1, learning_rate=learning_rate)
        for group in self._optimizer.param_groups:
            group["lr"] = group["times"] * learning_rate
        self._optimizer.step()
        return loss

    def _gradients(self, step: int, rows: Rows) -> float:
        self._optimizer.zero_grad(set_to_none=True)  # also what an attempt that failed has left
        total = self.objective.weight([s for row in rows for s in row])
        mine = [s for row in rows[self.ranks.rank :: self.ranks.world] for s in row]
        loss = torch.zeros((), dtype=torch.float64, device=self.plan.device)  # read at the end: a GPU need not wait
        self._find_out(mine)
        if self._compiles:
            compile_blocks(self.model)
            self._compiles = False
        for micro, batch in enumerate(self._batches(mine, learning=True)):
            torch.manual_seed(dropout_seed(self.plan.seed, step, micro, self.ranks.rank))
            part = self.objective.sum(batch)[0] / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        self._pull_back(step)
        if self.ranks.world > 1:
            self._sum_over_ranks(loss)
        return float(loss)

    def _pull_back(self, step: int) -> None:
        """Add to the gradients what keeps the model near its base; the loss that is told is that of the rows alone."""
        pull = self._anchor.pull(step, self.ranks) if self._anchor else None
        if pull is not None:
            torch.manual_seed(dropout_seed(self.plan.seed, step, -1, self.ranks.rank))
            (self.plan.kl_weight * pull).backward()  # type: ignore[no-untyped-call]

    def _batches(self, sequences: Sequence[Any], *, learning: bool) -> Iterator[Any]:
        """`sequences` in as few passes as memory allows."""
        packed = self.packs is not False
        return self.objective.batches(sequences, self.micro_batch_tokens, packed=packed, learning=learning)

    def _find_out(self, sequences: Sequence[Any]) -> None:
        """At the first update: where this model cannot take packs, rows are padded."""
        if self.packs is None and sequences:
            why = self.objective.why_not_packed(sequences, self.micro_batch_tokens)
            self.packs = why is None
            if why is not None:
                self.lacks["not_packed"] = why

    def _sum_over_ranks(self, loss: torch.Tensor) -> None:
        """Add up the gradients of all processes; each already divided by the weight of the whole update."""
        for _, parameter in self._names:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.flatten() for _, p in self._names if p.grad is not None])
        dist.all_reduce(flat)
        dist.all_reduce(loss)
        start = 0
        for _, parameter in self._names:
            assert parameter.grad is not None
            parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()

    def _fitting(self, work: Callable[[], Result]) -> Result:
        """`work`, without packs where a row does not allow them, and with ever smaller micro-batches until it fits."""
        while True:
            try:
                return work()
            except Unpackable as error:  # a row longer than any of those at which `_find_out` looked
                self.packs, self.lacks["not_packed"] = False, str(error)
            except TorchDynamoException as error:  # no compiler on this machine, or one that does not know the model
                if not self.plan.torch_compile or "not_compiled" in self.lacks:  # it is not the blocks that fail
                    raise
                self.lacks["not_compiled"] = str(error).strip().splitlines()[0]
                uncompile_blocks(self.model)
            except (RuntimeError, MemoryError) as error:
                self._retreat(error)

    def _retreat(self, error: RuntimeError | MemoryError) -> None:
        if not lacks_memory(error):
            raise error
        if self.micro_batch_tokens <= SMALLEST_MICRO_BATCH or self.ranks.world > 1:  # the others would not go back too
            raise TrainError("out_of_memory", batch_size=self.plan.batch_size) from error
        self.micro_batch_tokens //= 2
        self._optimizer.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def validation(self, rows: Rows, *, tuned: bool = True) -> Grade:
        """How the answers of `rows` are known, loss in nats per token; to the untouched base where not `tuned`."""
        self.model.eval()
        sequences = [s for row in rows[self.ranks.rank :: self.ranks.world] for s in row]
        self._find_out(sequences)
        with nullcontext() if tuned else self.model.disable_adapter():
            sums = self._fitting(lambda: self._sums(sequences))
        if self.ranks.world > 1:
            dist.all_reduce(sums)
        loss, weight, right, counted = sums.tolist()
        return Grade(loss / weight, right / counted, round(counted)) if counted else Grade(loss / weight)

    def _sums(self, sequences: Sequence[Any]) -> torch.Tensor:
        """What `graded` says of all `sequences`."""
        sums = torch.zeros(4, dtype=torch.float64)
        with torch.inference_mode():
            for batch in self._batches(sequences, learning=False):
                sums += self.objective.graded(batch).double().cpu()
        return sums

    def state(self, *, copy: bool = True) -> tuple[Tensors, Tensors]:
        """The adapter's tensors and AdamW's moments, by name. Without `copy` they may be those that go on changing."""
        moments: Tensors = {}
        for name, parameter in self._names:
            for key, value in self._optimizer.state.get(parameter, {}).items():
                moments[f"{name}|{key}"] = value.detach().to("cpu", copy=copy).contiguous()
        return weights_of(self.model, copy=copy), moments

    def restore(self, weights: Tensors, moments: Tensors) -> None:
        """Go back to a `state`."""
        put_weights(self.model, weights)
        self._optimizer.state.clear()
        for name, parameter in self._names:
            own = {key: moments[f"{name}|{key}"] for key in MOMENTS if f"{name}|{key}" in moments}
            if own:  # AdamW, fused, keeps its count of steps beside the parameter
                self._optimizer.state[parameter] = {
                    key: value.to(parameter.device, copy=True) for key, value in own.items()
                }
