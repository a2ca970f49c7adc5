"""The settings of another program become ours: YAML (or JSON) of LLaMA-Factory, ms-swift and Axolotl.

Nothing is taken over silently, and nothing left out silently: every key of the file is listed as mapped, with what it
became, or as not mapped, with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from postil.errors import PlanError
from postil.locales import say
from postil.plan.schema import check_settings

MOST_BYTES = 1 << 20
MOST_BRACKETS = 500
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}


@dataclass(frozen=True, slots=True)
class Left:
    """A key that means nothing here, or that cannot be done. `foreign.<why>` is the sentence."""

    key: str
    value: str
    why: str

    def words(self, lang: str | None = None) -> str:
        return say(f"foreign.{self.why}", lang)


@dataclass(frozen=True)
class Foreign:
    """What a file of another program says. mapped: its key -> our field and value; data: its file, if it lies here."""

    program: str
    settings: Mapping[str, Any]
    base: str | None = None
    data: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    mapped: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    unmapped: tuple[Left, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "program": self.program, "base": self.base, "data": str(self.data) if self.data else None,
            "columns": dict(self.columns),
            "mapped": {key: {"field": name, "value": value} for key, (name, value) in self.mapped.items()},
            "unmapped": [{"key": one.key, "value": one.value, "why": one.why, "words": one.words()}
                         for one in self.unmapped],
        }  # fmt: skip


def read_foreign(file: Path) -> Foreign:
    """What the YAML (or JSON) in `file` says, in our words.

    Raises PlanError: `foreign_unreadable`; `foreign_unknown` when it is none of these programs'; setting_* for values
    that no plan can have.
    """
    told = _read(file)
    if "base_model" in told:
        return _Reader(file, "Axolotl", told).axolotl()
    if {"tuner_type", "train_type", "rlhf_type"} & set(told):
        return _Reader(file, "ms-swift", told).swift()
    if "model_name_or_path" in told or "finetuning_type" in told:
        return _Reader(file, "LLaMA-Factory", told).llama_factory()
    raise PlanError("foreign_unknown", path=str(file))


def _read(file: Path) -> dict[str, Any]:
    """One mapping of plain values. No tags, no references: what is written here must be what is read."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise PlanError("foreign_unreadable", path=str(file))
        text = file.read_text("utf-8-sig")
        if sum(map(text.count, "[{")) > MOST_BRACKETS:  # reading takes the square of their depth
            raise PlanError("foreign_unreadable", path=str(file))
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise PlanError("foreign_unreadable", path=str(file))
        told = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as broken:
        raise PlanError("foreign_unreadable", path=str(file)) from broken
    if not isinstance(told, dict) or not all(isinstance(key, str) for key in told):
        raise PlanError("foreign_unreadable", path=str(file))
    return told


# ── values ──


def _number(value: Any) -> float:
    """YAML reads 1e-4 as a text."""
    return float(value)


def _up(value: Any) -> int:
    return math.ceil(float(value))


def _modules(value: Any) -> str:
    names = [str(one) for one in value] if isinstance(value, list) else str(value).split(",")
    plain = [name.strip() for name in names if name.strip()]
    return "all-linear" if plain in (["all"], ["all-linear"]) else ",".join(plain)


def _schedule(value: Any) -> str:
    return SCHEDULES[str(value)]


def _rows(value: Any) -> int:
    """A number of rows; a share of them is not known before the data is."""
    if 0 < float(value) < 1:
        raise ValueError(value)
    return int(value)


_Take = Callable[[Any], Any]
BOTH: Mapping[str, tuple[str, _Take]] = {
    "lora_alpha": ("lora_alpha", _number), "lora_dropout": ("lora_dropout", _number),
    "learning_rate": ("learning_rate", _number), "warmup_ratio": ("warmup_ratio", _number),
    "weight_decay": ("weight_decay", _number), "max_grad_norm": ("max_grad_norm", _number), "seed": ("seed", int),
    "logging_steps": ("logging_steps", _up), "save_total_limit": ("save_total_limit", lambda v: max(2, int(v))),
    "early_stopping_patience": ("patience", int),
}  # fmt: skip
LLAMA_FACTORY: Mapping[str, tuple[str, _Take]] = {
    **BOTH, "lora_rank": ("r", int), "lora_target": ("target_modules", _modules), "cutoff_len": ("max_length", int),
    "num_train_epochs": ("n_epochs", _up), "lr_scheduler_type": ("lr_scheduler", _schedule),
    "max_samples": ("training_rows", int), "val_size": ("validation_rows", _rows),
    "save_steps": ("save_steps", _up), "default_system": ("system", str), "enable_thinking": ("thinking", bool),
    "max_new_tokens": ("max_new_tokens", int),
}  # fmt: skip
AXOLOTL: Mapping[str, tuple[str, _Take]] = {
    **BOTH, "lora_r": ("r", int), "lora_target_modules": ("target_modules", _modules),
    "sequence_len": ("max_length", int), "num_epochs": ("n_epochs", _up), "lr_scheduler": ("lr_scheduler", _schedule),
    "val_set_size": ("validation_rows", _rows), "save_steps": ("save_steps", _up),
    "evals_per_epoch": ("evaluations_per_epoch", int), "default_system_message": ("system", str),
}  # fmt: skip
SWIFT: Mapping[str, tuple[str, _Take]] = {
    **BOTH, "lora_rank": ("r", int), "target_modules": ("target_modules", _modules), "max_length": ("max_length", int),
    "num_train_epochs": ("n_epochs", _up), "lr_scheduler_type": ("lr_scheduler", _schedule), "system": ("system", str),
    "save_steps": ("save_steps", _up), "max_new_tokens": ("max_new_tokens", int),
}  # fmt: skip
# their words for what is learned -> ours; what is none of ours is told
STAGES = {"sft": "causal_lm", "pt": "pretraining", "dpo": "dpo"}
KINDS = {"lora": "lora", "qlora": "qlora", "full": "full", "freeze": "partial"}
STARTS = {"pissa": "pissa", "olora": "olora", "eva": "eva"}


@dataclass(frozen=True)
class _Way:
    """A key that makes LoRA another of our methods. of: its value -> the method, or None where it says nothing."""

    key: str
    of: Callable[[Any], str | None]


def _when(method: str) -> Callable[[Any], str | None]:
    return lambda value: method if value is True else None


def _start(value: Any) -> str | None:
    return STARTS.get(str(value).split("_")[0].lower())


def _ratio(value: Any) -> str | None:
    return "lora_plus" if float(value) > 0 else None


def _bits(value: Any) -> str | None:
    return "qlora" if str(value) == "4" else None


# the first that says something is taken
LLAMA_FACTORY_WAYS = (_Way("quantization_bit", _bits), _Way("use_dora", _when("dora")),
                      _Way("use_rslora", _when("rslora")), _Way("pissa_init", _when("pissa")),
                      _Way("loraplus_lr_ratio", _ratio))  # fmt: skip
AXOLOTL_WAYS = (_Way("load_in_4bit", _when("qlora")), _Way("peft_use_dora", _when("dora")),
                _Way("peft_use_rslora", _when("rslora")), _Way("peft_init_lora_weights", _start),
                _Way("loraplus_lr_ratio", _ratio))  # fmt: skip
SWIFT_WAYS = (_Way("quant_bits", _bits), _Way("use_dora", _when("dora")), _Way("use_rslora", _when("rslora")),
              _Way("init_weights", _start), _Way("lorap_lr_ratio", _ratio))  # fmt: skip
# what Postil decides by itself, or does anyway
OURS = (
    "template", "chat_template", "output_dir", "overwrite_output_dir", "do_train", "plot_loss", "strict",
    "overwrite_cache", "preprocessing_num_workers", "dataloader_num_workers", "report_to", "eval_strategy",
    "per_device_eval_batch_size", "eval_steps", "eval_batch_size", "save_only_model", "packing", "sample_packing",
    "eval_sample_packing", "pad_to_sequence_len", "flash_attention", "flash_attn", "group_by_length", "optimizer",
    "optim", "tf32", "xformers_attention", "saves_per_epoch", "special_tokens", "wandb_project", "ddp_timeout",
    "resume_from_checkpoint", "dataset_prepared_path", "tokenizer_type", "model_type", "use_cache", "tuner_backend",
    "quantization_method", "quant_method", "torch_dtype", "dataset_num_proc", "freeze_trainable_modules", "plot_loss",
    "gradient_checkpointing_kwargs", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "attn_impl",
)  # fmt: skip


class _Reader:
    """Goes through the keys of one file; each ends up mapped or not."""

    def __init__(self, file: Path, program: str, told: Mapping[str, Any]) -> None:
        self._file, self._program, self._told = file, program, told
        self._left = {key: value for key, value in told.items() if value is not None and value != ""}
        self._mapped: dict[str, tuple[str, Any]] = {}
        self._unmapped: list[Left] = []
        self._settings: dict[str, Any] = {}
        self._base: str | None = None
        self._data: Path | None = None
        self._columns: dict[str, str] = {}

    def llama_factory(self) -> Foreign:
        self._say_base("model_name_or_path")
        self._task("stage", STAGES)
        self._method("finetuning_type", LLAMA_FACTORY_WAYS)
        self._last("freeze_trainable_layers")
        self._number_of("pref_beta", "dpo_beta")
        if (loss := self._left.pop("pref_loss", None)) is not None:
            self._leave("pref_loss", loss, "ours" if loss == "sigmoid" else "other_task")
        self._batch("per_device_train_batch_size", default=1)
        self._dataset()
        self._flag("train_on_prompt", "prompt_loss_weight", 1.0)
        self._flag("disable_gradient_checkpointing", "gradient_checkpointing", False)
        self._flag("torch_compile", "torch_compile", True)
        self._dtype("pure_bf16", "bf16", "fp16")
        return self._end(LLAMA_FACTORY)

    def axolotl(self) -> Foreign:
        self._say_base("base_model")
        self._task("rl", {"dpo": "dpo"})
        self._method("adapter", AXOLOTL_WAYS)
        self._number_of("rl_beta", "dpo_beta")
        self._number_of("dpo_beta", "dpo_beta")
        self._batch("micro_batch_size", default=1)
        self._datasets()
        self._flag("train_on_inputs", "prompt_loss_weight", 1.0)
        self._flag("gradient_checkpointing", "gradient_checkpointing", True)
        self._flag("torch_compile", "torch_compile", True)
        self._flag("lora_target_linear", "target_modules", "all-linear")
        self._dtype("bf16", "fp16")
        return self._end(AXOLOTL)

    def swift(self) -> Foreign:
        self._say_base("model")
        self._task("rlhf_type", {"dpo": "dpo"})
        self._method(next(key for key in ("tuner_type", "train_type", "") if key in self._left or not key), SWIFT_WAYS)
        self._number_of("beta", "dpo_beta")
        self._batch("per_device_train_batch_size", default=1)
        self._files("dataset")
        self._dtype("bf16", "fp16")
        return self._end(SWIFT)

    # ── pieces ──

    def _take(self, key: str, name: str, value: Any) -> None:
        self._mapped[key] = (name, value)
        if name not in ("base", "data"):
            self._settings[name] = value

    def _leave(self, key: str, value: Any, why: str) -> None:
        shown = f"{type(value).__name__}({len(value)})" if isinstance(value, list | dict) else str(value)[:60]
        self._unmapped.append(Left(key, shown, why))

    def _say_base(self, key: str) -> None:
        value = self._left.pop(key, None)
        if value is not None:
            self._base = str(value)
            self._take(key, "base", self._base)

    def _task(self, key: str, known: Mapping[str, str]) -> None:
        """What is learned."""
        value = self._left.pop(key, None)
        if value is None:
            return
        if str(value) in known:
            self._take(key, "task", known[str(value)])
        else:
            self._leave(key, value, "other_task")

    def _method(self, key: str, ways: Sequence[_Way]) -> None:
        """How it is tuned: the kind that `key` names, made another one by the first of `ways` that says something."""
        value = self._left.pop(key, None)
        kind = KINDS.get(str(value)) if value is not None else None
        if value is not None and kind is None:
            self._leave(key, value, "other_method")
        elif kind is not None:
            self._take(key, "method", kind)
        for way in ways:
            told = self._left.pop(way.key, None)
            try:
                method = way.of(told) if told is not None else None
            except (TypeError, ValueError):
                self._leave(way.key, told, "not_understood")
                continue
            if method is None:
                self._say_off(way.key, told)
            elif self._settings.get("method", "lora") in ("lora", method):
                self._take(way.key, "method", method)
                if method == "lora_plus":
                    self._settings["lora_plus_ratio"] = float(told)
            else:
                self._leave(way.key, told, "one_method")

    def _say_off(self, key: str, value: Any) -> None:
        if value is False or str(value).lower() in ("true", "gaussian", "default"):
            self._leave(key, value, "off" if value is False else "ours")
        elif value is not None:
            self._leave(key, value, "unknown")

    def _last(self, key: str) -> None:
        """How many of the last blocks are trained."""
        value = self._left.pop(key, None)
        try:
            count = int(value) if value is not None else 0
        except (TypeError, ValueError):
            count = -1
        if count > 0:
            self._take(key, "trained_modules", f"last-{count}")
        elif value is not None:
            self._leave(key, value, "not_understood")

    def _number_of(self, key: str, name: str) -> None:
        value = self._left.pop(key, None)
        try:
            if value is not None:
                self._take(key, name, float(value))
        except (TypeError, ValueError):
            self._leave(key, value, "not_understood")

    def _files(self, key: str) -> None:
        """ms-swift's data sets: files, or names on a hub, with "#500" for how many rows."""
        value = self._left.pop(key, None)
        if value is None:
            return
        every = [str(one) for one in (value if isinstance(value, list) else [value])]
        found = self._file.parent / every[0].partition("#")[0]
        if found.is_file():
            self._data = found
            self._mapped[key] = ("data", str(found))
        if not found.is_file() or len(every) > 1:
            self._leave(key, ", ".join(every), "several_data" if found.is_file() else "no_data")

    def _batch(self, key: str, default: int) -> None:
        steps = self._left.pop("gradient_accumulation_steps", None)
        size = self._left.pop(key, None)
        if size is None and steps is None:
            return
        try:
            total = int(size if size is not None else default) * int(steps if steps is not None else 1)
        except (TypeError, ValueError):
            self._leave(key, size, "not_understood")
            return
        for one, value in ((key, size), ("gradient_accumulation_steps", steps)):
            if value is not None:
                self._take(one, "batch_size", total)

    def _flag(self, key: str, name: str, value: Any) -> None:
        told = self._left.pop(key, None)
        if told is True:
            self._take(key, name, value)
        elif told is not None and told is not False:
            self._leave(key, told, "not_understood")
        elif told is False:
            self._mapped[key] = (name, "-")

    def _dtype(self, *keys: str) -> None:
        """The first that is switched on; "auto" is what Postil does anyway."""
        for key in keys:
            told = self._left.pop(key, None)
            if told is True and "dtype" not in self._settings:
                self._take(key, "dtype", "float16" if key == "fp16" else "bfloat16")
            elif told == "auto":
                self._leave(key, told, "ours")
            elif told is not None:
                self._mapped[key] = ("dtype", "-")

    def _dataset(self) -> None:
        """LLaMA-Factory's data sets are names in dataset_info.json."""
        names, place = self._left.pop("dataset", None), self._left.pop("dataset_dir", "data")
        if names is None:
            return
        every = [str(name).strip() for name in (names if isinstance(names, list) else str(names).split(","))]
        found = self._info(Path(str(place)), every[0])
        if found is None or len(every) > 1:
            self._leave("dataset", ", ".join(every), "several_data" if found else "no_data")
        if found is not None:
            self._data = found
            self._mapped["dataset"] = ("data", str(found))

    def _info(self, place: Path, name: str) -> Path | None:
        """The file of a data set, and which columns it is read from."""
        folder = place if place.is_absolute() else self._file.parent / place
        try:
            entry = json.loads((folder / "dataset_info.json").read_text("utf-8"))[name]
            file = folder / str(entry["file_name"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            return None
        columns = entry.get("columns") or {}
        if entry.get("formatting", "alpaca") == "alpaca" and isinstance(columns, dict) and not columns.get("query"):
            roles = {"prompt": "question", "response": "answer", "system": "system"}
            self._columns = {ours: str(columns[theirs]) for theirs, ours in roles.items() if columns.get(theirs)}
        return file

    def _datasets(self) -> None:
        """Axolotl's are paths, or names on a hub."""
        every = self._left.pop("datasets", None)
        if not isinstance(every, list) or not every or not isinstance(every[0], dict):
            if every is not None:
                self._leave("datasets", every, "not_understood")
            return
        told = str(every[0].get("path", ""))
        files = every[0].get("data_files")
        inner = files[0] if isinstance(files, list) and files else files if isinstance(files, str) else None
        tries = [self._file.parent / told, *([self._file.parent / str(inner)] if inner else [])]
        found = next((one for one in tries if one.is_file()), None)
        if found is not None:
            self._data = found
            self._mapped["datasets"] = ("data", str(found))
        if found is None or len(every) > 1:
            self._leave("datasets", told, "several_data" if found else "no_data")

    def _end(self, table: Mapping[str, tuple[str, _Take]]) -> Foreign:
        for key, value in self._left.items():
            if key in table:
                name, take = table[key]
                try:
                    self._take(key, name, take(value))
                except (TypeError, ValueError, LookupError, OverflowError):
                    self._leave(key, value, "not_understood")
            else:
                why = "ours" if key in OURS else "off" if value is False else "unknown"
                self._leave(key, value, why)
        settings = check_settings(self._settings)
        return Foreign(self._program, settings, self._base, self._data, self._columns, self._mapped,
                       tuple(self._unmapped))  # fmt: skip
