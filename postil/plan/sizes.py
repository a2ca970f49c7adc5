"""What a plan weighs: parameters of the adapter, bytes in memory, floating-point work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postil.records import Counts, Plan, Shape

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4_BYTES = 0.516  # a weight in four bits, with its share of a scale in 8 bits for each 64
VIRTUAL = ("prefix", "prompt", "p_tuning")
FROZEN_SHARE = 0.53  # measured with the 135M model: 1.33 against 2.1 to 2.5 MB a token
# fitted to the peaks of the 135M model: DoRA makes every weight anew; over four bits PEFT's own layers copy their
# outputs; the others keep no inputs of low-rank layers
KEPT_SHARES = {"dora": 1.35, "qlora": 1.5, "ia3": 0.65, "bottleneck": 0.75}
SLACK = 1.35  # what the allocator and short-lived tensors add
FRAMEWORK_BYTES = 500_000_000  # Python, torch and their libraries
# of the machine's own memory, by a run on a GPU: CUDA's libraries and the weights on their way (a 0.5B model on an H100
# took 1.8 GB); they stay in their file, mapped, until they are on the card
HOST_BYTES = 3_000_000_000
ANCHOR_TOKENS = 32  # a text of `model/own_texts.py`
_MLP = ("gate_proj", "up_proj", "down_proj")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def adapter_parameters(shape: Shape, r: int, target_modules: str = "all-linear") -> int:
    """Parameters of a LoRA of rank r. Names that no layer here has (of other families) count as all layers."""
    linears = shape.linears()
    return r * sum(shape.times(name) * sum(linears[name]) for name in _chosen(shape, target_modules))


def _chosen(shape: Shape, target_modules: str) -> Sequence[str]:
    linears = shape.linears()
    groups = {"all-linear": tuple(linears), "mlp-only": _MLP, "attention-only": _ATTENTION}
    names = [n for n in groups.get(target_modules, ()) if n in linears] or [
        n.strip() for n in target_modules.split(",") if n.strip() in linears
    ]
    return names or list(linears)


def trained_parameters(shape: Shape, plan: Plan) -> int:
    """Numbers that the plan's method trains. What is trained by name counts as far as the names are those here."""
    low_rank = adapter_parameters(shape, plan.r, plan.target_modules)
    if plan.method == "dora":
        return low_rank + _outputs(shape, plan.target_modules)
    keys = shape.kv_heads * shape.head_dim
    counts: dict[str, Callable[[], int]] = {
        "full": lambda: shape.parameters + (2 * shape.layers + 1) * shape.hidden,
        "partial": lambda: _partial(shape, plan.trained_modules),
        "bottleneck": lambda: shape.layers * (plan.bottleneck * (2 * shape.hidden + 1) + shape.hidden),
        "ia3": lambda: shape.layers * _scales(shape, plan.target_modules),
        "prefix": lambda: plan.num_virtual_tokens * shape.layers * 2 * keys,
        "prompt": lambda: plan.num_virtual_tokens * shape.hidden,
        "p_tuning": lambda: plan.num_virtual_tokens * shape.hidden + _network(shape.hidden),
    }
    return counts[plan.method]() if plan.method in counts else low_rank


def _outputs(shape: Shape, target_modules: str) -> int:
    return shape.layers * sum(shape.linears()[name][1] for name in _chosen(shape, target_modules))


def _scales(shape: Shape, target_modules: str) -> int:
    """Of (IA)³, in one block: the outputs of keys and values, the inputs of what ends the feed-forward part."""
    linears, chosen = shape.linears(), _chosen(shape, target_modules)
    scaled = {"k_proj": linears["k_proj"][1], "v_proj": linears["v_proj"][1], "down_proj": linears["down_proj"][0]}
    return sum(size for name, size in scaled.items() if name in chosen)


def _partial(shape: Shape, trained_modules: str) -> int:
    linears = {name: i * o for name, (i, o) in shape.linears().items()}
    block = sum(linears.values()) + 2 * shape.hidden
    if trained_modules.startswith("last-"):
        return min(shape.layers, int(trained_modules.removeprefix("last-"))) * block
    groups = {
        "mlp": sum(linears[name] for name in _MLP if name in linears),
        "self_attn": sum(linears[name] for name in _ATTENTION),
        **linears,
    }
    named = [name.strip() for name in trained_modules.split(",")]
    blocks = sum(groups[name] for name in named if name in groups)
    heads = sum(name in ("head", "lm_head", "embed_tokens") for name in named)
    return shape.layers * blocks + heads * shape.head_parameters


def _network(hidden: int) -> int:
    """Of P-tuning: three layers of the width that `model/methods/virtual.py` gives them."""
    width = 128
    return 2 * hidden * width + width * width + hidden + 2 * width


def updates(plan: Plan, n: int) -> int:
    """Updates of a run over n examples that goes to its end."""
    return -(-n // plan.batch_size) * plan.n_epochs


def training_flops(plan: Plan, counts: Counts, shape: Shape) -> float:
    """Floating-point operations of one epoch at least: frozen weights need no gradient of their own.

    4 for each body weight and token (forward, and backward to the inputs), 4 for each head weight and learned token,
    6 for each adapter weight and token (2 for one that takes the place of the base's), and attention.
    """
    adapter = trained_parameters(shape, plan) * (1 / 3 if plan.method in ("full", "partial") else 1)
    attention = 6 * shape.layers * shape.heads * shape.head_dim * counts.mean_length  # per token, causal
    body = (4 * shape.body_parameters + 6 * adapter + attention) * counts.tokens
    return body + 4.0 * shape.head_parameters * counts.loss_tokens


def weights_bytes(shape: Shape, dtype: str, *, four_bits: bool = False) -> int:
    """The base model in memory."""
    if four_bits:
        return int(shape.body_parameters * NF4_BYTES) + (shape.parameters - shape.body_parameters) * WIDTH[dtype]
    return shape.parameters * WIDTH[dtype]


def kept_parameters(shape: Shape, plan: Plan) -> int:
    """Numbers that an adapter keeps: those that it trains, and what stands still beside them."""
    return trained_parameters(shape, plan) * (2 if plan.method in ("pissa", "olora") else 1)


def state_bytes(shape: Shape, plan: Plan) -> int:
    """Adapter, its gradient, two moments and the copy of the best: float32 each."""
    return kept_parameters(shape, plan) * (4 + 4 + 8 + 4)


def update_tokens(plan: Plan, counts: Counts) -> float:
    """Tokens that an update computes at once, if they fit. What all rows share counts once, unless they are padded."""
    if plan.method in VIRTUAL:
        return plan.batch_size * (counts.longest + plan.num_virtual_tokens)
    shared = counts.shared if plan.lora_dropout == 0 else 0
    return plan.batch_size * (counts.mean_length - shared) + shared


def anchor_tokens(plan: Plan) -> int:
    """Tokens of the base's own texts that an update reads besides its rows (`train/anchor.py`)."""
    return ANCHOR_TOKENS if plan.kl_weight else 0


def work_share(plan: Plan, counts: Counts, shape: Shape) -> float:
    """How many times the work of a plain LoRA on the same rows."""
    lora = plan.model_copy(update={"method": "lora"})
    flops = training_flops(plan, counts, shape) / training_flops(lora, counts, shape)
    return flops * max(1.0, update_tokens(plan, counts) / update_tokens(lora, counts))


def kept_share(shape: Shape, plan: Plan) -> float:
    """Of what a step with LoRA keeps for each token, how much the plan's method keeps."""
    if plan.method in VIRTUAL:
        return FROZEN_SHARE  # a frozen layer keeps no input
    if plan.method == "partial" and (plan.trained_modules == "head" or plan.trained_modules.startswith("last-")):
        trained = int(plan.trained_modules.removeprefix("last-")) if plan.trained_modules != "head" else 0
        return min(1.0, (trained + 1) / shape.layers)  # and one block in passing
    return KEPT_SHARES.get(plan.method, 1.0)


def token_bytes(shape: Shape, dtype: str, length: float, *, checkpointing: bool, gpu: bool = False) -> float:
    """What a training step keeps for each token of a micro-batch with rows of `length` tokens, logits aside.

    Counted tensor by tensor, then fitted: the peak of a 135M model on a CPU was 2.3 to 2.6 MB a token in float32 and
    1.9 MB in bfloat16, where the adapter keeps float32 copies of its inputs. A GPU's kernels keep no scores: a step of
    the 7B shape over 4096 tokens, adapters on attention alone, had its peak at 4.8 MB a token on an H100.
    """
    width = WIDTH[dtype]
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    kept = 6 * shape.hidden + 4 * q + 4 * kv + 4 * shape.intermediate
    if gpu:
        layer: float = kept * width
    else:
        copies = 0 if width == 4 else 5 * shape.hidden + q + shape.intermediate
        layer = SLACK * (kept + 2 * shape.heads * length) * width + 4 * copies
    if checkpointing:
        return layer + (shape.layers + shape.encoder_layers) * shape.hidden * width
    return layer * (shape.layers + shape.encoder_layers)


def logit_bytes(shape: Shape, tokens: float) -> float:
    """Logits, their softmax and gradient for `tokens` learned tokens of a micro-batch, in float32."""
    return 3 * 4.0 * shape.vocab * tokens
