import re

from postil.evaluate import neutral_texts


def test_forty_different_passages_half_chinese_half_english() -> None:
    texts = neutral_texts()
    chinese = [text for text in texts if re.search("[\u4e00-\u9fff]", text)]
    assert len(texts) == len(set(texts)) == 40
    assert len(chinese) == 20
    assert not any(re.search("[a-zA-Z]", text) for text in chinese)
    assert all(40 <= len(text) <= 250 for text in texts)


def test_the_first_few_hold_both_languages() -> None:
    """So that a caller who takes only some of them measures both."""
    assert len({bool(re.search("[\u4e00-\u9fff]", text)) for text in neutral_texts()[:4]}) == 2
