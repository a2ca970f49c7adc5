"""What a client sends to order a training job, and what it becomes: an Order for the queue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model, model_validator
from pydantic_core import PydanticCustomError

from postil.api.bodies import Body, Metadata
from postil.api.refusals import Refused, refused
from postil.errors import PlanError
from postil.jobs import Order
from postil.plan import check_settings, presets
from postil.records import Plan

ELSEWHERE = {  # what x_postil does not repeat: OpenAI has a name for it, we have a better one, or it is the server's
    "n_epochs", "batch_size", "seed", "device", "r", "lora_alpha", "lora_dropout", "target_modules", "save_steps",
}  # fmt: skip

METHODS = ("supervised", "dpo", "reinforcement")
READING = ("sheet", "columns", "mask", "system", "instruction", "edits", "without")


def _auto(value: Any) -> Any:
    """ "auto" counts as absent."""
    if isinstance(value, str):
        if value != "auto":
            raise PydanticCustomError("auto_or_number", "auto or a number is expected")
        return None
    return value


def _or_auto(kind: str, **bounds: float) -> tuple[Any, ...]:
    alternatives = [{"type": "string", "const": "auto"}, {"type": kind, **bounds}, {"type": "null"}]
    return BeforeValidator(_auto), WithJsonSchema({"anyOf": alternatives, "default": "auto"})


class Hyperparameters(Body):
    """OpenAI's three; "auto" leaves them to the plan."""

    n_epochs: Annotated[
        Annotated[int, Field(ge=1, le=50)] | None, *_or_auto("integer", minimum=1, maximum=50)
    ] = None  # fmt: skip
    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=256)] | None, *_or_auto("integer", minimum=1, maximum=256)
    ] = None  # fmt: skip
    learning_rate_multiplier: Annotated[
        Annotated[float, Field(gt=0, le=1e6)] | None, *_or_auto("number", exclusiveMinimum=0, maximum=1e6)
    ] = None

    def told(self) -> dict[str, int | float | str]:
        """As the job shows it."""
        return {name: "auto" if value is None else value for name, value in self.model_dump().items()}


class DpoHyperparameters(Hyperparameters):
    """The same, and how far answers may move away from the base's."""

    beta: Annotated[
        Annotated[float, Field(gt=0, le=2)] | None, *_or_auto("number", exclusiveMinimum=0, maximum=2)
    ] = None  # fmt: skip


class Supervised(Body):
    """Answers are learned as they stand."""

    hyperparameters: Hyperparameters | None = None


class Dpo(Body):
    """Wanted answers are learned against unwanted ones."""

    hyperparameters: DpoHyperparameters | None = None


class Method(Body):
    """How to train. Only the block that `type` names is read."""

    type: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Any = None

    @model_validator(mode="before")
    @classmethod
    def _only_its_own(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        named = told.get("type", "supervised")
        return {name: value for name, value in told.items() if name not in METHODS or name == named}


class Wandb(Body):
    """How the run is called in the files that are kept for it, where wandb is installed; nothing is sent."""

    project: str = Field(max_length=256)
    name: str | None = Field(None, max_length=256)
    entity: str | None = Field(None, max_length=256)
    tags: list[Annotated[str, Field(max_length=256)]] | None = Field(None, max_length=50)


class Integration(Body):
    """Another service."""

    type: Literal["wandb"]
    wandb: Wandb


class Lora(Body):
    """The adapter's size and place."""

    r: int | None = Field(None, ge=1, le=1024)
    alpha: float | None = Field(None, gt=0, le=4096)
    dropout: float | None = Field(None, ge=0, lt=1)
    target_modules: str | None = Field(None, min_length=1, max_length=500)


class _Vendor(Body):
    lora: Lora | None = None
    checkpoint_every: int | None = Field(None, ge=1, le=100_000)
    priority: int | None = Field(None, ge=-100, le=100)
    preset: str | None = Field(None, max_length=64)
    sheet: str | None = Field(None, max_length=200)
    columns: dict[str, Annotated[str, Field(max_length=200)]] | None = Field(None, max_length=10)
    mask: bool | None = None
    edits: dict[Annotated[str, Field(min_length=1, max_length=400)],
                Annotated[str, Field(max_length=100_000)]] | None = Field(None, max_length=20_000)  # fmt: skip
    without: list[Annotated[int, Field(ge=1)]] | None = Field(None, max_length=200_000)
    packing: Any = None
    quantization: Any = None


def _vendor() -> type[_Vendor]:
    """x_postil: every field of the plan that OpenAI has no name for, with the plan's own types and bounds."""
    fields: dict[str, Any] = {}
    for name, info in Plan.model_fields.items():
        if name not in ELSEWHERE:
            kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
            fields[name] = (kind | None, None)
    return create_model("XPostil", __base__=_Vendor, __doc__="Our own options.", **fields)


XPostil = _vendor()
VENDOR_FIELDS = tuple(name for name in XPostil.model_fields if name in Plan.model_fields)


class CreateJob(Body):
    """An order for a fine-tuned model."""

    model: str = Field(min_length=1, max_length=255)
    training_file: str = Field(min_length=1, max_length=80)
    validation_file: str | None = Field(None, max_length=80)
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=2_147_483_647)
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    metadata: Metadata | None = None
    integrations: list[Integration] | None = Field(None, max_length=5)
    x_postil: XPostil | None = None  # type: ignore[valid-type]  # made above, from the plan


def order_of(body: CreateJob) -> Order:
    """Raises Refused: `unsupported_method`, `unsupported_parameter`, `conflicting_parameters`, `invalid_value`."""
    wanted = _hyperparameters(body)
    vendor: Any = body.x_postil or XPostil()
    settings = {**_settings(vendor, wanted), **_of_method(body, vendor)}
    integrations = [one.model_dump(exclude_none=True) for one in body.integrations or []]
    reading = {name: getattr(vendor, name) for name in READING}
    return Order(
        kind="training", model=body.model, training_file=body.training_file, validation_file=body.validation_file,
        suffix=body.suffix, seed=body.seed, settings=settings, preset=vendor.preset, priority=vendor.priority or 0,
        learning_rate_multiplier=wanted.learning_rate_multiplier, metadata=body.metadata or {},
        reading={name: value for name, value in reading.items() if value is not None},
        request={"method": (body.method or Method()).type, "hyperparameters": wanted.told(),
                 "integrations": integrations, "x_postil": _requested(vendor)},
    )  # fmt: skip


def _requested(vendor: Any) -> dict[str, Any]:
    """Our own options as the job shows them: of corrections, which may be thousands, how many there are."""
    shown: dict[str, Any] = vendor.model_dump(exclude_none=True, exclude={"edits", "without"})
    counts = {"edits": len(vendor.edits or {}), "without": len(vendor.without or [])}
    return {**shown, "corrections": counts} if any(counts.values()) else shown


def _hyperparameters(body: CreateJob) -> Hyperparameters:
    """Those of the method, or the deprecated ones beside it, which mean the same."""
    method = body.method or Method()
    if method.type == "reinforcement":
        raise refused("unsupported_method", param="method.type", method=method.type,
                      known=", ".join(name for name in METHODS if name != method.type))  # fmt: skip
    block = method.dpo if method.type == "dpo" else method.supervised
    told = block.hyperparameters if block else None
    new = Hyperparameters(**{name: getattr(told, name) for name in Hyperparameters.model_fields}) if told else None
    old, unsaid = body.hyperparameters, Hyperparameters()
    if new is not None and old is not None and unsaid not in (new, old) and new != old:
        raise refused("conflicting_parameters", param="hyperparameters", other=f"method.{method.type}.hyperparameters")
    return next((one for one in (new, old) if one is not None and one != unsaid), unsaid)


def _of_method(body: CreateJob, vendor: Any) -> dict[str, Any]:
    """What the plan calls that which OpenAI calls a method."""
    if body.method is None or body.method.type != "dpo":
        return {}
    if vendor.task not in (None, "dpo"):
        raise refused("conflicting_parameters", param="x_postil.task", other="method.type")
    told = body.method.dpo.hyperparameters if body.method.dpo else None
    beta = told.beta if told else None
    if beta is not None and vendor.dpo_beta not in (None, beta):
        raise refused("conflicting_parameters", param="x_postil.dpo_beta", other="method.dpo.hyperparameters.beta")
    return {"task": "dpo", **({} if beta is None else {"dpo_beta": beta})}


def _settings(vendor: Any, wanted: Hyperparameters) -> dict[str, Any]:
    """Plan fields by name."""
    for name in ("packing", "quantization"):
        if getattr(vendor, name) is not None:
            raise refused("unsupported_parameter", param=f"x_postil.{name}")
    if vendor.preset is not None and vendor.preset not in presets():
        raise refused("invalid_value", param="x_postil.preset", detail=", ".join(presets()))
    lora = vendor.lora or Lora()
    found = {
        "r": (lora.r, "lora.r"),
        "lora_alpha": (lora.alpha, "lora.alpha"),
        "lora_dropout": (lora.dropout, "lora.dropout"),
        "target_modules": (lora.target_modules, "lora.target_modules"),
        "save_steps": (vendor.checkpoint_every, "checkpoint_every"),
        **{name: (getattr(vendor, name), name) for name in VENDOR_FIELDS if name not in ("system", "instruction")},
    }  # fmt: skip
    settings = {"n_epochs": wanted.n_epochs, "batch_size": wanted.batch_size}
    for name, (value, said) in found.items():
        if value is not None:
            settings[name] = _checked(name, value, f"x_postil.{said}")
    return {name: value for name, value in settings.items() if value is not None}


def _checked(name: str, value: Any, param: str) -> Any:
    try:
        return check_settings({name: value})[name]
    except PlanError as error:
        raise Refused(error, param=param) from error
