from __future__ import annotations

import json
from pathlib import Path

import pytest

from postil.dataset import load
from tests.dataset.made import PAIRS, accounted, codes, csv, said, workbook


def test_two_header_rows_and_a_closing_note(tmp_path: Path) -> None:
    rows = [("客服知识库", None, None, None), ("基本", None, "内容", None), ("序号", "类目", "问题", "答案")]
    rows += [(i, "售后", q, a) for i, (q, a) in enumerate(PAIRS, 1)]
    rows += [("注：仅供内部使用", None, None, None)]
    path = workbook(
        tmp_path / "a.xlsx", {"S": rows}, [("S", "A1:D1"), ("S", "A2:B2"), ("S", "C2:D2"), ("S", "A16:D16")]
    )
    found = load(path)
    accounted(found)
    assert found.header_row == 3 and len(found.examples) == len(PAIRS)
    assert [(left.row, left.code) for left in found.dropped] == [(16, "note_row")]
    assert {left.row for left in found.not_data} == {1, 2, 3}


def test_repeated_header_total_and_section(tmp_path: Path) -> None:
    body = "".join(f"{q},{a}\n" for q, a in PAIRS[:6]) + "二、售后,\n问题,答案\n"
    found = csv(tmp_path / "a.csv", "问题,答案\n" + body + "".join(f"{q},{a}\n" for q, a in PAIRS[6:]) + ",\n合计,12\n")
    accounted(found)
    assert len(found.examples) == len(PAIRS)
    assert [left.code for left in found.dropped] == ["section_row", "total_row"]
    assert [left.code for left in found.not_data] == ["header_row", "header_row", "blank_row"]


def test_a_question_about_totals_is_a_question(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv",
        "问题,答案\n合计怎么算？,商品价加运费。\n小计,单件商品的价格\n" + "".join(f"{q},{a}\n" for q, a in PAIRS),
    )
    assert len(found.examples) == len(PAIRS) + 2 and not found.dropped


def test_a_missing_answer_is_no_section(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "标题,主体\n【晴川】折叠肥皂盒500g,\n" + "".join(f"{q},{a}\n" for q, a in PAIRS))
    assert [(left.row, left.code) for left in found.dropped] == [(2, "missing_answer")]


def test_numbered_rows_that_were_never_filled_in(tmp_path: Path) -> None:
    content = "序号,问题,答案\n" + "".join(f"{i},{q},{a}\n" for i, (q, a) in enumerate(PAIRS, 1)) + "13,,\n14,,\n"
    found = csv(tmp_path / "a.csv", content)
    accounted(found)
    assert [(left.row, left.code) for left in found.not_data if left.code == "empty_row"] == [
        (14, "empty_row"),
        (15, "empty_row"),
    ]


def test_similar_questions_are_examples_of_one_group(tmp_path: Path) -> None:
    content = "标准问,相似问1,相似问2,答案\n" + "".join(f"{q},请问{q},,{a}\n" for q, a in PAIRS)
    found = csv(tmp_path / "a.csv", content)
    accounted(found)
    assert len(found.examples) == 2 * len(PAIRS) and found.used == len(PAIRS)
    first, second = found.examples[:2]
    assert first.rows == second.rows == (2,) and first.group == second.group != found.examples[2].group
    assert second.messages[0].content == "请问怎么退货？" and first.answer == second.answer
    assert codes(found) == {"similar_questions_used"}


def test_similar_question_alone_is_enough(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv", "标准问,相似问法,答案\n,怎么个退法？,点申请。\n" + "".join(f"{q},,{a}\n" for q, a in PAIRS)
    )
    assert said(found)[0] == [("user", "怎么个退法？"), ("assistant", "点申请。")] and not found.dropped


def test_answers_over_two_columns(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv",
        "问题,答案1,答案2\n"
        + "".join(f"{q},{a},补充{i}\n" for i, (q, a) in enumerate(PAIRS))
        + "几点关门？,晚上九点。,\n",
    )
    assert found.examples[0].answer == "在订单页点申请退货。\n补充0" and found.examples[-1].answer == "晚上九点。"
    assert codes(found) == {"answer_columns_joined"}


def test_several_fields_become_one_json_answer(tmp_path: Path) -> None:
    places = [("浙江省", "杭州市", "西湖区"), ("江苏省", "南京市", "鼓楼区"), ("广东省", "深圳市", "南山区")] * 4
    rows = "".join(f"{a}{b}{c}人民大道{i}栋,{a},{b},{c}\n" for i, (a, b, c) in enumerate(places))
    found = csv(tmp_path / "a.csv", "原文,省,市,区\n" + rows)
    assert json.loads(found.examples[0].answer) == {"省": "浙江省", "市": "杭州市", "区": "西湖区"}
    assert found.columns == {"question": "A", "answer": "B,C,D"}


def test_conversation_id_with_empty_cells_below(tmp_path: Path) -> None:
    rows = "".join(f"S{i},{q},{a}\n,那再问一句{i},再答一句{i}。\n" for i, (q, a) in enumerate(PAIRS))
    found = csv(tmp_path / "a.csv", "会话ID,客户,客服\n" + rows)
    accounted(found)
    assert len(found.examples) == len(PAIRS) and found.examples[0].rows == (2, 3)
    assert [m.role for m in found.examples[0].messages] == ["user", "assistant"] * 2
    assert sum(repair.code == "id_filled" for repair in found.repaired) == len(PAIRS)


def test_interleaved_dialogues_and_turns_out_of_order(tmp_path: Path) -> None:
    rows = "".join(f"A{i},2,乙{i}问,乙{i}答\nB{i},1,丙{i}问,丙{i}答\nA{i},1,甲{i}问,甲{i}答\n" for i in range(6))
    found = csv(tmp_path / "a.csv", "对话编号,轮次,用户,客服\n" + rows)
    accounted(found)
    assert len(found.examples) == 12
    assert [m.content for m in found.examples[0].messages] == ["甲0问", "甲0答", "乙0问", "乙0答"]
    assert "turns_sorted" in {repair.code for repair in found.repaired}


def test_turn_numbers_alone_separate_dialogues(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv", "轮次,问题,答案\n" + "".join(f"1,甲{i}？,乙{i}。\n2,丙{i}？,丁{i}。\n" for i in range(6))
    )
    assert len(found.examples) == 6 and all(len(e.messages) == 4 for e in found.examples)


@pytest.mark.parametrize("agent", ["客服小美", "晴川旗舰店", "agent_7"])
def test_chat_log_without_ids(tmp_path: Path, agent: str) -> None:
    rows = "".join(
        f"10:{i:02d},tb{i}号,第{i}单到哪了\n10:{i:02d},tb{i}号,急\n10:{i:02d},{agent},第{i}单在路上\n"
        for i in range(11)
    )
    found = csv(tmp_path / "a.csv", "时间,发送人,内容\n" + rows)
    accounted(found)
    assert len(found.examples) == 11
    assert said(found)[3] == [("user", "第3单到哪了\n急"), ("assistant", "第3单在路上")]
    assert sum(repair.code == "messages_joined" for repair in found.repaired) == 11


def test_call_centre_greeting_is_listed_when_left_out(tmp_path: Path) -> None:
    rows = "".join(f"C{k},坐席,您好{k}\nC{k},客户,查账单{k}\nC{k},坐席,已发短信{k}\n" for k in range(11))
    found = csv(tmp_path / "a.csv", "通话ID,说话人,转写文本\n" + rows)
    accounted(found)
    assert len(found.examples) == 11 and found.examples[0].rows == (3, 4)
    assert {left.code for left in found.dropped} == {"assistant_first"} and len(found.dropped) == 11
    assert any(repair.code == "opening_removed" and repair.before == "您好0" for repair in found.repaired)


def test_context_and_system_columns(tmp_path: Path) -> None:
    found = csv(
        tmp_path / "a.csv",
        "系统提示词,背景,问题,答案\n" + "".join(f"你是客服,规则{i},{q},{a}\n" for i, (q, a) in enumerate(PAIRS)),
    )
    assert said(found)[0] == [
        ("system", "你是客服"),
        ("user", "怎么退货？\n规则0"),
        ("assistant", "在订单页点申请退货。"),
    ]
    assert not codes(found)


def test_role_rows_without_ids(tmp_path: Path) -> None:
    wanted = [[("user", q), ("assistant", a)] for q, a in PAIRS]
    found = csv(tmp_path / "a.csv", "role,content\n" + "".join(f"user,{q}\nassistant,{a}\n" for q, a in PAIRS))
    accounted(found)
    assert said(found) == wanted and codes(found) == {"pairs_not_separated"}
    content = "role,content\n" + "".join(f"system,你是客服\nuser,{q}\nassistant,{a}\n" for q, a in PAIRS)
    found = csv(tmp_path / "b.csv", content)
    assert said(found) == [[("system", "你是客服"), *pair] for pair in wanted] and not codes(found)


def test_one_long_chat_with_one_customer_stays_one(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "昵称,消息\n" + "".join(f"买家小王,{q}\n某某旗舰店,{a}\n" for q, a in PAIRS))
    assert len(found.examples) == 1 and codes(found) == {"chats_not_separated"}


def test_pairs_side_by_side_are_not_joined(tmp_path: Path) -> None:
    found = csv(tmp_path / "a.csv", "问,答,问,答\n" + "".join(f"{q},{a},再{q},再{a}\n" for q, a in PAIRS))
    assert said(found)[0] == [("user", PAIRS[0][0]), ("assistant", PAIRS[0][1])] and not codes(found)
    assert len(found.examples) == 2 * len(PAIRS)


@pytest.mark.parametrize(
    "mark",
    ["客户：{q}\n客服：{a}\n客户：好的\n客服：不客气", "2026-03-01 10:00 小王：{q}\n2026-03-01 10:01 客服小美：{a}"],
)
def test_whole_chats_in_cells(tmp_path: Path, mark: str) -> None:
    rows = [
        ("工单号", "客户", "坐席", "聊天记录"),
        *((f"G{i}", "小王", "小美", mark.format(q=q, a=a)) for i, (q, a) in enumerate(PAIRS)),
    ]
    found = load(
        workbook(
            tmp_path / "a.xlsx", {"S": [*rows, ("G99", "小李", "小美", None), ("G98", "小李", "小美", "无人接听")]}
        )
    )
    accounted(found)
    assert found.columns == {"dialogue": "D"} and len(found.examples) == len(PAIRS)
    assert said(found)[0][:2] == [("user", PAIRS[0][0]), ("assistant", PAIRS[0][1])]
    assert [left.row for left in found.dropped] == [14, 15]


def test_tables_side_by_side_give_all_their_pairs(tmp_path: Path) -> None:
    rows = [["问题", "答案", None, "问题", "答案"]]
    rows += [[*PAIRS[n], None, *PAIRS[n + 6]] for n in range(6)]
    rows += [[None, None, None, "能寄海外吗？", None], ["有货吗？", "有货。", None, None, None]]
    found = load(workbook(tmp_path / "a.xlsx", {"问答": rows}))
    accounted(found)
    expected = [*PAIRS[:6], ("有货吗？", "有货。"), *PAIRS[6:]]
    assert said(found) == [[("user", q), ("assistant", a)] for q, a in expected]
    assert found.columns == {"question": "A,D", "answer": "B,E"}
    assert [(left.row, left.code) for left in found.dropped] == [(8, "missing_answer")]
    assert [issue.cell for issue in found.issues if issue.code == "missing_answer"] == ["E8"]
