"""The page keeps the sections that are not measured again."""

import pytest

from benchmarks import results


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PAGE", tmp_path / "RESULTS.md")
    return results.PAGE


def test_one_section_is_replaced_and_the_others_stay(page):
    for name, body in (("titles", "one"), ("qa", "two"), ("titles", "three")):
        results.write(name, f"bench {name}", body)
    text = page.read_text("utf-8")
    assert text.startswith("# Results\n")
    assert text.count("\n## ") == 2
    assert "one" not in text.split("## titles")[1]
    assert "three" in text.split("## titles")[1].split("## qa")[0]
    assert "two" in text.split("## qa")[1]


def test_a_section_says_when_on_what_and_how_it_was_measured(page):
    results.write("qa", "bench qa", "body", device="a GPU")
    text = page.read_text("utf-8")
    assert all(part in text for part in ("`bench qa`", "UTC", "a GPU", "torch ", "Python "))


def test_a_quick_look_is_not_kept(page, capsys):
    results.write("qa", "bench qa --quick", "body")
    assert not page.exists()
    assert "body" in capsys.readouterr().out


def test_median_and_range():
    assert results.spread([3, 1, 2]) == "2.00 (1.00-3.00)"
    assert results.spread([3.14159], 1) == "3.1"
    assert results.spread([]) == ""
