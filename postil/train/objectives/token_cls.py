"""The tag of each unit of a text."""

from __future__ import annotations

from postil.train.objectives.seq_cls import SeqCls


class TokenCls(SeqCls):
    """Cross-entropy of the BIO tags. A unit (a Chinese character, a word) is learned at its last token, once; the
    tokens before it, and the first reading of a decoder, are read only."""
