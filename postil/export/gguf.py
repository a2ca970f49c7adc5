"""GGUF files for llama.cpp and what is built on it: the merged model, or the adapter alone.

Written tensor by tensor like the merged safetensors, so that memory holds one tensor at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, LlamaFileType, get_tensor_name_map
from gguf.quants import quant_shape_to_byte_shape, quantize

from postil import __version__
from postil.child import Limit, TookTooLong, run
from postil.errors import ExportError
from postil.export.families import Array, Model, describe, read_model, rope_factors
from postil.export.merge import Planned, Updates, merged
from postil.export.vocabulary import write_vocabulary
from postil.model.template import Template
from postil.settings import for_child

# what we write ourselves; llama.cpp's own tool makes the rest
OWN = {"f32": GGMLQuantizationType.F32, "f16": GGMLQuantizationType.F16, "bf16": GGMLQuantizationType.BF16,
       "q8_0": GGMLQuantizationType.Q8_0, "q5_1": GGMLQuantizationType.Q5_1, "q5_0": GGMLQuantizationType.Q5_0,
       "q4_1": GGMLQuantizationType.Q4_1, "q4_0": GGMLQuantizationType.Q4_0}  # fmt: skip
BLOCKS = tuple(kind for kind in OWN if kind.startswith("q"))  # of 32 numbers with one scale
FILE_TYPES = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "bf16": LlamaFileType.MOSTLY_BF16,
              "q8_0": LlamaFileType.MOSTLY_Q8_0, "q5_1": LlamaFileType.MOSTLY_Q5_1,
              "q5_0": LlamaFileType.MOSTLY_Q5_0, "q4_1": LlamaFileType.MOSTLY_Q4_1,
              "q4_0": LlamaFileType.MOSTLY_Q4_0}  # fmt: skip
BY_TOOL = ("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl",
           "iq4_xs")  # fmt: skip
ROUND_SECONDS = 3600.0  # of computing on all cores
TOOL = "llama-quantize"


def types() -> tuple[str, ...]:
    """The number types that a GGUF file may have here."""
    return (*OWN, *BY_TOOL)


def check_type(kind: str) -> None:
    """Raises ExportError `gguf_type`, or `quantize_tool_missing` when only llama.cpp's tool could make it."""
    if kind not in types():
        raise ExportError("gguf_type", type=kind, known=", ".join(types()))
    if kind not in OWN and shutil.which(TOOL) is None:
        raise ExportError("quantize_tool_missing", type=kind, tool=TOOL, own=", ".join(OWN))


def write_model(planned: Sequence[Planned], base: Path, template: Template, file: Path, kind: str, name: str) -> None:
    """The merged model as one GGUF file. Raises ExportError; AdapterError as `merge` does."""
    check_type(kind)
    model = read_model(base)
    if kind in OWN:
        _write_model(planned, model, template, file, kind, name)
        return
    whole = file.with_name(f".{file.name}.f16")
    try:
        _write_model(planned, model, template, whole, "f16", name)
        _by_tool(whole, file, kind)
    finally:
        whole.unlink(missing_ok=True)


def _write_model(
    planned: Sequence[Planned], model: Model, template: Template, file: Path, kind: str, name: str
) -> None:
    names = _Names(model)
    writer = GGUFWriter(file, MODEL_ARCH_NAMES[model.family.arch])
    writer.add_type("model")
    writer.add_name(name)
    writer.add_description(f"merged by Postil {__version__}")
    describe(writer, model)
    write_vocabulary(writer, template, model.config.vocab_size)
    writer.add_file_type(FILE_TYPES[kind])
    kept = [one for one in planned if names.wanted(one)]
    factors = rope_factors(model)
    made = [(names.of(one.name), one.shape, _type_of(names.of(one.name), one.shape, kind)) for one in kept]
    if factors is not None:
        made.insert(0, ("rope_freqs.weight", factors.shape, OWN["f32"]))
    _write(writer, made, _numbers(kept, model, factors))


def _numbers(kept: Sequence[Planned], model: Model, factors: Array | None) -> Iterator[Array]:
    if factors is not None:
        yield factors
    for one, tensor in merged(kept):
        yield model.turned(one.name, tensor.float().numpy())


def write_adapter(updates: Updates, base: Path, file: Path, kind: str, name: str) -> None:
    """The adapter alone, to be put on a GGUF file of its base. kind: f32 or f16.

    Raises ExportError `gguf_adapter_kind` for an adapter that is more than two matrices a layer.
    """
    model = read_model(base)
    if not updates.plain:
        raise ExportError("gguf_adapter_kind")
    alpha = 2.0 * max(updates.ranks)  # llama.cpp has one alpha for all layers: what differs from it goes into B
    names = _Names(model)
    writer = GGUFWriter(file, MODEL_ARCH_NAMES[model.family.arch])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_name(name)
    writer.add_description(f"written by Postil {__version__}")
    made: list[tuple[str, tuple[int, ...], GGMLQuantizationType]] = []
    arrays: list[Callable[[], Array]] = []
    for layer, update in sorted(updates.layers.items()):
        own = names.of(f"{layer}.weight")
        factor = update.scale * len(update.down) / alpha
        made += [(f"{own}.lora_a", tuple(update.down.shape), OWN[kind]),
                 (f"{own}.lora_b", tuple(update.up.shape), OWN[kind])]  # fmt: skip
        arrays += [lambda update=update: update.down.float().numpy(),  # type: ignore[misc]
                   lambda update=update, layer=layer, factor=factor:  # type: ignore[misc]
                   model.turned(f"{layer}.weight", update.up.float().numpy() * np.float32(factor))]  # fmt: skip
    _write(writer, made, (array() for array in arrays))


@dataclass(frozen=True)
class _Names:
    """The names of a model's tensors in GGUF."""

    model: Model

    def wanted(self, one: Planned) -> bool:
        tied = self.model.config.tie_word_embeddings and one.name.startswith("lm_head.") and not one.added
        return not tied and not one.name.endswith((".rotary_emb.inv_freq", ".masked_bias"))

    def of(self, name: str) -> str:
        names = get_tensor_name_map(self.model.family.arch, self.model.config.num_hidden_layers)
        for known in (name, f"model.{name}"):
            found = names.get_name(known, try_suffixes=(".weight", ".bias"))
            if found:
                return str(found)
        raise ExportError("gguf_tensor", tensor=name, family=self.model.config.model_type)


def _type_of(name: str, shape: tuple[int, ...], kind: str) -> GGMLQuantizationType:
    """Vectors stay exact; rows that blocks of 32 do not fill are kept in 16 bits. The vocabulary's matrices, which
    suffer most, never have fewer than 8."""
    if len(shape) == 1:
        return OWN["f32"]
    if kind in BLOCKS and shape[-1] % 32:
        return OWN["f16"]
    return OWN["q8_0"] if kind in BLOCKS and name in ("token_embd.weight", "output.weight") else OWN[kind]


def _write(
    writer: GGUFWriter, made: Sequence[tuple[str, tuple[int, ...], GGMLQuantizationType]], arrays: Iterator[Array]
) -> None:
    for name, shape, kind in made:
        bytes_shape = quant_shape_to_byte_shape(shape, kind)
        plain = {OWN["f32"]: np.dtype(np.float32), OWN["f16"]: np.dtype(np.float16)}.get(kind)
        size = int(np.prod(bytes_shape))
        if plain is not None:
            writer.add_tensor_info(name, shape, plain, size)
        else:
            writer.add_tensor_info(name, bytes_shape, np.dtype(np.uint8), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for (_, _, kind), array in zip(made, arrays, strict=True):
        writer.write_tensor_data(quantize(np.ascontiguousarray(array, np.float32), kind))
    writer.flush()
    writer.close()


def _by_tool(source: Path, target: Path, kind: str) -> None:
    """Let llama.cpp's own tool round a file further."""
    tool = shutil.which(TOOL)
    assert tool is not None, "check_type has looked"
    command = [tool, str(source), str(target), kind.upper()]
    try:
        done = run(command, Limit(ROUND_SECONDS, os.cpu_count() or 1), env=for_child())
        lines = (done.stderr or done.stdout).decode("utf-8", "replace").splitlines()
        failed = done.returncode != 0 or not target.exists()
        reason = next((line for line in reversed(lines) if line.strip()), str(done.returncode))
    except TookTooLong as error:
        failed, reason = True, str(error)
    if failed:
        with suppress(OSError):
            target.unlink()
        raise ExportError("quantize_failed", type=kind, reason=reason[:300])
