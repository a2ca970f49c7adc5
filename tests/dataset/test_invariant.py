# ruff: noqa: E501 - a list of samples reads best in a block
"""Whatever the file holds: each record is used, or dropped, or no data; and no used text is lost without a repair."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.dataset import load
from postil.dataset.raw import Line, Raw, Record, Row, Sheet
from postil.errors import DataError
from postil.records import Dataset

PATH = Path("made.csv")
WORDS = ["", " ", "问题", "答案", "合计", "怎么退货？", "点申请。", "二、售后", "注：内部", "12", "2026-03-01", "客服", "客户", "会话ID",
         "S1", "那呢？", "xxxx", "<b>粗</b>", "a\x07b", "⽤", "\u200b", "无", "相似问1", "内容", "角色", "轮次", "1", "2", "省", "=1+1"]  # fmt: skip
cells = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def raw_table(rows: list[list[str]]) -> Raw:
    made = tuple(Row(number, tuple(row)) for number, row in enumerate(rows, 1))
    return Raw(PATH, "0" * 64, "csv", "UTF-8", ",", sheets=(Sheet(None, made),))


def understood(raw: Raw) -> Dataset | None:
    try:
        return load(raw)
    except DataError as error:
        assert error.cause("zh") and error.remedy("en")
        return None


def check_records(found: Dataset, count: int) -> None:
    """Exactly one fate each, and each sentence can be said."""
    assert found.rows == count
    used = {row for example in found.examples for row in example.rows}
    dropped, not_data = [left.row for left in found.dropped], [left.row for left in found.not_data]
    assert sorted([*used, *dropped, *not_data]) == list(range(1, count + 1))
    assert found.used == len(used)
    for said in (*found.issues, *found.dropped, *found.not_data, *found.repaired):
        assert said.message("zh") and said.message("en")
    for example in found.examples:
        roles = [message.role for message in example.messages]
        assert roles == ["assistant"] if found.shape == "texts" else "user" in roles and roles[-1] == "assistant"
        assert all(message.content.strip() for message in example.messages)


def check_texts(found: Dataset, texts: dict[int, list[str]]) -> None:
    """Each text of a used row stands in an example, as it was or as the listed repairs left it."""
    everything = "\n".join(message.content for example in found.examples for message in example.messages)
    for row in {row for example in found.examples for row in example.rows}:
        repairs = [(repair.before, repair.after) for repair in found.repaired if repair.row == row]
        for text in texts.get(row, []):
            forms = {text}
            for before, after in repairs:
                forms |= {after} if before.strip() == text.strip() or before in forms else set()
            here = text.strip() in everything or any(form.strip() in everything for form in forms)
            assert here or any(text in before for before, _ in repairs), (row, text)


@SETTINGS
@given(st.lists(st.lists(cells, min_size=2, max_size=5), min_size=1, max_size=14))
def test_any_table(rows: list[list[str]]) -> None:
    found = understood(raw_table(rows))
    if found is not None:
        across = any(issue.code == "sheet_across" for issue in found.issues)  # then each column is a record
        check_records(found, max(map(len, rows)) if across else len(rows))


HEADERS = [["问题", "答案"], ["客户问题", "标准答复"], ["会话ID", "客户", "客服"], ["会话ID", "角色", "内容"], ["轮次", "问题", "答案"],
           ["标准问", "相似问1", "答案"], ["问题", "答案1", "答案2"], ["系统提示词", "背景", "问题", "答案"]]  # fmt: skip


@SETTINGS
@given(st.sampled_from(HEADERS), st.data())
def test_tables_with_a_header_lose_no_text(header: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.lists(cells, min_size=len(header), max_size=len(header)), min_size=1, max_size=12))
    found = understood(raw_table([header, *rows]))
    if found is None:
        return
    check_records(found, len(rows) + 1)
    if found.header_row != 1:
        return
    columns = {ord(letter) - 65 for role, letters in found.columns.items() for letter in letters.split(",")
               if role in ("question", "answer", "system", "context", "similar", "message")}  # fmt: skip
    texts = {
        number: [row[c] for c in columns if row[c].strip() and "\u200b" not in row[c]]
        for number, row in enumerate(rows, 2)
    }
    if "similar" not in found.columns:
        check_texts(found, texts)


keys = st.sampled_from(["instruction", "input", "output", "question", "answer", "messages", "conversation", "history", "system",
                        "role", "content", "text", "label", "id", "session_id", "turn", "instrucAon", "foo", ""])  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False), cells)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "human", "narrator", ""]), "content": cells}
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)
records = st.one_of(
    st.dictionaries(keys, values, max_size=5),
    st.fixed_dictionaries({"messages": st.lists(turns, max_size=5)}),
    st.fixed_dictionaries({"question": cells, "answer": cells}),
    values,
)


@SETTINGS
@given(st.lists(records, min_size=1, max_size=10))
def test_any_json(made: list[object]) -> None:
    raw = Raw(
        PATH, "0" * 64, "jsonl", "UTF-8", None, records=tuple(Record(i, value) for i, value in enumerate(made, 1))
    )
    found = understood(raw)
    if found is not None:
        check_records(found, len(made))


lines = st.one_of(
    cells,
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["问", "答", "Q", "A", "用户", "客服", "指令 1", "系统"]),
        st.sampled_from([":", "："]),
        cells,
    ),
    st.sampled_from(
        ["【网络】", "2026-03-01 10:02:33 小王：在吗", "小王 2026-03-01 10:02:33", "### Response:", "----"]
    ),
)


@SETTINGS
@given(st.lists(lines, min_size=1, max_size=20))
def test_any_text(made: list[str]) -> None:
    made = [line.replace("\n", " ").replace("\r", " ") for line in made]
    raw = Raw(PATH, "0" * 64, "txt", "UTF-8", None, lines=tuple(Line(i, line) for i, line in enumerate(made, 1)))
    found = understood(raw)
    if found is not None:
        check_records(found, len(made))
