"""The program that `fetch` runs in a process of its own: `python -m postil.model.prepare KIND ...`.

gguf FILE FOLDER               turn a GGUF file into config.json, tokenizer and model.safetensors
huggingface ID FOLDER [URL]    download a repository's safetensors, JSON and tokenizer files
modelscope ID FOLDER           the same from ModelScope
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

# No pickled weights, no code: what is not fetched cannot be opened by mistake.
WANTED = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*",
          "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.*",
          "LICENSE*", "NOTICE*", "USE_POLICY*"]  # fmt: skip

# What a converted config.json holds. Not all that transformers would write: its version and its defaults change,
# and the fingerprint of the same weights must not.
KEPT = ("architectures", "attention_bias", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim",
        "hidden_act", "hidden_size", "initializer_range", "intermediate_size", "max_position_embeddings", "mlp_bias",
        "model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id",
        "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "vocab_size")  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say. Returns the exit code; what went wrong stands on standard error."""
    kind, source, folder, *rest = arguments
    if kind == "gguf":
        convert(Path(source), Path(folder))
    elif kind == "huggingface":
        from_huggingface(source, Path(folder), rest[0] if rest else None)
    else:
        from_modelscope(source, Path(folder))
    return 0


def from_huggingface(repository: str, folder: Path, endpoint: str | None) -> None:
    """Download `repository` into `folder`, going on with files that are half there."""
    from huggingface_hub import snapshot_download

    snapshot_download(repository, local_dir=folder, allow_patterns=WANTED, endpoint=endpoint,
                      library_name="postil", max_workers=4)  # fmt: skip


def from_modelscope(repository: str, folder: Path) -> None:
    """Download `repository` into `folder` from ModelScope."""
    from modelscope import snapshot_download

    snapshot_download(repository, local_dir=str(folder), allow_patterns=WANTED)


def convert(gguf: Path, folder: Path) -> None:
    """Write the model of a GGUF file as float32 safetensors with config and tokenizer.

    float32, since rounding the dequantised weights again moves the logits (up to 0.04 in float16 and 0.28 in
    bfloat16 for the embedded model). Tied weights are stored once.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    weights = {name: t.contiguous() for name, t in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    said = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    config = {key: said[key] for key in KEPT if key in said}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    model.generation_config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
