import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.dataset.jsonscan import Scanner
from postil.dataset.jsontext import looks_like_json, read_json
from postil.dataset.raw import Findings

GOOD = '{"q":"几点开门？","a":"九点。"}'
VALUE = {"q": "几点开门？", "a": "九点。"}


def parsed(text):
    found = Findings()
    form, records = read_json(text, found)
    return [(record.row, record.value) for record in records], found, form


def repairs(found):
    return [(repair.code, repair.row) for repair in found.repaired]


def one(text):
    """The only record of `text`, and the codes of its repairs. What stands around it must stay whole."""
    records, found, _ = parsed(GOOD + "\n" + text + "\n" + GOOD)
    assert [row for row, _ in records if row not in (1, 2)] == [2 + (text + "\n").count("\n")]
    assert records[0] == (1, VALUE) and records[-1][1] == VALUE
    assert len(records) == 3, records
    assert all(row == 2 for _, row in repairs(found))
    return records[1][1], {code for code, _ in repairs(found)}


def test_correct_lines_are_not_touched():
    records, found, form = parsed(GOOD + "\r\n\r\n" + GOOD + "\n")
    assert (records, form) == ([(1, VALUE), (3, VALUE)], "jsonl")
    assert not found.repaired and not found.issues and not found.left


@pytest.mark.parametrize(
    ("text", "value", "codes"),
    [
        ("{“q”：“到账？”，“a”：“三天。”}", {"q": "到账？", "a": "三天。"}, {"json_quotes", "json_punctuation"}),
        ("{“q\":\"x\"}", {"q": "x"}, {"json_quotes"}),
        ("｛\"q\":\"支持“无理由”吗？\",\"a\":\"是\"｝", {"q": "支持“无理由”吗？", "a": "是"}, {"json_punctuation"}),
        ("{“q”：“他说“好”，走了”，“a”：“行”}", {"q": "他说“好”，走了", "a": "行"}, {"json_quotes", "json_punctuation"}),
        ('{"q":"他说"你好"就走了","a":"好"}', {"q": '他说"你好"就走了', "a": "好"}, {"json_inner_quotes"}),
        ('{"q":"x","a":"y",}', {"q": "x", "a": "y"}, {"json_trailing_comma"}),
        ('{"q":["x","y",],"a":1}', {"q": ["x", "y"], "a": 1}, {"json_trailing_comma"}),
        ('{"q":"x" "a":"y"}', {"q": "x", "a": "y"}, {"json_comma_added"}),
        ('{"q":"x","a":"y"', {"q": "x", "a": "y"}, {"json_brace_added"}),
        ('{"m":[{"q":"x"}', {"m": [{"q": "x"}]}, {"json_brace_added"}),
        ("{'q': 'it\\'s', 'a': None}", {"q": "it's", "a": None}, {"json_single_quotes", "json_literal"}),
        ('{q: "x", ok: True}', {"q": "x", "ok": True}, {"json_bare_key", "json_literal"}),
        ('{"q":"x", /* so */ "a":"y"}', {"q": "x", "a": "y"}, {"json_comment"}),
        ('{"q":NaN,"a":"y"}', {"q": None, "a": "y"}, {"json_nan"}),
        ('{"q":"C:\\data","a":"y"}', {"q": "C:\\data", "a": "y"}, {"json_escape"}),
        ('{"q":"\\ud83d\\ude00 \\ud83d","a":"y"}', {"q": "😀 \ufffd", "a": "y"}, {"lone_surrogate"}),
        ("{\"q\":\"x\0y\",\"a\":\"\t\"}", {"q": "x\0y", "a": "\t"}, {"json_control"}),
        ('[{"q":"x"}]', {"q": "x"}, {"list_opened"}),
        ('{\n "q": "x",\n "a": "y"\n}', {"q": "x", "a": "y"}, {"json_joined"}),
        ('{\n"q": 1,\n"a": "一；\n二。"\n}', {"q": 1, "a": "一；\n二。"}, {"json_joined", "json_line_break"}),
        ('{"q":"http://a.b/c?d=1,2}","a":"y",}', {"q": "http://a.b/c?d=1,2}", "a": "y"}, {"json_trailing_comma"}),
    ],
)  # fmt: skip
def test_each_repair(text, value, codes):
    assert one(text) == (value, codes)


def test_a_repair_shows_before_and_after():
    _, found, _ = parsed('{"q":"x",}')
    (repair,) = found.repaired
    assert (repair.before, repair.after) == ('{"q":"x",}', '{"q": "x"}')


def test_glued_objects_are_split_and_share_their_row():
    records, found, _ = parsed(GOOD + GOOD + "," + GOOD + "，" + GOOD + "\n" + GOOD)
    assert [row for row, _ in records] == [1, 1, 1, 1, 2]
    assert repairs(found) == [("json_split", 1)] * 3


def test_a_long_key_with_quotes_in_glued_objects_stays_whole():
    value = {"k" * 100 + '"，“': '", "x": "'}
    glued = json.dumps(value, ensure_ascii=False) * 2
    assert [each for _, each in parsed(glued)[0]] == [value, value]


def test_what_is_no_json_is_left_with_its_line():
    records, found, _ = parsed(GOOD + "\n—— 第二批 ——\n{{{\n" + GOOD)
    assert [row for row, _ in records] == [1, 4]
    assert [(left.row, left.code) for left in found.left] == [(2, "bad_json"), (3, "bad_json")]
    assert found.left[0].values == {"text": "—— 第二批 ——"}


def test_a_string_that_never_closes_spoils_its_own_record_only():
    records, found, _ = parsed('{"q":"open\n' + GOOD + "\n" + GOOD)
    assert [row for row, _ in records] == [2, 3]
    assert [left.row for left in found.left] == [1]


def test_comments_between_records_are_listed():
    records, found, _ = parsed("// 客服\n" + GOOD + "\n# 售前\n" + GOOD)
    assert [row for row, _ in records] == [2, 4]
    assert repairs(found) == [("json_comment", 1), ("json_comment", 3)]


def test_an_array_counts_its_elements():
    records, found, form = parsed(json.dumps([VALUE, VALUE], indent=1))
    assert (records, form) == ([(1, VALUE), (2, VALUE)], "json")
    assert not found.repaired


@pytest.mark.parametrize(
    ("text", "rows", "left", "codes"),
    [
        ('[{"q":1},\n{"q":2},\n{"q":3', [1, 2, 3], [], [("json_brace_added", 3), ("json_brace_added", 3)]),
        ('[{"q":1},\n{"q":2},\n{"q":"3', [1, 2], [3], [("json_brace_added", 3)]),
        ('[\n{"q":1},\n{"q":2 oops},\n{"q":3,}\n]', [1, 3], [2], [("json_trailing_comma", 3)]),
        ('[\n{"q":1}\n{"q":2}\n]', [1, 2], [], [("json_comma_added", 1)]),
        ('[{"q":1},{"q":2},]', [1, 2], [], [("json_trailing_comma", 2)]),
        ('[{"q":1},{"q":NaN}]', [1, 2], [], [("json_nan", 2)]),
    ],
)
def test_a_damaged_array_keeps_its_count(text, rows, left, codes):
    records, found, form = parsed(text)
    assert form == "json"
    assert [row for row, _ in records] == rows
    assert [each.row for each in found.left] == left
    assert repairs(found) == codes


def test_records_inside_an_object_are_taken_out():
    records, found, _ = parsed('{"version": 2, "data": [{"q":"x"},{"q":"y"}]}')
    assert records == [(1, {"q": "x"}), (2, {"q": "y"})]
    assert repairs(found) == [("wrapper_opened", 1)]


@pytest.mark.parametrize("key", ["messages", "conversations", "turns", "anything"])
def test_one_dialogue_is_one_record(key):
    dialogue = {key: [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    assert [value for _, value in parsed(json.dumps(dialogue))[0]] == [dialogue]
    assert [value for _, value in parsed(json.dumps(dialogue[key]))[0]] == [dialogue[key]]


def test_attack_10_a_key_that_stands_twice_is_reported():
    records, found, _ = parsed(GOOD + '\n{"a":"1","a":"2"}\n{"b":"1","b":"2",}')
    assert [value for _, value in records[1:]] == [{"a": "2"}, {"b": "2"}]
    assert [(issue.code, issue.row, issue.values["key"]) for issue in found.issues] == [
        ("duplicate_key", 2, "a"), ("duplicate_key", 3, "b"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 100_000 + "]" * 100_000, "json_too_deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "json_too_deep"),
        ('{"a":' * 150 + "1" + "}" * 150, "json_too_deep"),
        ("[" * 1_000_000, "json_too_deep"),
        ('{"a":' + "9" * 5_000 + "}", "json_too_long"),
        ('{"a":' + "9" * 3_000_000 + "}", "json_too_long"),
    ],
    ids=["lists", "objects", "150", "open", "digits", "many digits"],
)
def test_attack_10_hostile_records_are_left_and_the_others_read(text, code):
    records, found, _ = parsed(GOOD + "\n" + text + "\n" + GOOD)
    assert [row for row, _ in records] == [1, 3]
    assert [(left.row, left.code) for left in found.left] == [(2, code)]


@pytest.mark.parametrize(
    "line",
    ['{"a":"', '{"a":"x",', "{", "[", '["a",', "/*", '{"a":{', "{'a':'", '{"a":“', '"x', "{“a”：“，"],
)
def test_time_grows_with_the_file_and_no_faster(line):
    def seconds(count):
        start = time.process_time()
        parsed((GOOD + "\n") + (line + "\n") * count)
        return time.process_time() - start

    # the best of three: on a machine that others load, one look may take several times as long
    small, large = (min(seconds(count) for _ in range(3)) for count in (1_000, 8_000))
    assert large < 8 * small * 3 + 0.2


def test_attack_10_one_long_line_of_quotation_marks_takes_no_time():
    start = time.process_time()
    parsed('{"a":"' + '"x' * 100_000 + '\n{"a":“' + "“，" * 100_000 + '\n{"a":"' + '", "b' * 50_000)
    assert time.process_time() - start < 5


def test_many_members_with_one_fault_take_no_time():
    start = time.process_time()
    records, _, _ = parsed("{" + ",".join(f'"k{i}":1' for i in range(50_000)) + ",}")
    assert len(records[0][1]) == 50_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, True),
        ("\n\n  " + GOOD, True),
        ("// note\n" + GOOD, True),
        ("｛“q”：1｝", True),
        ("[]", True),
        ("[1, 2]", True),
        ("第一批\n" + (GOOD + "\n") * 5, True),
        ("[1] 参考文献\n[2] 又一条\n", False),
        ("[网络]\n问：VPN？\n答：重连。\n", False),
        ("{name},您好\n", False),
        ("问题,答案\n", False),
        ("//" * 50_000, False),
    ],
)
def test_what_looks_like_json(text, expected):
    assert looks_like_json(text) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8).filter(str.isidentifier), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(str.isidentifier), JSON, min_size=1, max_size=5))
def test_correct_json_is_read_as_the_library_reads_it(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2)):
        records, found, _ = parsed(text + "\n" + text)
        assert [each for _, each in records] == [value, value]
        assert {repair.code for repair in found.repaired} <= {"json_joined"}


TEXT = st.text("abc 中文，。“”‘’：:,{}[]'！？\\/\n", max_size=15)


@given(st.dictionaries(st.sampled_from(["q", "answer", "备注"]), TEXT.map(lambda t: t + "。"), min_size=1))
def test_the_scanner_reads_correct_objects_without_a_repair(value):
    """Texts without straight quotation marks inside, whatever else they hold."""
    scanner = Scanner(json.dumps(value, ensure_ascii=False), 0)
    assert scanner.record() == value
    assert scanner.codes == {}


@given(st.text("{}[]“”\"：:,，ab1 \n\\'/#*", max_size=60))
def test_attack_10_no_text_brings_the_scanner_down(text):
    records, _found, _ = parsed(text)
    assert all(row >= 1 for row, _ in records)


def test_comments_before_and_behind_an_array():
    text = '// export\n/* v2 */\n[\n {"q": 1}, // checked\n {"q": 2}\n]\n// end\n'
    found = Findings()
    form, records = read_json(text, found)
    assert form == "json" and [(r.row, r.value) for r in records] == [(1, {"q": 1}), (2, {"q": 2})]
    assert [repair.before for repair in found.repaired if repair.code == "json_comment"] == [
        "// export", "/* v2 */", "// checked", "// end"]  # fmt: skip
    assert not found.left and not found.issues


def test_records_inside_the_answer_of_a_web_service():
    found = Findings()
    items = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]
    _, records = read_json(json.dumps({"code": 0, "message": "ok", "data": {"total": 2, "items": items}}), found)
    assert [record.value for record in records] == items
    assert [(repair.code, repair.values["key"]) for repair in found.repaired] == [("wrapper_opened", "data → items")]


def test_a_record_with_lists_deep_inside_is_one_record():
    record = {"question": "q", "answer": "a", "meta": {"tags": [{"name": "x"}, {"name": "y"}]}}
    _, records = read_json(json.dumps(record), Findings())
    assert [each.value for each in records] == [record]
