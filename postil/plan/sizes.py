"""What a plan weighs: parameters of the adapter, bytes in memory, floating-point work."""

from __future__ import annotations

from postil.records import Counts, Plan, Shape

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
SLACK = 1.35  # what the allocator and short-lived tensors add
FRAMEWORK_BYTES = 500_000_000  # Python, torch and their libraries
_MLP = ("gate_proj", "up_proj", "down_proj")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def adapter_parameters(shape: Shape, r: int, target_modules: str = "all-linear") -> int:
    """Parameters of a LoRA of rank r. Names that no layer here has (of other families) count as all layers."""
    linears = shape.linears()
    groups = {"all-linear": tuple(linears), "mlp-only": _MLP, "attention-only": _ATTENTION}
    names = [n for n in groups.get(target_modules, ()) if n in linears] or [
        n.strip() for n in target_modules.split(",") if n.strip() in linears
    ]
    chosen = names or list(linears)
    return r * sum(shape.times(name) * sum(linears[name]) for name in chosen)


def updates(plan: Plan, n: int) -> int:
    """Updates of a run over n examples that goes to its end."""
    return -(-n // plan.batch_size) * plan.n_epochs


def training_flops(plan: Plan, counts: Counts, shape: Shape) -> float:
    """Floating-point operations of one epoch at least: frozen weights need no gradient of their own.

    4 for each body weight and token (forward, and backward to the inputs), 4 for each head weight and learned token,
    6 for each adapter weight and token, and attention.
    """
    adapter = adapter_parameters(shape, plan.r, plan.target_modules)
    attention = 6 * shape.layers * shape.heads * shape.head_dim * counts.mean_length  # per token, causal
    body = (4 * shape.body_parameters + 6 * adapter + attention) * counts.tokens
    return body + 4.0 * shape.head_parameters * counts.loss_tokens


def weights_bytes(shape: Shape, dtype: str) -> int:
    """The base model in memory."""
    return shape.parameters * WIDTH[dtype]


def state_bytes(shape: Shape, r: int, target_modules: str) -> int:
    """Adapter, its gradient, two moments and the copy of the best: float32 each."""
    return adapter_parameters(shape, r, target_modules) * (4 + 4 + 8 + 4)


def token_bytes(shape: Shape, dtype: str, length: float, *, checkpointing: bool) -> float:
    """What a training step keeps for each token of a micro-batch with rows of `length` tokens, logits aside.

    Counted tensor by tensor, then fitted: the peak of a 135M model on a CPU was 2.3 to 2.6 MB a token in float32 and
    1.9 MB in bfloat16, where the adapter keeps float32 copies of its inputs.
    """
    width = WIDTH[dtype]
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    kept = 6 * shape.hidden + 4 * q + 4 * kv + 4 * shape.intermediate + 2 * shape.heads * length
    copies = 0 if width == 4 else 5 * shape.hidden + q + shape.intermediate
    layer = SLACK * kept * width + 4 * copies
    if checkpointing:
        return layer + (shape.layers + shape.encoder_layers) * shape.hidden * width
    return layer * (shape.layers + shape.encoder_layers)


def logit_bytes(shape: Shape, tokens: float) -> float:
    """Logits, their softmax and gradient for `tokens` learned tokens of a micro-batch, in float32."""
    return 3 * 4.0 * shape.vocab * tokens
