"""The plan's fields as people meet them: listed with label and help, and given as `--set name=value`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from postil.errors import PlanError
from postil.locales import say
from postil.records import Plan

_GROUPS = ("all-linear", "mlp-only", "attention-only")
_LAYER = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z")
_YES = {"yes": True, "on": True, "是": True, "开": True, "no": False, "off": False, "否": False, "关": False}
_LAST = re.compile(r"last-[1-9]\d{0,3}\Z")
_DEVICE = re.compile(r"(cpu|mps|cuda(:\d{1,3})?)\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter. `type`: integer, number, boolean, string; `choices`: if it is one of a few words."""

    name: str
    label: str
    help: str
    type: str
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def fields(lang: str | None = None) -> list[Field]:
    """All fields of Plan in their order, from its JSON schema and the sentences in `locales/`."""
    properties = Plan.model_json_schema()["properties"]
    return [_field(name, schema, lang) for name, schema in properties.items()]


def read_settings(pairs: Iterable[str]) -> dict[str, str]:
    """ "name=value" texts as given after --set. Raises PlanError setting_form."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise PlanError("setting_form", text=pair)
        found[name.strip()] = value.strip()
    return found


def checked_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Both: what is no parameter, or no value of it, is said before any time is spent."""
    return check_settings(read_settings(pairs))


def check_settings(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides as values of the plan's own types.

    Raises PlanError: unknown_field with the nearest names, setting_type, setting_range, setting_choice.
    """
    return {name: _value(name, value) for name, value in overrides.items()}


def _value(name: str, text: Any) -> Any:
    if name not in Plan.model_fields:
        close = difflib.get_close_matches(name, Plan.model_fields, n=3, cutoff=0.5)
        raise PlanError("unknown_field", name=name, close=", ".join(close) or "-")
    info = Plan.model_fields[name]
    if info.annotation is bool and isinstance(text, str):
        text = _YES.get(text.lower(), text)
    if type(None) in get_args(info.annotation) and text == "":
        text = None
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        value = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(text)
    except ValidationError as refused:
        raise _refusal(name, text, refused) from refused
    _check_words(name, value)
    return value


def _refusal(name: str, text: Any, refused: ValidationError) -> PlanError:
    field, shown = _field(name, Plan.model_json_schema()["properties"][name], "en"), str(text)[:60]
    if field.choices:
        return PlanError("setting_choice", name=name, value=shown, choices=", ".join(field.choices))
    if refused.errors()[0]["type"].startswith(("greater_than", "less_than")):
        return PlanError("setting_range", name=name, value=shown, minimum=_shown(field.minimum),
                         maximum=_shown(field.maximum))  # fmt: skip
    return PlanError(f"setting_{field.type}", name=name, value=shown)


def _check_words(name: str, value: Any) -> None:
    """Fields whose text has a form that the schema cannot say."""
    if name == "target_modules":
        names = [part.strip() for part in value.split(",")]
        if value not in _GROUPS and not all(_LAYER.match(part) for part in names):
            raise PlanError("setting_choice", name=name, value=value[:60], choices=", ".join(_GROUPS))
    if name == "trained_modules" and not (
        _LAST.match(value) or all(_LAYER.match(part.strip()) for part in value.split(","))
    ):
        raise PlanError("setting_choice", name=name, value=value[:60], choices="last-2, head, lm_head")
    if name == "device" and not _DEVICE.match(value):
        raise PlanError("setting_choice", name=name, value=value[:60], choices="cpu, cuda, mps")


def _field(name: str, schema: Mapping[str, Any], lang: str | None) -> Field:
    """`schema` is the property's JSON schema; an optional one stands in its first alternative."""
    core = {**schema, **schema["anyOf"][0]} if "anyOf" in schema else schema
    choices = core.get("enum") or ([core["const"]] if "const" in core else [])
    return Field(
        name=name,
        label=say(f"plan.{name}.label", lang),
        help=say(f"plan.{name}.help", lang),
        type=core.get("type", "string"),
        default=schema.get("default"),
        minimum=core.get("minimum", core.get("exclusiveMinimum")),
        maximum=core.get("maximum", core.get("exclusiveMaximum")),
        choices=tuple(choices),
    )


def _shown(limit: float | None) -> str:
    return "-" if limit is None else f"{limit:g}" if limit < 1e6 else str(int(limit))
