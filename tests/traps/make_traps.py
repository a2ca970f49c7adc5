"""Make small files with the defects of real ones, and expect.json: what a careful user wants from each.

    python tests/traps/make_traps.py [FOLDER]

The same run gives the same bytes. Shops, people and numbers are invented. The fields of expect.json: `examples` come
out when nothing in `may_drop` is dropped; `dropped` rows must be listed with a reason; `must_contain` are dialogues
that must come out (`content` exact, `has` all parts inside, `any` accepted texts, best first); `may_list` rows are no
data and may be listed or not; the rest are words for a reader or what must be detected. Row numbers are those a person
sees: the sheet's own, the line on which a record begins, the element of an array.
"""

# ruff: noqa: E501  (tables of Chinese text, where each character counts as two)

from __future__ import annotations

import json
import random
import runpy
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any

from openpyxl import Workbook

Made = tuple[bytes, str, dict[str, Any]]  # the file, what is wrong with it, what to expect
FEW, SOME = "fewer than 10 examples", "fewer than 100 examples"
MAKERS: dict[str, Callable[[], Made]] = {}
packed = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "make_samples.py"))["packed"]  # workbook -> bytes


def trap(name: str) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    def note(maker: Callable[[], Made]) -> Callable[[], Made]:
        MAKERS[name] = maker
        return maker

    return note


def talk(*texts: str, system: str = "") -> list[dict[str, Any]]:
    """A dialogue: question, answer, question, answer ..."""
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said] if system else said


def asked(question: str, *answers: str) -> list[dict[str, Any]]:
    """A question and the answers that are accepted, best first."""
    return [{"role": "user", "content": question}, {"role": "assistant", "any": list(answers)}]


def about(parts: list[str], answer: str) -> list[dict[str, Any]]:
    """A question of which these parts must all be there."""
    return [{"role": "user", "has": parts}, {"role": "assistant", "content": answer}]


def expect(examples: int, issues: list[str], must: list[Any], **more: Any) -> dict[str, Any]:
    return {"examples": examples, "dropped": more.pop("dropped", []), "repaired": more.pop("repaired", []),
            "issues": issues, "must_contain": must, **more}  # fmt: skip


def drop(*rows: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"row": row, "why": why} for row, why in rows]


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


# ── JSON lines ────────────────────────────────────────────────────────────────────────────────────


@trap("01_ligature_key.jsonl")
def ligature_key() -> Made:
    text = (
        '{"instrucAon":"二次派单是什么意思?","response":"第一位处理人退回后，系统⽤同样的优先级再派一次。"}'
        '{"instrucAon":"xxxx","response":"xxxx"}\n'
    )
    answer = "第一位处理人退回后，系统用同样的优先级再派一次。"
    return text.encode(), "Key 'instrucAon' from a PDF, two objects glued on one line, a Kangxi radical (U+2F64), xxxx.", expect(
        2, ["damaged key", "glued objects", "compatibility characters", "placeholder text", FEW],
        [talk("二次派单是什么意思?", answer)],
        may_drop=[{"row": 1, "why": "second object is placeholder text (xxxx)", "object": 2}],
        repaired=["key 'instrucAon' read as 'instruction', both objects", "row 1: two glued objects split",
                  "U+2F64 replaced by U+7528"],
    )  # fmt: skip


@trap("02_two_lines_each.jsonl")
def two_lines_each() -> Made:
    text = (
        '{"instruction":"补单要几步？",\n"response":"两步：主管批，仓库出。"}\n'
        '{"instruction":"冷链单能合箱吗？",\n"response":"不能，冷链单独发。"}\n'
        '{"instruction":"XXX",\n"response":"XXX"}\n'
    )
    return text.encode(), "Every object spread over two lines; the last is a placeholder.", expect(
        3, ["object over several lines", "placeholder text", FEW],
        [talk("补单要几步？", "两步：主管批，仓库出。"), talk("冷链单能合箱吗？", "不能，冷链单独发。")],
        may_drop=drop((5, "placeholder text")), repaired=["rows 1-2, 3-4, 5-6: one object over several lines joined"],
    )  # fmt: skip


@trap("03_curly_glued_messages.jsonl")
def curly_glued_messages() -> Made:
    def one(title: str, noun: str) -> str:
        return json.dumps({"messages": talk(f"商品是什么：{title}", noun, system="只答商品名。")}, ensure_ascii=False)

    text = one("法式碎花连衣裙女收腰显瘦", "连衣裙").replace('{"messages"', "{“messages”") + one(
        "加厚不锈钢汤锅家用24cm", "汤锅"
    )
    return (text + "\n").encode(), "Curly quotes around the first key of OpenAI messages; two objects glued.", expect(
        2, ["curly or fullwidth quotes", "glued objects", FEW],
        [talk("商品是什么：法式碎花连衣裙女收腰显瘦", "连衣裙", system="只答商品名。"),
         talk("商品是什么：加厚不锈钢汤锅家用24cm", "汤锅", system="只答商品名。")],
        repaired=["row 1: curly quotes around the key replaced", "row 1: two glued objects split"],
    )  # fmt: skip


@trap("04_damaged.jsonl")
def damaged() -> Made:
    text = """\ufeff{"instrucAon":"盘点差异怎么报？","response":"在盘点页选“差异上报”，当天20点前提交。"}
{“instruction”：“滞销品放哪？”，“response”：“放C区，贴黄标。”}
｛"instruction":"“先进先出”怎么看？","response":"看批次号，“小号先出”。"｝
{"instruction":"几点交接班？","response":"早8点，晚8点。"}{"instruction":"交接看什么？","response":"看未完单和异常单。"},{"instruction":"漏交接呢？","response":"扣2分，当班长补录。"}
{
  "instruction": "破损件怎么入库？",
  "response": "第一步拍照；
第二步贴红标入残次区。"
}

======== 以下为旧系统导出 ========
{"instruction":"叉车限速多少？","response":"库内5公里，坡道3公里。"}
{"instruction":"库位码怎么读？","response":"A-03-2 读作A区、3排、\\"2层\\"。"}
{" Instruction ":"扫码枪没电？","RESPONSE":"去工具间换电池，登记编号。"}
{"instruction":"空托盘放哪？","response":"放东门外侧，叠到12层为止。",}
{"instruction":"贵重品谁能取？","respone":"双人双锁，仓管和主管同时在场。"}
{"instruction":"周末盘点吗？"}
{"instruction":"雨天能卸货吗？","response":"能，先搭雨棚，纸箱不过夜。"
"""
    good = [
        talk("盘点差异怎么报？", "在盘点页选“差异上报”，当天20点前提交。"), talk("滞销品放哪？", "放C区，贴黄标。"),
        talk("“先进先出”怎么看？", "看批次号，“小号先出”。"), talk("漏交接呢？", "扣2分，当班长补录。"),
        talk("破损件怎么入库？", "第一步拍照；\n第二步贴红标入残次区。"), talk("库位码怎么读？", 'A-03-2 读作A区、3排、"2层"。'),
        talk("扫码枪没电？", "去工具间换电池，登记编号。"), talk("空托盘放哪？", "放东门外侧，叠到12层为止。"),
        talk("贵重品谁能取？", "双人双锁，仓管和主管同时在场。"), talk("雨天能卸货吗？", "能，先搭雨棚，纸箱不过夜。"),
    ]  # fmt: skip
    return text.encode(), "Each line broken in another way: BOM and key, quotes, braces, glue, line breaks, comma, spelling.", expect(
        13, ["damaged key", "curly or fullwidth quotes", "glued objects", "object over several lines", "trailing comma",
             "unclosed brace", "bad JSON", "missing answer", SOME], good,
        dropped=drop((11, "not JSON: a separator line"), (17, "missing answer")),
        repaired=["row 1: BOM removed, key", "row 2: quotes, colon, comma", "row 3: braces only", "row 4: three objects split",
                  "rows 5-9: joined", "row 14: keys trimmed and lower-cased", "row 15: trailing comma",
                  "row 16: 'respone' read as 'response'", "row 18: missing closing brace added"],
    )  # fmt: skip


@trap("05_conversation.jsonl")
def conversation() -> Made:
    rule = "你是仓库助手，回答不超过两句。"
    told = [
        {"conversation": [{"system": rule, "input": "移库单谁来建？", "output": "由库管建，组长复核。"},
                          {"input": "组长不在呢？", "output": "值班主管代复核。"}]},
        {"conversation": [{"system": rule, "input": "红标件能上架吗？", "output": "不能，要先质检。"},
                          {"system": rule, "input": "质检多久？", "output": "当天出结果。"}]},
        {"conversation": [{"input": "越库是什么？", "output": "到货后不入库，直接转发货。"}]},
        {"conversation": [{"input": "波次几点截？", "output": "每天11点和16点。"}, {"input": "错过了怎么办？", "output": ""}]},
        {"conversation": []},
        {"id": 6, "conversation": [{"input": "冻品放哪？", "output": "负18度库。"}, {"input": "满了呢？", "output": "调外租库。"}]},
        [{"conversation": [{"system": "", "input": "拣货错一件扣几分？", "output": "扣1分，当月累计。"}]}],
    ]  # fmt: skip
    return lines(told).encode(), "Dialogues of system/input/output: one example each, never one a turn.", expect(
        6, ["unanswered last turn", "empty conversation", FEW],
        [talk("移库单谁来建？", "由库管建，组长复核。", "组长不在呢？", "值班主管代复核。", system=rule),
         talk("红标件能上架吗？", "不能，要先质检。", "质检多久？", "当天出结果。", system=rule),
         talk("冻品放哪？", "负18度库。", "满了呢？", "调外租库。"), talk("拣货错一件扣几分？", "扣1分，当月累计。")],
        dropped=drop((5, "empty conversation")), may_drop=drop((4, "last turn has no answer")),
        repaired=["row 2: the same system text kept once", "row 7: the list around the object opened"],
        if_kept={"4": talk("波次几点截？", "每天11点和16点。")},
    )  # fmt: skip


@trap("06_mixed_shapes.jsonl")
def mixed_shapes() -> Made:
    told = [
        {"instruction": "把“在的”改得热情一点。", "response": "在的呢，请问想了解哪一款？"},
        {"instruction": "判断评论好坏，只答好评或差评。", "input": "码数准，颜色正。", "output": "好评"},
        {"instruction": "写一句雨靴的卖点。", "input": "", "output": "踩水坑也不怕的一双鞋。"},
        {"conversations": [{"from": "human", "value": "这款加湿器吵吗？"}, {"from": "gpt", "value": "夜间档26分贝。"},
                           {"from": "human", "value": "水箱多大？"}, {"from": "gpt", "value": "4升。"}]},
        {"prompt": "鞋垫能拆吗？", "completion": "能拆，可以单独洗。"},
        {"query": "那袋装的呢？", "response": "袋装保质期9个月。", "history": [["罐装保质期多久？", "罐装18个月。"]]},
        {"question": "有运费险吗？", "answer": "有，退货自动赔付。"},
        {"messages": talk("给毛巾起个名。", "云朵擦", system="你负责起名。")},
        {"input": "周末发货吗？", "output": "周六发，周日不发。"},
        {"text": "本店只做户外用品，已开店七年。"},
        {"system": "只回答“通过”或“驳回”。", "instruction": "“国家级品质”", "output": "驳回"},
        {"conversations": [{"from": "system", "value": "你是选购顾问。"}, {"from": "user", "value": "三口之家选多大电饭煲？"},
                           {"from": "assistant", "value": "3升够用。"}]},
    ]  # fmt: skip
    return lines(told).encode(), "Twelve lines in the shapes of twelve tools; line 10 is plain text.", expect(
        11, ["missing answer", SOME],
        [talk("把“在的”改得热情一点。", "在的呢，请问想了解哪一款？"), about(["判断评论好坏，只答好评或差评。", "码数准，颜色正。"], "好评"),
         talk("写一句雨靴的卖点。", "踩水坑也不怕的一双鞋。"), talk("这款加湿器吵吗？", "夜间档26分贝。", "水箱多大？", "4升。"),
         talk("罐装保质期多久？", "罐装18个月。", "那袋装的呢？", "袋装保质期9个月。"), talk("给毛巾起个名。", "云朵擦", system="你负责起名。"),
         talk("周末发货吗？", "周六发，周日不发。"), talk("“国家级品质”", "驳回", system="只回答“通过”或“驳回”。"),
         talk("三口之家选多大电饭煲？", "3升够用。", system="你是选购顾问。")],
        dropped=drop((10, "no question and answer: only plain text")),
    )  # fmt: skip


@trap("07_array.json")
def array() -> Made:
    def one(instruction: str, given: str, output: str, **more: Any) -> dict[str, Any]:
        return {"instruction": instruction, "input": given, "output": output, **more}

    told = [
        one("压缩到十个字。", "秋季新款加绒加厚保暖女士打底裤外穿", "加绒保暖打底裤"), one("写一句到货通知。", "", "您的包裹到驿站啦，记得取。", system="语气轻松。"),
        one("写一句催付短信。", "", ""), one("再客气些。", "", "麻烦您方便时完成付款，感谢。", history=[["写一句催付。", "请尽快付款。"]]),
        one("找出商品名。", "无线静音鼠标办公女生可爱", "鼠标"), one("找出商品名。", "大容量保温壶家用不锈钢暖瓶", "保温壶"),
        one("", "", "期待您再次光临。"), one("翻成英文。", "支持货到付款", "Cash on delivery is available."),
        one("找出商品名。", "儿童房卡通夜灯插电感应", "夜灯"), one("给评价贴标签。", "包装破了，客服处理快", "包装差评；服务好评"),
        one("找出商品名。", "防滑浴室垫带吸盘", "浴室垫"), one("写一句卖点。", "折叠购物车", "买菜不用拎，一推就走。"),
    ]  # fmt: skip
    text = "\ufeff" + json.dumps(told, ensure_ascii=False, indent=2)
    return text.encode(), "One pretty-printed array with BOM, alpaca keys, system and history.", expect(
        10, ["missing answer", "missing question", SOME],
        [about(["压缩到十个字。", "秋季新款加绒加厚保暖女士打底裤外穿"], "加绒保暖打底裤"),
         talk("写一句到货通知。", "您的包裹到驿站啦，记得取。", system="语气轻松。"),
         talk("写一句催付。", "请尽快付款。", "再客气些。", "麻烦您方便时完成付款，感谢。")],
        dropped=drop((3, "missing answer"), (7, "missing question")),
    )  # fmt: skip


# ── workbooks ─────────────────────────────────────────────────────────────────────────────────────


@trap("08_title_merged.xlsx")
def title_merged() -> Made:
    book = Workbook()
    sheet = book.worksheets[0]
    rows: list[list[Any]] = [
        ["青禾小店 2026年5月标准话术", None, None, None], ["填表人：客服组    版本：v4", None, None, None], ["编号", "类目", "顾客问题", "标准话术"],
        [1, "尺码", "偏大吗？", "偏大半码，脚瘦拍小一码。"], [2, None, "有45码吗？", "最大44码。"], [3, None, "鞋宽怎么选？", "脚宽选大一码。"],
        ["二、面料", None, None, None],
        [4, "成分", "是纯棉吗？", "棉95%，氨纶5%。"], [5, None, "会缩水吗？", "首次水洗缩约2%。"], [6, None, "起静电吗？", "加了防静电丝，不易起。"],
        [7, "洗护", "能机洗吗？", "能，30度以下。"], [8, None, "能烘干吗？", "不建议，阴凉处晾干。"], [9, None, "能漂白吗？", "不能，会泛黄。"],
        [10, "颜色", "有色差吗？", "屏幕不同会有轻微色差。"], [11, None, "会掉色吗？", "深色头两次单独洗。"], ["总计", None, "11条", None],
    ]  # fmt: skip
    for row in rows:
        sheet.append(row)
    for merged in ("A1:D1", "A2:D2", "B4:B6", "A7:D7", "B8:B10", "B11:B13", "B14:B15"):
        sheet.merge_cells(merged)
    must = [about([str(row[2])], str(row[3])) for row in rows[3:] if isinstance(row[0], int)]
    return packed(book), "Title and note above the header, categories merged downwards, a section line, a total line.", expect(
        11, ["title rows above the header", "merged cells filled", "not a data row", SOME], must,
        dropped=drop((7, "section title, not a question and answer"), (16, "total line, not a question and answer")),
        repaired=["merged category cells filled downwards"], header_row=3, columns={"question": "C", "answer": "D"},
    )  # fmt: skip


@trap("09_second_sheet.xlsx")
def second_sheet() -> Made:
    book = Workbook()
    first = book.worksheets[0]
    first.title = "使用说明"
    for row in (
        ["使用说明"],
        ["1. 在“语料”表里填"],
        ["2. 一行一问一答"],
        [],
        ["例题", "例答"],
        ["此处填题目", "此处填答复"],
    ):
        first.append(row)
    sheet = book.create_sheet("语料")
    words = [
        "首单",
        "复购率",
        "客单价",
        "动销率",
        "售罄率",
        "退货率",
        "好评率",
        "坑产",
        "连带率",
        "转粉率",
        "跳失",
        "静默转化",
    ]
    rows = [
        (f"{word}的口径是什么？", f"见数据手册第{i}节，按自然月统计{word}。") for i, word in enumerate(words, start=1)
    ]
    for pair in [("问题", "答案"), *rows]:
        sheet.append(pair)
    book.create_sheet("Sheet3")
    return packed(book), "The data is on the second sheet; the first, active one holds a sample that is no example.", expect(
        len(rows), ["other sheets not used", SOME], [talk(*rows[0]), talk(*rows[-1])],
        must_not_contain=["此处填答复", "例答"], sheet="语料",
    )  # fmt: skip


@trap("10_dialogue_by_id.xlsx")
def dialogue_by_id() -> Made:
    told = [
        ["灯不亮了", "先看看插头有没有插紧？", "插紧了", "那可能是灯珠坏了，给您换新。", "多久能换", "寄回后3天内发新的。"],
        ["能开专票吗", "能，请提供税号。", "多久开好", "当天17点前。"], ["柜子少螺丝", "抱歉，今天就补寄一包。", "要我付运费吗", "不用，我们付。"],
        ["在不", "在的，您请讲。", "布料厚吗", "180克，四季能穿。", "能看实物图吗", ""], ["打折吗", "满200减20。", "再减点", "只能再送一双袜子。"],
        ["地址写错了", "还没发出，新地址发我即可。", "改成幸福路2号", "已改好，今天发出。"], ["怎么调时间", "长按右键3秒。", "没反应", "请换一颗纽扣电池再试。"],
        ["椅子摇晃", "请把底部四颗螺丝拧紧。", "还是晃", "给您补发一个脚垫。"], ["会过敏吗", "无香料配方，敏感肌可先试用。", "试用装有吗", "有，拍下备注即可。"],
        ["什么时候有货", "下周二到货。", "能留一件吗", "能，付定金10元。"],
    ]  # fmt: skip
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["会话编号", "轮次", "客户", "客服"])
    for number, texts in enumerate(told, start=1):
        first = sheet.max_row + 1
        for turn in range(len(texts) // 2):
            name = f"T{number:03d}" if turn == 0 else None
            sheet.append([name, turn + 1, texts[2 * turn], texts[2 * turn + 1] or None])
        sheet.merge_cells(start_row=first, end_row=sheet.max_row, start_column=1, end_column=1)
    whole = [talk(*(texts if texts[-1] else texts[:-2])) for texts in told]
    return packed(book), "Turns held together by merged conversation ids; one last question that nobody answered.", expect(
        10, ["merged cells filled", "unanswered last turn", SOME], whole,
        dropped=drop((11, "last question of T004 has no answer; the answered turns stay")),
        repaired=["merged conversation ids filled downwards"],
        columns={"conversation": "A", "turn": "B", "question": "C", "answer": "D"},
    )  # fmt: skip


@trap("11_numbers_dates.xlsx")
def numbers_dates() -> Made:
    rows: list[tuple[Any, Any, str | None, tuple[str, ...]]] = [
        ("起送价多少元？", 0, None, ("0",)), ("续重多少元？", 6, None, ("6",)), ("老客几折？", 0.9, "0%", ("90%", "0.9")),
        ("店庆是哪天？", date(2026, 9, 9), "yyyy-mm-dd", ("2026-09-09", "2026-09-09 00:00:00")),
        ("几点停止接单？", time(18, 45), "h:mm", ("18:45", "18:45:00")), ("收银台编码？", "00520", "@", ("00520",)),
        ("单价多少？", 7.5, "0.00", ("7.50", "7.5")), ("累计销量？", 300000000, "0", ("300000000",)),
        ("能到付吗？", False, None, ("FALSE", "False", "false", "否")), ("冷库几度？", -18.5, None, ("-18.5",)),
        (95588, "这是银行的电话。", None, ("这是银行的电话。",)),
        ("直播几号几点？", datetime(2026, 11, 10, 19, 30), "yyyy-mm-dd hh:mm", ("2026-11-10 19:30", "2026-11-10 19:30:00", "2026-11-10T19:30:00")),
    ]  # fmt: skip
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["问题", "答案"])
    for question, answer, shown, _ in rows:
        sheet.append([question, answer])
        if shown:
            sheet.cell(sheet.max_row, 2).number_format = shown
    must = [asked(str(question), *accepted) for question, _, _, accepted in rows]
    return (
        packed(book),
        "Answers that are numbers, dates, times, percentages, codes, a truth value; 0 is an answer.",
        expect(len(rows), [SOME], must),
    )


@trap("17_personal_data.xlsx")
def personal_data() -> Made:
    book = Workbook()
    sheet = book.worksheets[0]
    card = "622200000000000234"
    card += next(digit for digit in "0123456789" if luhn(card + digit))
    for row in [
        ["顾客", "客服"], ["我电话19900002468，帮我催一下", "已帮您催发货。"], ["没人联系我", "会由专员用 199-0000-1357 回电。"],
        ["认证过了吗", f"身份证{id_number('11010119000202002')}已通过。"], ["票发我", "已发到 li.demo@example.com。"],
        ["退到哪", f"退到银行卡 {card}。"], ["换地址", "改为江苏省南京市玄武区示例路0号3幢502室，赵女士收。"],
        ["单号202605017654321098到哪了", "在派送。"], ["热线多少", "400-810-0000。"], ["寄给谁", "写“售后组”就行。"],
        ["几号开始", "2026年8月1日。"], ["型号19912345有货吗", "有货。"],
    ]:  # fmt: skip
        sheet.append(row)
    kinds = {"mobile number": ["A2", "B3"], "ID card number": ["B4"], "e-mail address": ["B5"], "bank card number": ["B6"],
             "postal address": ["B7"]}  # fmt: skip
    return packed(book), "Personal data of invented people; order number, hotline, date and part number are none.", expect(
        11, [*(f"personal data: {kind}" for kind in sorted(kinds)), SOME], [talk("寄给谁", "写“售后组”就行。")],
        issues_at={f"personal data: {kind}": cells for kind, cells in kinds.items()},
        must_not_report={"rows": [8, 9, 11, 12], "code": "personal data"},
    )  # fmt: skip


def luhn(digits: str) -> bool:
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def id_number(first: str) -> str:
    """The 17 digits and their check digit."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(d) * w for d, w in zip(first, weights, strict=True)) % 11]


# ── tables and texts ──────────────────────────────────────────────────────────────────────────────


@trap("12_gbk_excel.csv")
def gbk_excel() -> Made:
    rows = [
        ("门店几点开门？", "早9点半，节假日提前到9点。", ""), ("“外摆位”是什么？", "门口露天座，雨天关闭。", "热门"), ("能带宠物吗？", "可以，需牵绳。", ""),
        ("停车怎么收费？", "消费满88元免2小时。", "找店长确认"), ("有儿童椅吗？", "有，共6把。", ""), ("能开发票吗？", "能，扫桌码自助开。", ""),
        ("包间低消多少？", "①小包500元②大包1200元。", ""), ("能自带酒水吗？", "能，开瓶费50元。", ""), ("WiFi密码？", "在桌牌背面。", ""),
        ("生日有什么活动？", '送长寿面，行话叫"福面"。', "黑话"), ("可以存酒吗？", "可以，存90天。", ""), ("排号过号怎么办？", "往后顺延3桌。", ""),
    ]  # fmt: skip
    quoted = [",".join('"' + c.replace('"', '""') + '"' if '"' in c else c for c in row) for row in rows]
    text = "\r\n".join(["问题,回答,备注", *quoted]) + "\r\n"
    return (
        text.encode("gb18030"),
        "As Chinese Excel saves it: GBK, CRLF, doubled quotes, a column of remarks.",
        expect(
            12, [SOME], [talk(*rows[9][:2]), talk(*rows[6][:2])], must_not_contain=["找店长确认"], encoding="GB18030"
        ),
    )


@trap("13_semicolon_bom.csv")
def semicolon_bom() -> Made:
    text = """\ufeffQuestion;Answer;Group
Do you deliver on Saturdays?;Yes, until noon, for 2,50 EUR more.;delivery
Is the kettle quiet?;"Mostly; about 62 dB at the boil.";kitchen
How heavy is the table?;18,5 kg with its legs.;furniture
Can I change my order?;Until it is packed.;orders
Are batteries included?;Two AA cells.;toys
Is the coat lined?;Fully, in viscose.;clothes
May I pay by invoice?;From 30,00 EUR on.;payment
How long is the cable?;1,8 m, fixed.;kitchen
Is assembly needed?;Four screws, ten minutes.;furniture
Where is it made?;In Portugal.;clothes
Do you gift-wrap?;For 3,00 EUR, with a card.;orders
"""
    return text.replace("\n", "\r\n").encode(), "Semicolons between columns, decimal commas, UTF-8 with BOM.", expect(
        11, [SOME], [talk("Do you deliver on Saturdays?", "Yes, until noon, for 2,50 EUR more."),
                     talk("Is the kettle quiet?", "Mostly; about 62 dB at the boil.")],
        encoding="UTF-8", columns={"question": "A", "answer": "B"},
    )  # fmt: skip


@trap("14_blocks.txt")
def blocks() -> Made:
    text = """《仓库小问答》 修订二

【入库】
1、问：到货没有预约能卸吗？
答：能，排在有预约的后面。

2、问：少货怎么登记？
答：在收货页填实收数。
问：供应商不认呢？
答：发当时的监控截图。

【出库】
问: 大件怎么打包？
答: 分三步：
1）护角包好；
2）缠膜五圈；
3）贴“勿压”标。

问：夜里能出库吗？

问：复核要几个人？
答：两个人。
问：急单也要吗？
答：也要，没有例外。

Q：面单打歪了？
A：重打，旧面单剪角作废。
"""
    return text.encode("gb18030"), "Blocks of questions and answers, GB18030; several pairs in one block are one dialogue.", expect(
        5, ["missing answer", FEW],
        [talk("到货没有预约能卸吗？", "能，排在有预约的后面。"), talk("少货怎么登记？", "在收货页填实收数。", "供应商不认呢？", "发当时的监控截图。"),
         talk("大件怎么打包？", "分三步：\n1）护角包好；\n2）缠膜五圈；\n3）贴“勿压”标。"),
         talk("复核要几个人？", "两个人。", "急单也要吗？", "也要，没有例外。"), talk("面单打歪了？", "重打，旧面单剪角作废。")],
        dropped=drop((19, "missing answer")), may_list=[1, 3, 12], must_not_contain=["【出库】", "夜里能出库吗"],
    )  # fmt: skip


@trap("15_quoted_blocks.txt")
def quoted_blocks() -> Made:
    text = """单轮样例(商品文案):
指令:“写一句手冲壶的文案”
响应:“细嘴慢流，水听你的话”
多轮样例(售后):
指令 1:“换货单怎么走?”
响应 1:“先寄回,仓库签收后发新件”
指令 2:“没签收能先发吗?”
响应 2:“会员可以先发,普通顾客不行”
"""
    return text.encode(), "指令/响应 in curly quotes, headings between, a numbered dialogue of two turns.", expect(
        2, [FEW],
        [[{"role": "user", "any": ["写一句手冲壶的文案", "“写一句手冲壶的文案”"]},
          {"role": "assistant", "any": ["细嘴慢流，水听你的话", "“细嘴慢流，水听你的话”"]}]],
        repaired=["the pair of curly quotes around each whole text removed (leaving them is accepted)"], may_list=[1, 4],
    )  # fmt: skip


@trap("16_dirty_rows.csv")
def dirty_rows() -> Made:
    long = "开箱步骤：" + "".join(f"第{i}步，按图纸第{i}页装好编号{i}的零件并拧紧；" for i in range(1, 420))
    rows = [
        "问题,答案", "怎么查保修？,在“服务”里输入机身号。", "能以旧换新吗？,", "旧机抵多少？,   ", "上门收吗？,　　", ",已为您登记。", "　,稍后联系您。",
        "保修\x07卡丢了？,凭订单号也能保修。", "怎么查保修？,在“服务”里输入机身号。", "延保多少钱？,一年99元。", "延保多少钱？,延保免费送。", f"怎么装？,{long}",
        "配件有货吗？,<p>您好&nbsp;，滤芯<br/>预计<b>本周五</b>到货。</p>", "  能换颜色吗？ , 不能，颜色随机。\t", ",", "可以试用吗？,【待补充】",
        "怎么查保修?,在“服务”里输入机身号。", "有分店吗？,无", "几年保修？,两年。", "能寄修吗？,能，来回运费我们出。", "人工检测收费吗？,首次免费。",
    ]  # fmt: skip
    return ("\n".join(rows) + "\n").encode(), "Row by row: empty, blank, control characters, copies, contradiction, too long, HTML, placeholder.", expect(
        15, ["missing answer", "missing question", "control characters", "duplicate", "near duplicate", "contradiction",
             "answer too long", "HTML left over", "placeholder text", SOME],
        [talk("保修卡丢了？", "凭订单号也能保修。"), talk("能换颜色吗？", "不能，颜色随机。"), talk("有分店吗？", "无"),
         talk("延保多少钱？", "一年99元。"), talk("延保多少钱？", "延保免费送。"),
         [{"role": "user", "content": "配件有货吗？"}, {"role": "assistant", "has": ["预计", "本周五", "到货。"]}]],
        dropped=drop(*((row, "missing answer") for row in (3, 4, 5)), (6, "missing question"), (7, "missing question")),
        may_drop=drop((9, "duplicate of row 2"), (17, "near duplicate of row 2"), (16, "the answer is a placeholder"),
                      (12, "answer longer than the model can learn")),
        repaired=["row 8: control characters removed", "row 14: outer spaces and tab removed", "row 13: HTML tags removed or offered"],
        issues_at={"missing answer": [3, 4, 5], "missing question": [6, 7], "control characters": [8], "duplicate": [9],
                   "contradiction": [10, 11], "answer too long": [12], "HTML left over": [13], "placeholder text": [16]},
        may_list=[15],
    )  # fmt: skip


@trap("18_tabs.tsv")
def tabs() -> Made:
    rows = [
        ("提问", "解答"), ("储值卡能退吗？", "能，扣除已赠金额。"), ('6"蛋糕要提前多久订？', "提前一天。"), ("怎么改密码？", '在"设置"里点修改密码。'),
        ("积分换什么？", "换饮品券。"), ("卡能转让吗？", "不能。"), (), ("分店通用吗？", "全市通用。"), ("过期怎么办？", "可延期一次。"),
        ("怎么查余额？", "公众号回复1。"), ("能多人用吗？", "能，报手机尾号。"), ("充值送多少？", "满300送30。"), ("能开票吗？", "充值时开。"), (), (),
    ]  # fmt: skip
    text = "\n".join("\t".join(row) for row in rows)
    return (
        text.encode(),
        "Tabs, never quoted: inch signs and quotes are plain text; blank lines are no rows.",
        expect(
            11, [SOME], [talk('6"蛋糕要提前多久订？', "提前一天。"), talk("怎么改密码？", '在"设置"里点修改密码。')]
        ),
    )


@trap("19_columns.parquet")
def columns() -> Made:
    import pyarrow as pa
    from pyarrow import parquet

    told = [
        ("改写成一句话", f"第{i}款茶，产自{place}", f"{place}的茶，第{i}款。")
        for i, place in enumerate(["闽北", "滇南", "皖南", "浙西", "川西"], 1)
    ]
    table = [*told, ("改写成一句话", "无答案的一行", None), ("写一句问候", None, "早安，茶已泡好。"), (None, None, "没有问题的一行"),
             ("写个店名", "茶馆", "慢火"), ("写个店名", "面馆", "半碗"), ("写个店名", "花店", "初夏"), ("写个店名", "书店", "夜航")]  # fmt: skip
    names = ("instruction", "input", "output")
    data = pa.table({name: pa.array([row[i] for row in table], pa.string()) for i, name in enumerate(names)})
    raw = BytesIO()
    parquet.write_table(data, raw, compression="none")
    return raw.getvalue(), "Parquet with alpaca columns and nulls; row 7 has no input, which is fine.", expect(
        10, ["missing answer", "missing question", SOME],
        [about(["改写成一句话", "第1款茶，产自闽北"], "闽北的茶，第1款。"), talk("写一句问候", "早安，茶已泡好。")],
        dropped=drop((6, "missing answer"), (8, "missing question")),
    )  # fmt: skip


@trap("20_clean_120.csv")
def clean() -> Made:
    random_ = random.Random(20)
    nouns = [
        "马克杯",
        "台历",
        "书签",
        "钢笔",
        "相框",
        "挂钟",
        "花瓶",
        "托盘",
        "茶杯",
        "烛台",
        "门垫",
        "靠垫",
        "口罩",
        "毛毡",
        "画框",
        "纸巾盒",
        "笔袋",
        "木梳",
        "竹篮",
        "藤椅",
    ]
    looks = [
        "手绘",
        "复古做旧",
        "北欧简约",
        "加厚防滑",
        "礼盒装",
        "可刻字",
        "胡桃木色",
        "莫兰迪",
        "极简",
        "民国风",
        "轻奢",
        "哑光",
        "釉下彩",
    ]
    uses = [
        "办公室桌面",
        "送长辈",
        "新房客厅",
        "学生宿舍",
        "民宿酒店",
        "乔迁礼物",
        "茶室",
        "咖啡店",
        "玄关",
        "书房",
        "亲子手工",
        "露营",
    ]
    tails = ["2026新款", "两只装", "包邮", "大号", "小众设计", "工厂直销", "支持定制", "高级感", "耐用", "限量"]
    rows = []
    for noun in nouns * 6:
        parts = [*random_.sample(looks, 2), random_.choice(uses), noun, *random_.sample(tails, random_.randint(1, 2))]
        rows.append(f"{''.join(parts)},{noun}")
    text = "\n".join(["标题,主体", *rows]) + "\n"
    return text.encode(), "Nothing is wrong: 120 clean rows. A checker that finds fault here cries wolf.", expect(
        120, [], [talk(*rows[0].split(",")), talk(*rows[-1].split(","))], no_issues=True,
        columns={"question": "A", "answer": "B"},
    )  # fmt: skip


def main(folder: Path = Path(__file__).parent) -> None:
    expected = []
    for name in sorted(MAKERS):
        content, wrong, wanted = MAKERS[name]()
        (folder / name).write_bytes(content)
        expected.append({"file": name, "what_is_wrong": wrong, "expect": wanted})
    text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    (folder / "expect.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
