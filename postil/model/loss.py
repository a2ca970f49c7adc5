"""The loss, and the output head only where there is one.

The head of a small model costs as much as its body; prompts and padding need none of it. A hook takes the places that
count out of the hidden states on their way into the head, so that whatever the architecture does after its head (soft
caps, scales) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from postil.model.layout import Batch, by_length, lay_out
from postil.model.template import Tokens


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy in nats of each of the R predictions that count, in float32, not yet weighted: [R]."""
    head = model.get_output_embeddings()

    def only_what_counts(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = given
        return (hidden[batch.rows, batch.places].unsqueeze(0), *rest)

    past = _read(model, batch)
    hook = head.register_forward_pre_hook(only_what_counts)
    try:
        logits = model(input_ids=batch.ids, past_key_values=past, use_cache=past is not None).logits
    finally:
        hook.remove()
    return F.cross_entropy(logits[0].float(), batch.targets, reduction="none")


def _read(model: Any, batch: Batch) -> Any:
    """The keys and values of the shared beginning, for each row; gradients flow back through them."""
    if batch.prefix is None:
        return None
    past = model(input_ids=batch.prefix, use_cache=True, logits_to_keep=1).past_key_values
    past.batch_repeat_interleave(len(batch.ids))
    return past


def loss_sum(model: Any, batch: Batch) -> torch.Tensor:
    """The weighted sum of the losses of a batch: a scalar, to be divided by the weights of the whole update."""
    return (losses(model, batch) * batch.weights).sum()


def sharing_is_exact(model: Any, sequences: Sequence[Tokens], most_tokens: int, device: str) -> bool | None:
    """Whether reading a shared beginning once gives this model the loss of reading each row whole.

    None when no group of `sequences` shares a beginning, so that there is nothing to find out.
    """
    for group in by_length(sequences, most_tokens):
        rows = [sequences[i] for i in group]
        shared = lay_out(rows, device=device, share=True)
        if shared.prefix is not None:
            return _same_loss(model, shared, lay_out(rows, device=device))
    return None


def _same_loss(model: Any, shared: Batch, whole: Batch) -> bool:
    bound = 1e-4 if model.dtype == torch.float32 else 3e-2
    with torch.inference_mode():
        try:
            one, other = (float(loss_sum(model, batch)) for batch in (shared, whole))
        except (AttributeError, TypeError, ValueError, NotImplementedError):  # an architecture without such a cache
            return False
    return abs(one - other) <= bound * abs(other)
