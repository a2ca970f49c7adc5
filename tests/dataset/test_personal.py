# ruff: noqa: E501 - a sample a line reads best
from __future__ import annotations

import pytest

from postil.dataset.personal import find_personal, mask


@pytest.mark.parametrize(
    ("text", "kind", "masked"),
    [
        ("电话13900001234。", "mobile", "电话[手机号]。"),
        ("电话 139-0000-1234 联系", "mobile", "电话 [手机号] 联系"),
        ("call +86 139 0000 1234 now", "mobile", "call [mobile number] now"),
        ("订单收货人电话13900001234", "mobile", "订单收货人电话[手机号]"),
        ("身份证110101190001010014", "id_card", "身份证[身份证号]"),
        ("邮箱zhang.demo@example.com，", "email", "邮箱[邮箱]，"),
        ("卡号 6222 0000 0000 0001 234", "bank_card", "卡号 [银行卡号]"),
        ("寄到浙江省杭州市西湖区无名路0号8幢101室，谢谢", "address", "寄到[地址]，谢谢"),
        ("改为上海市浦东新区某某路 88 弄 3 号", "address", None),
        ("护照号是E00000000能登记吗", "document", "护照号是[证件号]能登记吗"),
        ("港澳通行证C00000000过期了", "document", "港澳通行证[证件号]过期了"),
        ("my passport number is EA0000000, ok?", "document", "my passport number is [document number], ok?"),
        ("SSN 000-00-0000", "document", "SSN [document number]"),
        ("病历号：0000123456", "document", "病历号：[证件号]"),
        ("车牌沪A·00000能进吗", "plate", "车牌沪A·00000能进吗".replace("沪A·00000", "[车牌号]")),
        ("新能源车粤B00000D半价", "plate", "新能源车[车牌号]半价"),
        ("车牌号新A00000", "plate", "车牌号[车牌号]"),
        ("家里电话021-60000000没人接", "phone", "家里电话[电话号码]没人接"),
        ("打（0571）80000000", "phone", "打[电话号码]"),
        ("传真 010-8000 0000", "phone", None),
        ("call +1 (415) 555-0100 please", "phone", "call [phone number] please"),
        ("ring +44 20 7946 0000", "phone", "ring [phone number]"),
        ("加我微信号 demo_2024 吧", "account", "加我微信号 [账号] 吧"),
        ("QQ：100000001", "account", None),
    ],
)
def test_attack_23_found(text: str, kind: str, masked: str | None) -> None:
    assert kind in {found.kind for found in find_personal(text)}
    if masked is not None:
        assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "订单号202603181234567890到哪了？", "call 1-800-555-0100", "热线400-820-0000转2", "2026年6月18日0点", "型号13812345", "运单号13912345678", "sku: 13900001234",
        "金额13900001234567890元", "写信到 service@example.com", "1号链接在哪？", "地铁2号线到人民广场站", "请走3号门", "2026-03-18 10:20:30",
        "身份证号110101190013010014无效", "比例是1:2，共12345678901234567890123456件", "五一路怎么走", "全新E12345型号", "型号A12345678支持吗", "订单号E12345678901", "微信支付可以吗", "wechat account", "微信公众号留言", "QQ 音乐 2024", "护照办理要30天", "(2024) 123", "版本3.14.15-926", "ISBN 978-7-302-12345-6", "单号021-12345678", "IP 192.168.1.100", "尺寸120-200-1500", "沪ABCDEF", "商品编号：4111111111111111",
    ],
)  # fmt: skip
def test_no_false_alarm(text: str) -> None:
    assert find_personal(text) == [] and mask(text) == text


def test_full_width_digits() -> None:
    assert [found.kind for found in find_personal("号码是１３８００１３８０００，谢谢")] == ["mobile"]
    assert mask("号码是１３８００１３８０００，谢谢") == "号码是[手机号]，谢谢"
    assert not find_personal("共１２３４５６件")
