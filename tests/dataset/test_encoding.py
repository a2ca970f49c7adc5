import random

import pytest

from postil.dataset.encoding import decode
from postil.dataset.raw import Findings
from postil.errors import FileError

SIMPLIFIED = "问题,回答\n怎么查物流？,请在“我的订单”里点“查看物流”。\n几天能到？,一般三天，偏远地区五天。\n"
TRADITIONAL = "問題,回答\n怎麼查物流？,請在「我的訂單」裡點「查看物流」。\n幾天能到？,一般三天，偏遠地區五天。\n"
TITLES = "标题,主体\n轻奢无痕衣架旅行套装,衣架\n加厚不锈钢保温饭盒,饭盒\n卡通硅胶防摔手机壳,手机壳\n"
TITLES_TRADITIONAL = "標題,主體\n輕奢無痕衣架旅行套裝,衣架\n加厚不鏽鋼保溫飯盒,飯盒\n卡通矽膠防摔手機殼,手機殼\n"


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        (SIMPLIFIED, "utf-8", "UTF-8"),
        (SIMPLIFIED, "utf-16", "UTF-16"),
        (SIMPLIFIED, "utf-16-le", "UTF-16"),
        (SIMPLIFIED, "utf-16-be", "UTF-16"),
        ("question,answer\nhow long?,three days\n", "utf-16-le", "UTF-16"),
        (SIMPLIFIED, "utf-32", "UTF-32"),
        (SIMPLIFIED, "gb18030", "GB18030"),
        (TITLES, "gb18030", "GB18030"),
        (TITLES_TRADITIONAL, "gb18030", "GB18030"),
        ("标题,主体\n𠮷野家㐂,饭\n", "gb18030", "GB18030"),
        (TRADITIONAL, "big5", "Big5"),
        (TITLES_TRADITIONAL, "big5", "Big5"),
        (TRADITIONAL, "gb18030", "GB18030"),
        ("Frage;Antwort\nWie groß?;Für zwei Möbelstücke\nCafé à Zürich;déjà vu\n", "cp1252", "Windows-1252"),
        ("質問,答え\n返品できますか？,はい、できます。三日以内にご連絡ください。\n", "cp932", "Shift_JIS"),
        ("질문,답변\n반품이 되나요?,네 가능합니다. 삼일 이내에 연락 주세요.\n", "cp949", "EUC-KR"),
    ],
)
def test_each_encoding_is_told_from_the_others(text, codec, name):
    assert decode(text.encode(codec), Findings()) == (text, name)


def test_random_pieces_of_business_text_are_told_apart():
    """Short pieces, as in a file of three rows: GB18030 and Big5 differ in what looks like writing."""
    chance = random.Random(7)
    for simplified, traditional in ((SIMPLIFIED, TRADITIONAL), (TITLES, TITLES_TRADITIONAL)):
        for _ in range(40):
            start = chance.randrange(len(simplified) - 15)
            piece = simplified[start : start + 15].replace("\n", "")
            assert decode(piece.encode("gb18030"), Findings())[1] == "GB18030", piece
            piece = traditional[start : start + 15].replace("\n", "")
            assert decode(piece.encode("big5"), Findings())[1] == "Big5", piece


def test_a_byte_order_mark_is_a_listed_repair():
    found = Findings()
    assert decode(SIMPLIFIED.encode("utf-8-sig"), found) == (SIMPLIFIED, "UTF-8")
    assert [(repair.code, repair.row) for repair in found.repaired] == [("bom", 1)]


def test_a_mark_of_utf8_before_gb18030_is_not_believed():
    text, name = decode(b"\xef\xbb\xbf" + SIMPLIFIED.encode("gb18030"), Findings())
    assert text == SIMPLIFIED
    assert name == "GB18030"


def test_attack_10_a_wrong_utf16_mark_is_an_error():
    with pytest.raises(FileError) as caught:
        decode(b"\xff\xfea", Findings())
    assert caught.value.code == "encoding_broken"


def test_attack_10_two_encodings_in_one_file_are_read_line_by_line_and_listed():
    first, second = "问题,回答\r\n怎么退货,可以的\r\n", "多久到账,三天之内到账\r\n"
    found = Findings()
    text, name = decode(first.encode() + second.encode("gb18030") + first.encode(), found)
    assert (text, name) == (first + second + first, "UTF-8")
    assert [(repair.code, repair.row, repair.after) for repair in found.repaired] == [
        ("mixed_encoding", 3, second.strip())
    ]


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_broken_line_is_named(codec):
    lines = [line.encode(codec) for line in (SIMPLIFIED * 3).splitlines()]
    lines[4] = b"\xff\xff,\x81"
    with pytest.raises(FileError) as caught:
        decode(b"\n".join(lines), Findings())
    assert caught.value.code == "encoding_mixed"
    assert caught.value.values == {"line": 5}


def test_noise_is_no_text():
    with pytest.raises(FileError) as caught:
        decode(random.Random(1).randbytes(4000), Findings())
    assert caught.value.code == "encoding_unknown"


def test_a_large_file_is_judged_by_its_beginning_and_read_to_its_end():
    text = SIMPLIFIED * 20_000
    assert decode(text.encode("gb18030"), Findings()) == (text, "GB18030")
