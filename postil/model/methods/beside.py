"""Trained tensors that stand beside the base in memory and in a file of their own: full and partial tuning.

The base's own tensors stay as they are, most of them mapped from their file; the trained ones take their places and can
be taken out again. PEFT has no such adapter; what is asked of one here is what PEFT's answer, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from postil.errors import PlanError
from postil.model.heads import HEADS, head_modules
from postil.model.layers import blocks
from postil.records import Plan

KIND = "postil_method"  # in the config of such an adapter


@dataclass(frozen=True)
class Slot:
    """A place in the model where a parameter stands: `module.<name>`, `path` from the model's top."""

    module: torch.nn.Module
    name: str
    path: str

    def put(self, parameter: torch.nn.Parameter) -> None:
        self.module._parameters[self.name] = parameter


class Beside(torch.nn.Module):
    """A base model with trained tensors in some of its places, and modules of its own added."""

    def __init__(
        self, model: Any, plan: Plan, base: str, slots: Sequence[Slot],
        added: Mapping[str, torch.nn.Module] | None = None,
    ) -> None:  # fmt: skip
        """added: path in the base -> a module that is trained too; what it does there is up to whoever made it."""
        super().__init__()
        self.base_model = model
        self._told = {
            KIND: plan.method, "task": plan.task, "task_type": HEADS[plan.task].peft, "base_model_name_or_path": base,
            "trained_modules": plan.trained_modules, "bottleneck": plan.bottleneck,
        }  # fmt: skip
        self._paths = list(added or {})
        self.added = torch.nn.ModuleList((added or {}).values())
        self.switched_on = True
        self._slots: list[tuple[Slot, torch.nn.Parameter, torch.nn.Parameter]] = []  # with the base's and the trained
        trained: dict[int, torch.nn.Parameter] = {}
        for slot in slots:
            own = slot.module._parameters[slot.name]
            assert own is not None
            if id(own) not in trained:  # tensors that the base ties stay tied, as far as all their places are trained
                trained[id(own)] = torch.nn.Parameter(own.detach().clone())
            self._slots.append((slot, own, trained[id(own)]))
        self._fill(trained=True)

    def __getattr__(self, name: str) -> Any:
        """All that the base model has: its config, its head, `generate`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":
                raise
            return getattr(self.base_model, name)

    def forward(self, *given: Any, **named: Any) -> Any:
        return self.base_model(*given, **named)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Within it, the model is the untouched base."""
        before, self.switched_on = self.switched_on, False
        self._fill(trained=False)
        try:
            yield
        finally:
            self.switched_on = before
            self._fill(trained=before)

    def _fill(self, *, trained: bool) -> None:
        for slot, own, ours in self._slots:
            slot.put(ours if trained else own)

    def tensors(self) -> dict[str, torch.nn.Parameter]:
        """The trained parameters by name, each once: where it stands in the base, or `added.` and where it works."""
        found: dict[str, torch.nn.Parameter] = {}
        seen: set[int] = set()
        for slot, _, ours in self._slots:
            if id(ours) not in seen:
                seen.add(id(ours))
                found[f"{slot.path}.{slot.name}"] = ours
        for path, module in zip(self._paths, self.added, strict=True):
            found |= {f"added.{path}.{name}": parameter for name, parameter in module.named_parameters()}
        return found

    def put(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take these values. Raises ValueError when they are not this model's."""
        own = self.tensors()
        if set(own) != set(weights):
            raise ValueError(min(set(own) ^ set(weights)))
        with torch.no_grad():
            for name, parameter in own.items():
                if parameter.shape != weights[name].shape:
                    raise ValueError(f"{name} {tuple(weights[name].shape)}")
                parameter.copy_(weights[name])

    def config_bytes(self) -> bytes:
        return (json.dumps(self._told, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def full(model: torch.nn.Module, plan: Plan, base: str) -> Beside:
    """Every weight of the base."""
    return Beside(model, plan, base, slots(model, lambda path: True))


def partial(model: torch.nn.Module, plan: Plan, base: str) -> Beside:
    """Some of them: the last blocks, the head alone (which then has a tensor of its own, if it had none), or by name.

    Raises PlanError `unknown_trained` when a name is none of the model's.
    """
    within, fresh = chosen(model, plan.trained_modules), in_fresh_head(model, plan)
    return Beside(model, plan, base, slots(model, lambda path: within(path) or fresh(path)))


def in_fresh_head(model: Any, plan: Plan) -> Callable[[str], bool]:
    """Whether a path belongs to a head that the base does not bring, and that must be learned whatever the method."""
    names = set(head_modules(model)) if HEADS[plan.task].fresh else set()
    return lambda path: bool(names & set(path.split(".")))


def slots(model: torch.nn.Module, wanted: Callable[[str], bool]) -> list[Slot]:
    """The places of all parameters whose module's path is wanted, tied ones with each of theirs."""
    return [
        Slot(module, name, path)
        for path, module in model.named_modules()
        if wanted(path)
        for name, parameter in module._parameters.items()
        if parameter is not None
    ]


def chosen(model: torch.nn.Module, wanted: str) -> Callable[[str], bool]:
    """What `Plan.trained_modules` means for this model: whether the module at a path is trained."""
    if wanted.startswith("last-"):
        path, found = blocks(model)
        count = int(wanted.removeprefix("last-"))
        roots = [f"{path}.{i}" for i in range(max(0, len(found) - count), len(found))]
    elif wanted == "head":
        roots = _head(model)
    else:
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        paths = [path for path, _ in model.named_modules()]
        roots = [path for path in paths if any(path == name or path.endswith(f".{name}") for name in names)]
        unknown = [name for name in names if not any(p == name or p.endswith(f".{name}") for p in paths)]
        if unknown or not names:
            raise PlanError("unknown_trained", names=", ".join(unknown), known=_known(paths))
    return lambda path: any(path == root or path.startswith(f"{root}.") for root in roots)


def _head(model: Any) -> list[str]:
    """The output head of a language model; of any other, the heads that it was given for its task."""
    head = model.get_output_embeddings()
    heads = [] if head is not None else head_modules(model)
    return [path for path, module in model.named_modules() if module is head or path.rsplit(".", 1)[-1] in heads]


def _known(paths: Sequence[str]) -> str:
    """The last names of the modules of a model, as examples of what may be written."""
    names = sorted({path.rpartition(".")[2] for path in paths} - {""})
    return ", ".join(name for name in names if not name.isdigit())
