"""Tiny random encoder-decoders, T5's and BART's kind, with tokenizers of their own; see `models.py`."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import decoders as written
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from postil.records import Example
from tests.models import LINES, dialogue

T5_MARKS, BART_MARKS = ("<pad>", "</s>", "<unk>"), ("<s>", "<pad>", "</s>", "<unk>")


def build_t5(directory: Path, *, gated: bool = True) -> Path:
    """Gated as T5 1.1 and mT5 are, with a head of its own; or as the first T5 was, head and words tied."""
    tokenizer = _spaced()
    torch.manual_seed(5)
    kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if gated else {}
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, dropout_rate=0.1, initializer_factor=0.5, **kind,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def build_bart(directory: Path) -> Path:
    """Learned positions, a decoder that begins with the end token, a tokenizer that writes <s> … </s>."""
    tokenizer = _byte_level()
    torch.manual_seed(6)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=256,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2, init_std=0.15,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _spaced() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.NFKC()
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = written.Metaspace()
    characters = sorted(set("".join(LINES) + "0123456789abcdefghijklmnopqrstuvwxyz，。！"))
    trainer = trainers.UnigramTrainer(vocab_size=320, special_tokens=list(T5_MARKS), unk_token="<unk>",
                                      initial_alphabet=characters, show_progress=False)  # fmt: skip
    raw.train_from_iterator(LINES * 4, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
                                   clean_up_tokenization_spaces=False)  # fmt: skip


def _byte_level() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = written.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(BART_MARKS), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(LINES, trainer)
    raw.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in BART_MARKS])
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                   unk_token="<unk>", clean_up_tokenization_spaces=False)  # fmt: skip


def rewrites(count: int) -> list[Example]:
    """Sources of different lengths and what is left of them."""
    words = ("dress", "tea cup", "case", "order", "title", "product")
    return [
        dialogue(("user", f"the title says {words[i % 6]} {'so it is ' * (i % 3)}sent"), ("assistant", words[i % 6]),
                 rows=(i + 2,))
        for i in range(count)
    ]  # fmt: skip
