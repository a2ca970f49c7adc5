"""Answers: the same alone and in a batch, each ending by itself, and those that plain PEFT gives."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from postil.model.adapt import CONFIG, WEIGHTS, attach, config_bytes, open_adapter, to_bytes, weights_of
from postil.model.decode import decodes
from postil.model.generate import generate, stream, tried, written
from postil.records import Message
from postil.store import write_bytes
from tests.models import FAMILIES, opened, plan, titles

QUESTIONS = [example.question for example in titles(5)] + [(Message("user", "hi"),)]


def prompts_of(loaded):
    return [loaded.template.prompt(question) for question in QUESTIONS]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("deepseek", "untemplated")])
def test_a_batch_gives_the_answers_of_one_at_a_time(base, family):
    """Padding on the left, also beyond a sliding window."""
    loaded = opened(base(family))
    together = generate(loaded, prompts_of(loaded), max_new_tokens=10)
    alone = [generate(loaded, [prompt], max_new_tokens=10)[0] for prompt in prompts_of(loaded)]
    assert together == alone and len({answer.text for answer in together}) > 1


@pytest.fixture
def says(monkeypatch):
    """Let the model write `script[row]` as the new tokens of each row."""

    def told(script):
        rows = iter(script)

        class Scripted:
            def __init__(self, how):
                self.left = iter(next(rows))

        monkeypatch.setattr("postil.model.generate.Chooser", Scripted)
        monkeypatch.setattr("postil.model.generate.choose_all", lambda them, logits: [next(one.left) for one in them])

    return told


def test_each_row_stops_at_its_own_end(base, says):
    loaded = opened(base("qwen2"))
    word, end, other = loaded.tokenizer.encode("dress")[0], *loaded.template.stop_ids
    prompts = [loaded.template.prompt((Message("user", "hi"),))] * 3
    script = [[word, end, word], [word, word, word, word, word], [other, word]]
    says(script)
    short, cut, empty = generate(loaded, prompts, max_new_tokens=4)
    text = loaded.tokenizer.decode([word])
    assert (short.text, short.tokens, short.stopped) == (text.strip(), 2, True)
    assert (cut.text, cut.tokens, cut.stopped) == ((text * 4).strip(), 4, False)
    assert (empty.text, empty.tokens, empty.stopped) == ("", 1, True)


def test_reasoning_that_the_prompt_has_opened_is_marked(base, says):
    loaded = opened(base("deepseek"))
    ids = [*loaded.tokenizer.encode("so\n</think>\n\ndress", add_special_tokens=False), loaded.template.end_id]
    says([ids])
    (answer,) = generate(loaded, [loaded.template.prompt((Message("user", "q"),))], max_new_tokens=40)
    assert answer.text == "<think>\nso\n</think>\n\ndress" and answer.stopped


def test_streaming_gives_the_same_answer_in_whole_characters(base, says):
    loaded = opened(base("llama3"))
    ids = loaded.tokenizer.encode("碎花🙂 dress", add_special_tokens=False)
    pieces = []
    says([[*ids, loaded.template.end_id]])
    answer = stream(loaded, loaded.template.prompt(QUESTIONS[0]), pieces.append, max_new_tokens=60)
    assert answer.text == "碎花🙂 dress" == "".join(pieces) and answer.stopped
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces) and len(pieces) > 3


def test_sampling_depends_on_the_seed_alone(base):
    loaded = opened(base("qwen2"))
    how = {"max_new_tokens": 8, "temperature": 1.5, "top_p": 0.95}
    one, again, other = (generate(loaded, prompts_of(loaded)[:2], seed=seed, **how) for seed in (1, 1, 2))
    assert one == again != other


def test_a_drawn_answer_does_not_depend_on_its_companions(base):
    loaded = opened(base("qwen2"))
    how = {"max_new_tokens": 8, "temperature": 1.5, "top_p": 0.95, "seed": 3}
    together = generate(loaded, prompts_of(loaded), **how)
    assert together == [generate(loaded, [prompt], **how)[0] for prompt in prompts_of(loaded)]


@pytest.mark.parametrize(("family", "which"), [("mistral", 2), ("qwen3", 0)])
def test_streaming_gives_what_is_given_at_once(base, family, which):
    """Also of a model whose sliding window is shorter than the text, which transformers' own loop answers."""
    loaded = opened(base(family))
    prompt, pieces = prompts_of(loaded)[which], []
    answer = stream(loaded, prompt, pieces.append, max_new_tokens=12)
    assert answer == generate(loaded, [prompt], max_new_tokens=12)[0]
    assert "".join(pieces).strip() == answer.text and len(pieces) > 3


def test_progress_is_told_to_the_last(base):
    loaded, told = opened(base("qwen2")), []
    generate(loaded, prompts_of(loaded), max_new_tokens=2, tell=told.append)
    assert told == sorted(told) and told[-1] == len(QUESTIONS)
    assert generate(loaded, [], max_new_tokens=2) == []


@pytest.mark.parametrize("family", ["qwen2", "gemma3", "phi", "llama2", "untemplated"])
def test_plain_peft_gives_the_same_tokens(base, family, tmp_path):
    """The directory that we write, opened by those who have never heard of us."""
    loaded = opened(base(family))
    adapted = attach(loaded.model, plan(), str(base(family)))
    weights = weights_of(adapted)
    for name, tensor in weights.items():
        weights[name] = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1
    write_bytes(tmp_path / WEIGHTS, to_bytes(weights))
    write_bytes(tmp_path / CONFIG, config_bytes(adapted))
    loaded.tokenizer.save_pretrained(str(tmp_path))

    ours = opened(base(family))
    untouched = generate(ours, prompts_of(ours)[:3], max_new_tokens=12)
    ours.model = open_adapter(ours.model, tmp_path)
    answers = generate(ours, prompts_of(ours)[:3], max_new_tokens=12)
    assert answers != untouched

    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(base(family))), str(tmp_path))
    for question, answer in zip(QUESTIONS[:3], answers, strict=True):
        if family == "untemplated":  # Postil's own template travels with the tokenizer
            assert tokenizer.chat_template is not None
        messages = [{"role": m.role, "content": m.content} for m in question]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = plain.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
        text = tokenizer.decode(out, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}").strip()
        assert text == answer.text  # a character cut in two at the limit is left out
        assert len(out) == answer.tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_a_beginning_that_all_prompts_share_changes_no_answer(base, family, monkeypatch):
    loaded = opened(base(family))
    beginning = list(range(5, 45))
    prompts = [[*beginning, *[50 + i] * (2 + 3 * i)] for i in range(4)]
    shared = generate(loaded, prompts, max_new_tokens=10)
    monkeypatch.setattr("postil.model.generate.FEWEST_SHARED", 1000)
    assert shared == generate(loaded, prompts, max_new_tokens=10)


def test_a_shared_beginning_is_read_once(base):
    loaded = opened(base("qwen2"))
    assert decodes(loaded.model, loaded.device)
    read = []
    hook = loaded.model.get_input_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0].numel()))
    generate(loaded, [[*range(5, 105), 7 + i] for i in range(8)], max_new_tokens=1)
    hook.remove()
    assert sum(read) == 100 + 8


@pytest.mark.parametrize("family", ["llama3", "qwen3", "phi", "deepseek"])
def test_a_reference_is_scored_and_spares_writing_what_is_as_in_it(base, family, monkeypatch):
    """Its losses are those of the plain model, and the answers those that are written without it."""
    loaded = opened(base(family))
    prompts = [[*range(5, 30), *[60 + i] * (1 + 7 * i)] for i in range(8)]
    own = written(loaded, prompts, max_new_tokens=12)
    monkeypatch.setattr("postil.model.generate.most_logits", lambda model, device: 7)  # read in parts
    references = [
        own[0],
        own[1][:5], [*own[2][:5], (own[2][5] + 1) % 300, *own[2][6:]], [*own[3], 7, 8, 9], [9, 8, 7], [own[5][0]],
        [], [9] * 40,
    ]  # fmt: skip
    heard = []
    answers, losses = tried(loaded, prompts, references, max_new_tokens=12, tell=heard.append)
    assert answers == generate(loaded, prompts, max_new_tokens=12) and heard[-1] == 8
    for prompt, reference, found in zip(prompts, references, losses, strict=True):
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([[*prompt, *reference]]), use_cache=False).logits[0]
        said = torch.log_softmax(logits[len(prompt) - 1 : -1].float(), -1)
        assert torch.allclose(found, -said[range(len(reference)), reference], atol=1e-4)


def test_a_reference_ends_where_the_model_would(base, monkeypatch):
    """Though it goes on behind the token that ends a turn, or ends where the model would not."""
    loaded = opened(base("qwen2"))
    prompts = prompts_of(loaded)[:3]
    own = written(loaded, prompts, max_new_tokens=12)
    monkeypatch.setattr(loaded.template, "stop_ids", (own[0][4],))
    plain = generate(loaded, prompts, max_new_tokens=12)
    assert plain[0].stopped and plain[0].tokens == own[0].index(own[0][4]) + 1
    assert tried(loaded, prompts, [own[0], own[1][:-1], [own[0][4]]], max_new_tokens=12)[0] == plain


def test_what_is_as_in_a_reference_takes_no_pass(base):
    loaded = opened(base("qwen2"))
    prompts = prompts_of(loaded)
    own = written(loaded, prompts, max_new_tokens=12)
    passes = []
    hook = loaded.model.register_forward_hook(lambda *_: passes.append(1))
    tried(loaded, prompts, own, max_new_tokens=12)
    hook.remove()
    assert len(passes) <= 3  # the beginning that all share, the prompts, the references
