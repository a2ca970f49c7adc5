"""Tiny random base models, one for each family and kind of chat template, each made in well under a second.

The weights mean nothing; the architectures, the tokenizers and the way in which the templates write a dialogue are
those of real models. The templates are our own, in the style of their makers'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from postil.model.load import Loaded, load_base
from postil.records import Example, Message, Plan

LINES = (
    "蓝色连衣裙 女 夏季新款 收腰显瘦 碎花雪纺长裙",
    "请从商品标题中提取核心产品词，只回答产品词。",
    "您好，请问有什么可以帮您？已为您登记工单，闭环后通知您。",
    "Name the product in this title. Answer with the product alone.",
    "system user assistant You are a helpful assistant. Today Date: 26 Jul 2024",
    "The order was sent yesterday; it will be with you in three days.",
    "reasoning: the title says dress, so it is a dress. think Assistant: User:",
)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 2048, "initializer_range": 0.15}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2}

CHATML = """\
{%- if messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- if loop.first and tools %}{{ '<|im_start|>system\\n# Tools\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN3 = """\
{%- set last = namespace(query=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set last.query = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- set parts = message.content.split('</think>') %}
{%- set said = parts[-1].lstrip('\\n') %}
{%- set thought = parts[0].split('<think>')[-1].strip('\\n') if parts | length > 1 else '' %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.index0 > last.query and (loop.last or thought) %}
{{- '<think>\\n' + thought + '\\n</think>\\n\\n' + said }}
{%- else %}{{ said }}{% endif %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

LLAMA2 = """\
{%- if messages[0]['role'] == 'system' %}
{%- set start = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}
{%- else %}{% set start = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must take turns: user, assistant, user, ...') }}
{%- endif %}
{%- set content = start + message['content'] if loop.first else message['content'] %}
{%- if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

LLAMA3 = """\
{%- if not date_string is defined %}
{%- if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] | trim %}{% set rest = messages[1:] %}
{%- else %}{% set said = '' %}{% set rest = messages %}{% endif %}
{{- bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' }}
{{- said + '<|eot_id|>' }}
{%- for message in rest %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}
{%- endfor %}"""

GEMMA = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set start = messages[0]['content'] + '\\n\\n' %}{% set rest = messages[1:] %}
{%- else %}{% set start = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + (start if loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

PHI3 = """\
{%- for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

DEEPSEEK = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{{ message['content'] }}
{%- elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}
{%- else %}
{%- set said = message['content'].split('</think>')[-1] %}
{{- '<｜Assistant｜>' + said + '<｜end▁of▁sentence｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""


@dataclass(frozen=True)
class Family:
    """A kind of base model. `marks`: special tokens; `plain_marks`: added tokens that are not special."""

    config: str
    sizes: Mapping[str, Any]
    template: str | None
    marks: Sequence[str]
    eos: str
    stops: Sequence[str] = ()  # in generation_config.json
    bos: str | None = None
    pad: str | None = None
    plain_marks: Sequence[str] = ()
    spaced: bool = False  # a tokenizer of sentencepiece's kind, which puts a space before the first word


THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>")
FAMILIES = {
    "llama3": Family("LlamaConfig", {**GROUPED, "tie_word_embeddings": True}, LLAMA3,
                     ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
                     "<|eot_id|>", ("<|end_of_text|>", "<|eot_id|>"), "<|begin_of_text|>"),
    "llama2": Family("LlamaConfig", SIZES, LLAMA2, ("<unk>", "<s>", "</s>"), "</s>", ("</s>",), "<s>", spaced=True),
    "qwen2": Family("Qwen2Config", GROUPED, CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>",
                    ("<|im_end|>", "<|endoftext|>"), pad="<|endoftext|>", plain_marks=THINK),
    "qwen3": Family("Qwen3Config", {**GROUPED, "head_dim": 16, "tie_word_embeddings": True}, QWEN3,
                    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", ("<|im_end|>", "<|endoftext|>"),
                    pad="<|endoftext|>", plain_marks=THINK),
    "mistral": Family("MistralConfig", {**GROUPED, "sliding_window": 24}, MISTRAL, ("<unk>", "<s>", "</s>"), "</s>",
                      ("</s>",), "<s>", pad="</s>", spaced=True),
    "gemma3": Family("Gemma3TextConfig",
                     {**GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 24,
                      "layer_types": ["sliding_attention", "full_attention"]},
                     GEMMA, ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<eos>",
                     ("<eos>", "<end_of_turn>"), "<bos>", "<pad>", plain_marks=("<b>", "</b>")),
    "phi": Family("PhiConfig", {**SIZES, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attention_dropout": 0.1}, CHATML,
                  ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", ("<|im_end|>",), pad="<|im_end|>"),
    "phi3": Family("Phi3Config", GROUPED, PHI3,
                   ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>",
                   ("<|endoftext|>", "<|end|>"), "<s>", "<|endoftext|>"),
    "deepseek": Family("Qwen2Config", GROUPED, DEEPSEEK, ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
                       "<｜end▁of▁sentence｜>", ("<｜end▁of▁sentence｜>",), "<｜begin▁of▁sentence｜>",
                       "<｜end▁of▁sentence｜>", plain_marks=("<｜User｜>", "<｜Assistant｜>", *THINK)),
    "untemplated": Family("LlamaConfig", GROUPED, None, ("<unk>", "<s>", "</s>"), "</s>", ("</s>",), "<s>"),
}  # fmt: skip


def build(name: str, directory: Path, **sizes: int) -> Path:
    """Write the tiny model of a family into `directory`; the same bytes every time. sizes: other than the family's."""
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    special = {key: tokenizer.convert_tokens_to_ids(text) if text else None
               for key, text in (("bos", family.bos), ("eos", family.eos), ("pad", family.pad))}  # fmt: skip
    config = getattr(transformers, family.config)(
        vocab_size=len(tokenizer), bos_token_id=special["bos"], eos_token_id=special["eos"],
        pad_token_id=special["pad"], **{**family.sizes, **sizes},
    )  # fmt: skip
    torch.manual_seed(sum(name.encode()))
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(text) for text in family.stops]
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def tokenizer_of(family: Family) -> PreTrainedTokenizerFast:
    """Byte-level BPE of about 400 tokens, or sentencepiece's kind of it, with the family's special tokens."""
    raw = _spaced(family) if family.spaced else _byte_level(family)
    raw.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in family.marks])
    raw.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in family.plain_marks])
    names = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, chat_template=family.template, clean_up_tokenization_spaces=False,
        **{key: text for key, text in names.items() if text},
    )  # fmt: skip


def _byte_level(family: Family) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(family.marks), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(LINES, trainer)
    return raw


def _spaced(family: Family) -> Tokenizer:
    """Metaspace with byte fallback, as Llama-2 and Mistral have it."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    learned.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=250, show_progress=False))
    told = json.loads(learned.to_str())["model"]
    names = [*family.marks, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(told["vocab"], key=told["vocab"].get)]
    raw = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [tuple(pair) for pair in told["merges"]],
                               unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # fmt: skip
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])  # fmt: skip
    return raw


# ── data ──

SYSTEM = "Name the product in this title. Answer with the product alone. 请从商品标题中提取核心产品词。"


def titles(count: int) -> list[Example]:
    """One question and one answer each, all with the same system prompt."""
    products = ("连衣裙", "dress", "保温杯", "tea cup", "手机壳", "雪纺长裙")
    made = []
    for i in range(count):
        product = products[i % len(products)]
        title = f"{i} 新款 {'夏季 ' * (i % 4)}{product} 女"
        made.append(dialogue(("system", SYSTEM), ("user", title), ("assistant", product), rows=(i + 2,)))
    return made


def dialogue(*said: tuple[Any, ...], rows: tuple[int, ...] = (2,), tools: tuple[dict[str, Any], ...] = ()) -> Example:
    """An example of (role, content) or (role, content, weight)."""
    return Example(tuple(Message(*part) for part in said), rows, tools=tools)


CHAT = dialogue(
    ("system", "You are the shop's assistant."),
    ("user", "Where is my order?"), ("assistant", "It was sent yesterday."),
    ("user", "谢谢，什么时候到？"), ("assistant", "三天之内。"),
    ("user", "ok"), ("assistant", "Anything else?"),
    rows=(7, 8, 9),
)  # fmt: skip
REASONED = dialogue(
    ("user", "What is it?"), ("assistant", "<think>\nthe title says dress\n</think>\n\ndress"), rows=(4,)
)  # fmt: skip


def plan(**values: Any) -> Plan:
    """A plan for tiny models: few tokens, one thread, nothing probed."""
    return Plan(**{"learning_rate_probe": False, "r": 4, "threads": 1, "max_length": 512, **values})


def opened(path: Path, *, thinking: bool = False, dtype: str = "float32") -> Loaded:
    return load_base(path, thinking=thinking, dtype=dtype)


def in_16_bits(model: torch.nn.Module, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Module:
    """The same model with the numbers that this type has; most open models are stored in one of 16 bits."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
    return model


Build = Callable[[str], Path]


# ── encoders ──


def build_encoder(directory: Path) -> Path:
    """A tiny BERT as its makers publish it: a model for masked words, a tokenizer with marks, no chat template."""
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    text = " ".join(LINES).lower()
    signs, words = sorted(set(text) - {" "}), sorted(set(re.findall(r"[a-z]+", text)))
    known = dict.fromkeys(
        [*marks, *signs, *(f"##{sign}" for sign in signs), *words]
    )  # not trained: ties fall by chance
    raw = Tokenizer(models.WordPiece({name: i for i, name in enumerate(known)}, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(mark, raw.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    raw.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), pad_token_id=0, **{**SIZES, "max_position_embeddings": 256}
    )
    transformers.BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
