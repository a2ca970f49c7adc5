"""What an adapter's config may say, as a schema: PEFT takes almost anything, and fails at it later and elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr, ValidationError

from postil.errors import AdapterError

LARGEST_ALPHA = 1e6  # times r; what is larger only ever makes numbers that are none
MAX_ENTRIES = 10_000  # of a list or a pattern

Number = Annotated[StrictInt | Annotated[FiniteFloat, Field(strict=True)], Field(ge=-LARGEST_ALPHA, le=LARGEST_ALPHA)]
Name = Annotated[StrictStr, Field(max_length=1000)]
Names = Annotated[list[Name], Field(max_length=MAX_ENTRIES)]
Count = Annotated[StrictInt, Field(ge=0, le=1 << 31)]
Share = Annotated[Number, Field(ge=0, le=1)]


class PeftConfig(BaseModel):
    """The keys that Postil or PEFT act upon; others may stand beside them."""

    model_config = ConfigDict(extra="allow")

    peft_type: Name | None = None
    task_type: Name | None = None
    base_model_name_or_path: Name | None = None
    revision: Name | None = None
    r: Annotated[StrictInt, Field(ge=1)] | None = None
    lora_alpha: Number | None = None
    lora_dropout: Share | None = None
    rank_pattern: Annotated[dict[Name, Annotated[StrictInt, Field(ge=1)]], Field(max_length=MAX_ENTRIES)] | None = None
    alpha_pattern: Annotated[dict[Name, Number], Field(max_length=MAX_ENTRIES)] | None = None
    target_modules: Name | Names | None = None
    exclude_modules: Name | Names | None = None
    feedforward_modules: Name | Names | None = None
    modules_to_save: Names | None = None
    target_parameters: Names | None = None
    layers_to_transform: Count | Annotated[list[Count], Field(max_length=MAX_ENTRIES)] | None = None
    layers_pattern: Name | Names | None = None
    bias: Literal["none", "all", "lora_only"] | None = None
    init_lora_weights: StrictBool | Name | None = None
    inference_mode: StrictBool | None = None
    fan_in_fan_out: StrictBool | None = None
    use_rslora: StrictBool | None = None
    use_dora: StrictBool | None = None
    use_qalora: StrictBool | None = None
    lora_bias: StrictBool | None = None
    ensure_weight_tying: StrictBool | None = None
    auto_mapping: dict[str, Any] | None = None
    loftq_config: dict[str, Any] | None = None
    layer_replication: Annotated[list[tuple[Count, Count]], Field(max_length=MAX_ENTRIES)] | None = None
    trainable_token_indices: list[Count] | dict[str, list[Count]] | None = None
    alora_invocation_tokens: list[Count] | None = None
    encoder_hidden_size: Count | None = None
    encoder_num_layers: Count | None = None
    encoder_dropout: Share | None = None
    prefix_projection: StrictBool | None = None
    postil_method: Name | None = None


def check_config(config: Mapping[str, Any], file: str) -> None:
    """Refuse a config in which a key has a value that it cannot have. Raises AdapterError `adapter_config`."""
    try:
        PeftConfig.model_validate(config)
    except ValidationError as refused:
        (key, *_), value = refused.errors()[0]["loc"], refused.errors()[0]["input"]
        raise AdapterError("adapter_config", file=file, key=str(key)[:60], value=str(value)[:60]) from refused
