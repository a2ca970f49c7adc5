"""Any directory with config, safetensors and tokenizer is a base model; what is unsafe or broken is refused."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from postil.errors import ModelError, PlanError
from postil.model.load import load_base, load_template, stored_dtypes
from postil.records import Message
from tests.models import FAMILIES


@pytest.fixture
def copied(base, tmp_path):
    """A copy of a tiny model, to be spoilt."""

    def copy(family="qwen2"):
        return shutil.copytree(base(family), tmp_path / family)

    return copy


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_opens_with_no_code_for_it(base, family):
    loaded = load_base(base(family))
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.template.end_id in loaded.template.stop_ids
    assert loaded.template.own == (family == "untemplated")


def test_the_stop_tokens_of_its_makers_are_kept(base):
    assert len(load_template(base("gemma3")).stop_ids) == 2
    assert load_template(base("gemma3")).stop_ids[0] == load_template(base("gemma3")).end_id


def test_another_dtype(base):
    assert {p.dtype for p in load_base(base("qwen2"), dtype="bfloat16").model.parameters()} == {torch.bfloat16}


def test_the_base_has_no_dropout_of_its_own_even_while_it_trains(base):
    """Phi's config asks for 10 %: a frozen base must not flicker, or resuming and measuring would be up to chance."""
    model = load_base(base("phi")).model.train()
    ids = torch.arange(10, 40)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def refused(path):
    with pytest.raises(ModelError) as error:
        load_base(path)
    assert error.value.cause("zh") and error.value.remedy("en")
    return error.value


def test_weights_that_are_missing_are_not_made_up(copied):
    path = copied()
    file = path / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in sorted(weights) if "mlp" in name)
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    error = refused(path)
    assert error.code == "weights_incomplete" and error.values["name"] == name


def test_weights_of_another_size_are_refused(copied):
    path = copied()
    change(path / "config.json", hidden_size=64)
    assert refused(path).code == "model_load_failed"


@pytest.mark.parametrize(
    ("file", "values", "code"),
    [
        ("config.json", {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}, "unsafe_config"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tokenization.Evil", None]}}, "unsafe_config"),
        ("config.json", {"model_type": "llama\nimport os"}, "unsafe_config"),
        ("config.json", {"model_type": "no_such_model"}, "unknown_architecture"),
    ],
)
def test_attack_02_what_is_unsafe_is_refused_before_any_library_sees_it(copied, file, values, code):
    path = copied()
    change(path / file, **values)
    (path / "modeling.py").write_text("raise SystemExit('run!')")
    assert refused(path).code == code


def test_attack_01_pickled_weights_alone_are_refused(copied):
    path = copied()
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    assert refused(path).code == "unsafe_weights"


def test_a_directory_without_tokenizer_is_refused(copied):
    path = copied()
    for file in path.glob("tokenizer*"):
        file.unlink()
    assert refused(path).code == "no_tokenizer"


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 5}', ""])
def test_a_broken_tokenizer_is_refused(copied, text):
    path = copied("llama3")
    (path / "tokenizer.json").write_text(text)
    assert refused(path).code in ("model_load_failed", "config_unreadable")


BREAKS_OUT = (
    "{{ lipsum.__globals__['os'].mkdir('CANARY') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir('CANARY') }}",
    "{{ joiner.__init__.__globals__['__builtins__']['open']('CANARY', 'w') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(namespace) }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').mkdir('CANARY') }}",
    "{{ (messages | attr('__class__') | attr('__base__')).__subclasses__() }}",
    "{% set x = raise_exception.__globals__ %}{{ x['os'].mkdir('CANARY') }}",
)  # fmt: skip


@pytest.mark.parametrize("payload", BREAKS_OUT)
def test_attack_03_a_hostile_chat_template_cannot_leave_its_sandbox(copied, tmp_path, payload):
    path = copied("llama3")
    canary = tmp_path / "canary"
    text = payload.replace("CANARY", str(canary))
    (path / "chat_template.jinja").write_text(text + "{{ messages[-1].content }}")
    try:
        written = load_template(path).prompt_text([Message("user", "Hi")])
    except ModelError as error:
        assert error.code in ("template_refuses", "template_drops_answer", "template_unbounded")
    else:  # what it asked for was nothing
        assert "<class" not in written and "globals" not in written
    assert not canary.exists()


BOMBS = {
    "nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "much text": "{{ 'a' * 10**10 }}",
    "text piece by piece": "{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    "a macro of itself": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a large number": "{{ 9**(9**9) }}",
    "loops in loops": "{% for a in messages %}" * 9 + "{% endfor %}" * 9,
    "only in a long dialogue": "{% if messages | length > 20 %}{{ 'a' * 10**10 }}{% endif %}",
}  # fmt: skip


SOON = ("much text", "text piece by piece")  # those that take no time to find out


@pytest.mark.parametrize(
    "name", [name if name in SOON else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_attack_04_a_template_that_does_not_end_is_refused_soon(copied, name):
    path = copied("llama3")
    (path / "chat_template.jinja").write_text(BOMBS[name] + "{{ messages[-1].content }}")
    started = time.monotonic()
    assert refused(path).code == "template_unbounded"
    assert time.monotonic() - started < 40


def test_attack_04_macros_loops_and_products_of_honest_templates_pass(copied):
    path = copied("llama3")
    honest = (
        "{% macro line(m) %}{{ '=' * 3 }}{{ m.role }}: {{ m.content }}<|eot_id|>{% endmacro %}"
        "{% for i in range(messages | length) %}{{ line(messages[i]) }}{% endfor %}"
    )
    (path / "chat_template.jinja").write_text(honest)
    assert load_template(path).prompt_text([Message("user", "Hi")]) == "===user: Hi<|eot_id|>"


# ── what is not done twice ──


def test_a_template_is_read_once_while_its_files_are_the_same(copied):
    path = copied("qwen3")
    first = load_template(path)
    assert load_template(path) is first and load_base(path).template is first
    assert load_template(path, thinking=True) is not first and first.identity
    change(path / "generation_config.json", eos_token_id=[1, 2, 3])
    again = load_template(path)
    assert again is not first and again.identity != first.identity


def test_weights_stay_in_their_file_unless_they_are_converted(base):
    """Mapped tensors lie where the file lies in memory, copies do not; and a plan of another dtype can be told so."""
    path = base("qwen2")
    assert stored_dtypes(path) == {"F32"}
    weight = load_base(path).model.get_input_embeddings().weight
    assert _mapped(weight, path)
    assert not _mapped(load_base(path, dtype="bfloat16").model.get_input_embeddings().weight, path)


def _mapped(tensor, path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what is mapped")
    for line in maps.read_text("utf-8").splitlines():
        if line.endswith(str((path / "model.safetensors").resolve())):
            start, end = (int(one, 16) for one in line.split()[0].split("-"))
            if start <= tensor.data_ptr() < end:
                return True
    return False


def test_a_device_that_is_not_here_is_refused(base):
    with pytest.raises(PlanError) as error:
        load_base(base("qwen2"), device="cuda:99")
    assert error.value.code == "device_missing" and "cuda:99" in error.value.cause("en")
