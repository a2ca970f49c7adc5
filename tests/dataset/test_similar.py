from __future__ import annotations

import random
import time

from postil.dataset.similar import near_pairs, plain, without_common

LONG = (
    "这件衬衫用的是新疆长绒棉，洗后不易变形，夏天穿着凉快，领口加固过，机洗请装洗衣袋，晾在阴凉处，"
    "不要暴晒，熨烫时垫一块布，温度不要超过一百五十度"
)


def test_plain_forgets_marks_width_and_case() -> None:
    assert plain("ＡＢＣ， 怎么查物流？") == plain("abc怎么查物流?") == "abc怎么查物流"
    assert plain("？！") == plain("?!") != ""


def test_almost_equal_texts_are_found() -> None:
    assert list(near_pairs(["无关的一句话，说的是别的事情，和下面没有关系", LONG, LONG.replace("凉快", "凉爽")])) == [
        (1, 2)
    ]


def test_texts_that_only_look_alike_are_not() -> None:
    assert not list(near_pairs([LONG, LONG[::-1], LONG[: len(LONG) // 2], LONG.replace("一百五十度", "150度")]))
    assert not list(near_pairs([f"{LONG}尺码{size}" for size in (36, 37, 38)]))


def test_an_instruction_for_all_rows_does_not_make_them_alike() -> None:
    words = [f"{a}{b}伞{c}" for a in "红黄蓝绿紫" for b in "长短圆方" for c in "甲乙丙"]
    assert not list(near_pairs([LONG * 3 + word for word in words]))
    assert not list(near_pairs([word + LONG * 3 for word in words]))
    assert not any("衬衫" in text or "一百五十度" in text for text in without_common([LONG + word for word in words]))


def test_the_work_grows_with_the_rows_even_for_alike_texts() -> None:
    made = random.Random(5)
    texts = ["".join(made.choices("退换货快递优惠券尺码颜色材质", k=60)) for _ in range(3000)]
    texts += [LONG + "".join(made.choices("甲乙丙丁戊己庚辛", k=3)) for _ in range(3000)]
    began = time.process_time()
    list(near_pairs(texts))
    assert time.process_time() - began < 10
