"""The loss of a batch, and only the work that it needs.

The output head of a small model costs as much as its body; prompts and padding need none of it. So the hidden states
of the places that count are taken out on their way into the head, and the head is applied to them a few at a time; as
it is frozen, its gradient is formed at once, and no logits are kept (one that is trained goes the usual way). An
architecture that does more after its head (soft caps, scales) is found out by its config and a look at one token, and
then goes through its own head, whole.

The last block needs nothing but its keys and values at places that do not count: nobody reads what it says there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from postil.model.attention import Unpackable, pack_arguments, takes_packs
from postil.model.layout import Batch, pack, pad
from postil.model.memory import lacks_memory
from postil.model.template import Tokens

FEW = 4  # sequences that tell whether a model can take packs
EXACT, NEAR = (1e-5, 1e-4), (3e-2, 1e-1)  # relative differences of loss and gradients, in float32 and in less
LOGITS_AT_ONCE = {"cpu": 2**24, "mps": 2**24, "cuda": 2**27}  # elements: 64 MB in float32; a GPU wants large products
POSITIONWISE = ("mlp", "self_attn.o_proj")  # of a block: modules whose output at a place depends on that place alone


class Loss:
    """The loss of batches on one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head = model.get_output_embeddings()
        self._head_is_all = _head_is_all(model, self._head)
        # whether `states` gives hidden states, of which many can be kept, and not logits
        self.states_are_small = self._head_is_all and not self._head.weight.requires_grad

    def each(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy in nats of each of the R predictions that count, in float32, not yet weighted: [R]."""
        hidden = self._hidden(batch)
        if hidden is None:
            return F.cross_entropy(self._logits(batch).float(), batch.targets, reduction="none")
        return self._through_head(hidden, batch)

    def _through_head(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of each of the hidden states [R, width] through the head, with a graph to its weights: [R]."""
        weight, bias = self._head.weight, self._head.bias
        parts = zip(_some(hidden, len(weight)), _some(batch.targets, len(weight)), strict=True)
        return torch.cat(
            [
                F.cross_entropy(F.linear(some, weight, bias).float(), targets, reduction="none")
                for some, targets in parts
            ]
        )

    def read(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Without a graph: the loss of each of the R predictions that count, and whether its target is the likeliest
        token, as greedy writing would take it: [R] in nats, [R] of booleans."""
        with torch.no_grad():
            hidden = self._hidden(batch)
            if hidden is None:
                return _read(self._logits(batch), batch.targets)
            weight, bias = self._head.weight, self._head.bias
            parts = zip(_some(hidden, len(weight)), _some(batch.targets, len(weight)), strict=True)
            each = [_read(F.linear(some, weight, bias), targets) for some, targets in parts]
            losses, likeliest = zip(*each, strict=True)
            return torch.cat(losses), torch.cat(likeliest)

    def sum(self, batch: Batch) -> torch.Tensor:
        """The weighted sum of the losses: a scalar, to be divided by the weights of the whole update."""
        hidden = self._hidden(batch)
        if hidden is None:
            loss = F.cross_entropy(self._logits(batch).float(), batch.targets, reduction="none")
            return (loss * batch.weights).sum()
        head, counts = self._head, (batch.targets, batch.weights)
        if head.weight.requires_grad:
            return (self._through_head(hidden, batch) * batch.weights).sum()
        summed: torch.Tensor = _HeadLoss.apply(hidden, head.weight, head.bias, *counts)  # type: ignore[no-untyped-call]
        return summed

    def states(self, batch: Batch) -> torch.Tensor:
        """Without a graph, what the model makes of the R predictions that count: the hidden states before its head
        [R, width], or where that is trained or not all, its logits [R, vocabulary]."""
        with torch.no_grad():
            hidden = self._hidden(batch) if self.states_are_small else None
            return self._logits(batch) if hidden is None else hidden

    def divergence(self, batch: Batch, other: torch.Tensor) -> torch.Tensor:
        """The sum over the predictions that count of KL(other || model) in nats; other: what `states` gave of this
        batch, of a model with the same head."""
        if not self.states_are_small:
            logs, wanted = (F.log_softmax(one.float(), dim=-1) for one in (self._logits(batch), other))
            return F.kl_div(logs, wanted, reduction="sum", log_target=True)
        hidden = self._hidden(batch)
        head = self._head
        summed: torch.Tensor = _HeadDivergence.apply(hidden, other, head.weight, head.bias)  # type: ignore[no-untyped-call]
        return summed

    def _hidden(self, batch: Batch) -> torch.Tensor | None:
        """The hidden states that the head would be given, where they count: [R, width]; None if it must be asked."""
        if not self._head_is_all:
            return None
        taken: list[torch.Tensor] = []

        def take(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            taken.append(_counting(given[0], batch))
            return (given[0][:1, :1], *given[1:])  # what becomes of this one, nobody reads

        with _hooked(self._head, take), self._only_what_counts(batch):
            self._forward(batch)
        return taken[0]

    def _logits(self, batch: Batch) -> torch.Tensor:
        def pick(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (_counting(given[0], batch).unsqueeze(0), *given[1:])

        with _hooked(self._head, pick), self._only_what_counts(batch):
            logits: torch.Tensor = self._forward(batch).logits[0]
        return logits

    def _forward(self, batch: Batch) -> Any:
        if batch.packed is None:
            return self._model(input_ids=batch.ids, use_cache=False)
        return self._model(input_ids=batch.ids, **pack_arguments(batch.positions, batch.packed))

    @contextmanager
    def _only_what_counts(self, batch: Batch) -> Iterator[None]:
        """Let the last block leave out the places that nobody reads."""
        decoder = self._model.get_decoder()
        blocks = getattr(decoder, "layers", None)
        again = decoder.training and getattr(decoder, "gradient_checkpointing", False)  # run once more, without hooks
        with ExitStack() as leave:
            if batch.packed is not None and blocks is not None and not again:
                places = torch.unique(batch.places)
                for name in POSITIONWISE:
                    leave.enter_context(_at_places(_part(blocks[-1], name), places))
            yield


def _read(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.float()
    return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


def _counting(hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """What of the hidden states [rows, length, width] counts: [R, width]. A method may have put tokens of its own
    before each row, which then is so much longer."""
    return hidden[batch.rows, batch.places + (hidden.shape[1] - batch.ids.shape[1])]


def why_not_packed(
    model: Any, sequences: Sequence[Tokens], device: str, most_tokens: int = 4096, *, gradients: bool = False
) -> str | None:
    """Why this model cannot take packs, by a look at a few sequences; None if it can.

    The loss of a pack is compared with that of padded rows, and with `gradients` what the adapter would learn from it.
    """
    if not takes_packs(model):
        return type(model).__name__
    few = sorted(_few(sequences, most_tokens), key=lambda sequence: sequence.ids)
    if not few:
        return None
    try:
        with _evaluating(model):  # dropout would differ from one to the other
            ours, plain = (_measured(model, make(few, device=device), gradients) for make in (pack, pad))
    except (Unpackable, TypeError, AttributeError, RuntimeError) as error:  # it cannot be asked in this way
        if lacks_memory(error):
            raise
        return str(error).partition("\n")[0]
    bounds = EXACT if model.dtype == torch.float32 else NEAR
    off = [float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(ours, plain, strict=True)]
    if all(one <= bound for one, bound in zip(off, bounds, strict=False)):
        return None
    return ", ".join(f"{one:.1e}" for one in off)


def _few(sequences: Sequence[Tokens], most_tokens: int) -> list[Tokens]:
    """The longest sequence, which a sliding window may not reach, and the first others, as far as they fit."""
    at = max(range(len(sequences)), key=lambda i: len(sequences[i].ids), default=0)
    few = [*sequences[at : at + 1], *sequences[:at], *sequences[at + 1 :]][:FEW]
    while len(few) > 1 and len(few) * max(len(sequence.ids) for sequence in few) > most_tokens:
        few.pop()
    return few


def _measured(model: Any, batch: Batch, gradients: bool) -> list[torch.Tensor]:
    """The loss, and the gradients of all that is trained in one row."""
    trained = [p for p in model.parameters() if p.requires_grad] if gradients else []
    with torch.set_grad_enabled(gradients):
        loss = Loss(model).sum(batch)
        found = torch.autograd.grad(loss, trained, allow_unused=True) if trained else ()
    flat = [g.float().flatten() for g in found if g is not None]
    return [loss.detach(), *([torch.cat(flat)] if flat else [])]


class _HeadLoss(torch.autograd.Function):
    """Weighted cross-entropy through a frozen head. The gradient of the hidden states is formed on the way there."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grads = []
        for some, wanted, count in zip(*(_some(x, len(weight)) for x in (hidden, targets, weights)), strict=True):
            logits = F.linear(some, weight, bias).float()
            logs = torch.logsumexp(logits, dim=-1)
            total += ((logs - logits.gather(1, wanted[:, None])[:, 0]) * count).sum()
            if ctx.needs_input_grad[0]:
                share = logits.sub_(logs[:, None]).exp_()
                share[torch.arange(len(wanted), device=hidden.device), wanted] -= 1
                grads.append(share.mul_(count[:, None]).to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(grads) if grads else hidden)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (formed,) = ctx.saved_tensors
        return formed * grads[0].to(formed.dtype), None, None, None, None


class _HeadDivergence(torch.autograd.Function):
    """KL of what a frozen head says of other hidden states to what it says of these. The gradient is formed at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grads = []
        for some, base in zip(_some(hidden, len(weight)), _some(other, len(weight)), strict=True):
            logs, wanted = (F.log_softmax(F.linear(one, weight, bias).float(), dim=-1) for one in (some, base))
            total += F.kl_div(logs, wanted, reduction="sum", log_target=True)
            if ctx.needs_input_grad[0]:
                grads.append((logs.exp_() - wanted.exp_()).to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(grads) if grads else hidden)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (formed,) = ctx.saved_tensors
        return formed * grads[0].to(formed.dtype), None, None, None


def _head_is_all(model: Any, head: Any) -> bool:
    """Whether the logits are what the head makes of the hidden states, and nothing more."""
    config = vars(model.config.get_text_config())
    more = [name for name in config if name.startswith(("logit", "final_logit"))]  # scales and caps
    if type(head) is not torch.nn.Linear or any(config[name] not in (None, 1, 1.0) for name in more):
        return False
    seen: list[torch.Tensor] = []
    with _hooked(head, lambda _, given: seen.append(given[0])), torch.inference_mode(), _evaluating(model):
        ids = torch.zeros((1, 1), dtype=torch.long, device=head.weight.device)
        logits = model(input_ids=ids, use_cache=False).logits
        plain = F.linear(seen[0], head.weight, head.bias)
    bound = EXACT[0] if logits.dtype == torch.float32 else NEAR[0]
    return float((plain - logits).norm()) <= bound * float(logits.norm())


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout, which would also use up random numbers."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def most_logits(model: Any, device: str) -> int:
    """Places whose logits stay small together."""
    return _most(torch.device(device).type, int(model.config.get_text_config().vocab_size))


def _most(device: str, vocabulary: int) -> int:
    return max(1, LOGITS_AT_ONCE[device] // vocabulary)


def _some(rows: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, ...]:
    """So many rows at a time that their logits stay small."""
    return torch.split(rows, _most(rows.device.type, vocabulary))


def _part(block: Any, name: str) -> Any:
    for step in name.split("."):
        block = getattr(block, step, None)
    return block


@contextmanager
def _hooked(module: torch.nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _at_places(module: torch.nn.Module | None, places: torch.Tensor) -> Iterator[None]:
    """Run `module` at these places of [1, length, width] alone; elsewhere its output is zero."""
    if module is None:
        yield
        return
    length = 0

    def choose(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        nonlocal length
        length = given[0].shape[1]
        return (given[0][:, places], *given[1:])

    def spread(_: Any, given: tuple[torch.Tensor, ...], out: Any) -> torch.Tensor:
        if not isinstance(out, torch.Tensor):
            raise Unpackable("a block whose parts return more than hidden states")
        return out.new_zeros(1, length, out.shape[-1]).index_copy(1, places, out)

    handles = module.register_forward_pre_hook(choose), module.register_forward_hook(spread)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
