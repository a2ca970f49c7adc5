import pytest

from postil.errors import PlanError
from postil.plan.schema import check_settings, fields, read_settings
from postil.records import Plan


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_field_of_the_plan_has_a_label_and_a_help_text(lang):
    listed = fields(lang)
    assert [field.name for field in listed] == list(Plan.model_fields)
    assert all(field.label and field.help for field in listed)


def test_types_limits_and_choices_come_from_the_schema():
    found = {field.name: field for field in fields("en")}
    assert (found["r"].type, found["r"].minimum, found["r"].maximum, found["r"].default) == ("integer", 1, 1024, 8)
    assert found["learning_rate"].type == "number" and found["learning_rate_probe"].type == "boolean"
    assert "cosine" in found["lr_scheduler"].choices
    assert found["system"].type == "string" and found["system"].default is None


@pytest.mark.parametrize(("name", "text", "value"), [
    ("r", "16", 16), ("learning_rate", "2e-4", 2e-4), ("learning_rate_probe", "false", False),
    ("learning_rate_probe", "否", False), ("gradient_checkpointing", "是", True), ("kind", "chat", "chat"),
    ("system", "你是客服", "你是客服"), ("system", "", None), ("target_modules", "q_proj, v_proj", "q_proj, v_proj"),
    ("device", "cuda:1", "cuda:1"), ("lora_alpha", 32, 32.0),
])  # fmt: skip
def test_texts_become_values_of_the_right_type(name, text, value):
    found = check_settings({name: text})[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("name", "text", "code"), [
    ("learning_rat", "1", "unknown_field"), ("r", "many", "setting_integer"), ("r", "8.5", "setting_integer"),
    ("r", "0", "setting_range"), ("r", "100000", "setting_range"), ("learning_rate", "fast", "setting_number"),
    ("learning_rate", "nan", "setting_number"), ("learning_rate", "inf", "setting_number"),
    ("learning_rate", "-1", "setting_range"), ("learning_rate_probe", "perhaps", "setting_boolean"),
    ("lr_scheduler", "steep", "setting_choice"), ("kind", "poem", "setting_choice"),
    ("target_modules", "../../etc", "setting_choice"), ("target_modules", "", "setting_choice"),
    ("device", "tpu", "setting_choice"), ("bias", "all", "setting_choice"),
])  # fmt: skip
def test_what_is_no_value_is_refused_with_the_cause(name, text, code):
    with pytest.raises(PlanError) as refused:
        check_settings({name: text})
    assert refused.value.code == code
    assert refused.value.cause("zh") and refused.value.remedy("en")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PlanError) as refused:
        check_settings({"epochs": "3"})
    assert "n_epochs" in refused.value.values["close"]


def test_settings_are_read_from_name_and_value():
    assert read_settings(["r=16", "system=a=b"]) == {"r": "16", "system": "a=b"}
    for wrong in ("r", "=3", ""):
        with pytest.raises(PlanError):
            read_settings([wrong])
