from __future__ import annotations

from pathlib import Path

import pytest

from postil.dataset.columns import find_column, find_layout
from postil.errors import DataError
from tests.dataset.made import PAIRS, accounted, codes, csv, said, workbook


def table(header: str, *rows: str) -> list[tuple[str, ...]]:
    return [tuple(header.split("|")), *(tuple(row.split("|")) for row in rows)]


@pytest.mark.parametrize(
    ("header", "question", "answer"),
    [
        ("问题|答案", 0, 1),
        ("答案|问题", 1, 0),
        ("序号|分类|客户问题（必填）|标准答复*", 2, 3),
        ("編號|問題|回覆", 1, 2),
        ("Question|Answer", 0, 1),
        ("ID|Category|Customer Question|Agent Response|Owner", 2, 3),
        ("customer_query|agent_reply", 0, 1),
        ("questionText|answerText", 0, 1),
        ("instrucAon|respone", 0, 1),
        ("用户|评价内容|商家回复", 1, 2),
        ("客户|客服", 0, 1),
        ("商品标题|主体", 0, 1),
        ("序号|类目|原标题（淘宝）|优化后标题|销量", 2, 3),
        ("Category|Product title|Optimized title", 1, 2),
        ("评价|情感", 0, 1),
        ("text|label", 0, 1),
        ("标题|产品|问题|答案", 2, 3),
        ("prompt|completion", 0, 1),
        ("题目|解答", 0, 1),
        ("买家|卖家", 0, 1),
        ("评论内容|是否违规", 0, 1),
        ("对话|标签", 0, 1),
    ],
)
def test_roles_by_name(header: str, question: int, answer: int) -> None:
    width = header.count("|") + 1
    body = [
        tuple("内容" if c not in (question, answer) else f"一句有点长的话，第{i}句" for c in range(width))
        for i in range(9)
    ]
    layout = find_layout([tuple(header.split("|")), *body])
    assert layout is not None and layout.header == 0
    assert (layout.of("question"), layout.of("answer")) == (question, answer)


def test_header_below_titles() -> None:
    layout = find_layout(
        [
            ("某店知识库", "", ""),
            ("更新：三月", "", ""),
            ("", "", ""),
            *table("编号|提问|解答", "1|甲？|乙。", "2|丙？|丁。"),
        ]
    )
    assert layout is not None and (layout.header, layout.of("question"), layout.of("answer")) == (3, 1, 2)


def test_no_header_is_no_header() -> None:
    layout = find_layout(PAIRS)
    assert layout is not None and layout.header is None and layout.guessed
    assert (layout.of("question"), layout.of("answer")) == (0, 1)


def test_answers_stand_left_of_questions_without_header() -> None:
    layout = find_layout([(answer, question) for question, answer in PAIRS])
    assert layout is not None and (layout.of("question"), layout.of("answer")) == (1, 0)


def test_unknown_headings_are_judged_by_content() -> None:
    rows = [("甲列", "乙列", "丙列"), *((str(i), q, a) for i, (q, a) in enumerate(PAIRS))]
    layout = find_layout(rows)
    assert layout is not None and layout.header == 0 and layout.guessed
    assert (layout.of("question"), layout.of("answer")) == (1, 2)


def test_category_is_not_the_answer_when_there_are_texts() -> None:
    rows = [("问题", "分类", "怎样说"), *((q, "售后", a * 2) for q, a in PAIRS)]
    layout = find_layout(rows)
    assert layout is not None and (layout.of("question"), layout.of("answer")) == (0, 2)


def test_numbers_alone_are_no_dialogue() -> None:
    assert find_layout([("a", "b"), ("1", "2"), ("3", "4")]) is None


def test_find_column_by_letter_text_and_neither() -> None:
    names = ("编号", "问题（必填）", "答案")
    assert [find_column(text, names) for text in ("B", "c", "问题", "问题（必填）")] == [1, 2, 1, 1]
    with pytest.raises(DataError, match="D"):
        find_column("D", names)


def test_overruled_columns(tmp_path: Path) -> None:
    content = "问题,答案,短答案\n" + "".join(f"{q},{a},短{i}\n" for i, (q, a) in enumerate(PAIRS))
    for answer in ("C", "短答案"):
        found = csv(tmp_path / "a.csv", content, columns={"answer": answer})
        assert found.columns["answer"] == "C" and said(found)[0][1] == ("assistant", "短0")
    with pytest.raises(DataError, match="没有的列"):
        csv(tmp_path / "a.csv", content, columns={"answer": "没有的列"})
    with pytest.raises(DataError):
        csv(tmp_path / "a.csv", content, columns={"colour": "C"})


def test_nothing_to_be_found_names_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        csv(tmp_path / "a.csv", "评论\n" + "".join(f"{q}\n" for q, _ in PAIRS))
    assert error.value.code == "no_columns" and "评论" in str(error.value) and "--question" in error.value.remedy("en")


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv", "序号,问题,答案,备注\n" + "".join(f"{i},{q},{a},看过\n" for i, (q, a) in enumerate(PAIRS))
    )
    (issue,) = [issue for issue in found.issues if issue.code == "columns_not_used"]
    assert "A 序号" in issue.message() and "D 备注" in issue.message() and issue.severity == "advice"


def test_sheets(tmp_path: Path) -> None:
    rows = [("问题", "答案"), *PAIRS]
    path = workbook(tmp_path / "a.xlsx", {"一月": rows, "二月": [(q + "二月", a) for q, a in rows]})
    path = workbook(tmp_path / "b.xlsx", {"一月": rows, "二月": [rows[0], *((q + "二月", a) for q, a in PAIRS)]})
    from postil.dataset import load

    with pytest.raises(DataError) as error:
        load(path)
    assert error.value.code == "several_sheets" and "一月, 二月" in str(error.value)
    found = load(path, sheet="二月")
    assert found.sheet == "二月" and said(found)[0][0][1].endswith("二月")
    accounted(found)


def test_a_sheet_of_examples_is_not_the_data(tmp_path: Path) -> None:
    from postil.dataset import load

    path = workbook(
        tmp_path / "a.xlsx", {"示例": [("问题", "答案"), ("这样问", "这样答")] * 4, "正式": [("问题", "答案"), *PAIRS]}
    )
    found = load(path)
    assert found.sheet == "正式" and "other_sheets_not_used" in codes(found)
    assert len(found.examples) == len(PAIRS)


def test_a_shop_replies_to_the_review_and_not_to_the_name_of_the_product() -> None:
    rows = [("商品名称", "评价内容", "商家回复")]
    rows += [(f"短袖T恤{n}", f"穿着舒服，第{n}次买", f"感谢您的第{n}次光临") for n in range(20)]
    layout = find_layout(rows)
    assert layout and layout.roles["question"] == (1,) and layout.roles["answer"] == (2,)


def test_the_same_name_in_every_row_asks_nothing() -> None:
    rows = [
        ("商品名称", "关键词", "文案"),
        *(("短袖T恤", f"卖点{n}，舒适{n}", f"夏天就穿它，第{n}款") for n in range(20)),
    ]
    layout = find_layout(rows)
    assert layout and layout.roles["question"] == (1,)


def test_the_parts_of_an_address_are_the_answer() -> None:
    rows = [("原始地址", "省", "市", "区", "收件人")]
    rows += [(f"广东省深圳市南山区学府路{n}号李先生{n}", "广东省", "深圳市", "南山区", f"李先生{n}") for n in range(20)]
    layout = find_layout(rows)
    assert layout and layout.roles["question"] == (0,) and layout.roles["answer"] == (1, 2, 3, 4) and layout.fields


def test_messages_of_a_ticket_system() -> None:
    rows = [("ticket_id", "requester", "subject", "comment_author", "comment_body")]
    for n in range(12):
        rows += [(str(n), "ann", f"Order {n}", "ann", f"Where is order {n}?")]
        rows += [(str(n), "ann", f"Order {n}", "Support Agent", f"Order {n} left today.")]
    layout = find_layout(rows)
    assert layout and (layout.of("conversation"), layout.of("speaker"), layout.of("message")) == (0, 3, 4)


def test_tables_side_by_side() -> None:
    rows = [
        ("问题", "答案", "", "问题", "答案"),
        *((f"怎么退{n}？", f"退{n}", "", f"多久{n}？", f"{n}天") for n in range(9)),
    ]
    layout = find_layout(rows)
    assert layout and layout.beside == ((3, 4),) and not layout.unused
    chosen = find_layout(rows, {"question": "A"})
    assert chosen and not chosen.beside


def test_ids_of_a_chat_log_stay_ids_though_they_look_like_texts() -> None:
    layout = find_layout([("会话ID", "角色", "内容"), *((f"那呢{n}？", "用户", f"好的{n}") for n in range(9))])
    assert layout and layout.of("conversation") == 0 and "question" not in layout.roles


def test_a_column_named_a_beside_the_answer_is_an_option() -> None:
    rows = [("题目", "A", "B", "答案"), *((f"第{n}题选哪个？", f"甲{n}", f"乙{n}", "AB"[n % 2]) for n in range(9))]
    layout = find_layout(rows)
    assert layout and layout.roles["answer"] == (3,)
    plain = find_layout([("Q", "A"), ("怎么退？", "七天内")])
    assert plain and plain.roles == {"question": (0,), "answer": (1,)}


def test_who_receives_belongs_to_the_parts_of_an_address() -> None:
    rows = [("收货信息", "姓名", "电话", "省份", "城市", "备注")]
    rows += [
        (f"李{n}，1380013{8000 + n}，广东省深圳市", f"李{n}", f"1380013{8000 + n}", "广东省", "深圳市", "急")
        for n in range(9)
    ]
    layout = find_layout(rows)
    assert layout and layout.fields and layout.roles["answer"] == (1, 2, 3, 4)
