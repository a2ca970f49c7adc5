"""What a container may use, and the words in which a lack of memory is told."""

import pytest

from postil.model.memory import group_memory, lacks_memory, peak_bytes, total_and_free


def test_the_limit_of_a_container_is_read(tmp_path):
    assert group_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("max\n")
    assert group_memory(tmp_path) == (None, 0)
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert group_memory(tmp_path) == (4_000_000_000, 1_000_000_000)


def test_the_older_kind_of_limit_is_read_and_its_huge_number_is_none(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert group_memory(tmp_path) == (None, 0)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2000000000\n")
    assert group_memory(tmp_path) == (2_000_000_000, 0)


def test_this_process_holds_something_and_no_more_than_there_is():
    total, free = total_and_free()
    assert 0 < free <= total and peak_bytes() > 1 << 20


@pytest.mark.parametrize(
    ("error", "lacks"),
    [(MemoryError(), True), (OSError(12, "Cannot allocate memory"), True), (OSError(2, "No such file"), False),
     (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True), (ValueError("bad_alloc"), False)],
)  # fmt: skip
def test_what_says_that_memory_was_missing(error, lacks):
    assert lacks_memory(error) is lacks
