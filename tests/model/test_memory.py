"""What a container may use, huge pages, and the words in which a lack of memory is told."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from postil.model.memory import HUGE, group_memory, lacks_memory, lie_in_huge_pages, peak_bytes, total_and_free
from postil.settings import for_child

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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


def test_what_the_starter_of_a_process_held_is_not_its_own():
    ours = bytearray(b"x" * (400 << 20))
    code = "from postil.model.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=for_child())
    assert 1 << 20 < int(done.stdout) < len(ours)


@pytest.mark.parametrize(
    ("error", "lacks"),
    [(MemoryError(), True), (OSError(12, "Cannot allocate memory"), True), (OSError(2, "No such file"), False),
     (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory"), True), (ValueError("bad_alloc"), False)],
)  # fmt: skip
def test_what_says_that_memory_was_missing(error, lacks):
    assert lacks_memory(error) is lacks


def test_what_lies_in_huge_pages_stays_as_it_was():
    numbers = torch.arange(8 << 20)
    where = range(numbers.data_ptr(), numbers.data_ptr() + numbers.nbytes)
    found = lie_in_huge_pages([where, range(0, HUGE)])  # nothing lies at address 0
    assert torch.equal(numbers, torch.arange(8 << 20))
    assert found <= numbers.nbytes // HUGE + 1
    if sys.platform == "linux" and SWITCH.exists() and "[never]" not in SWITCH.read_text():
        assert found > numbers.nbytes // HUGE // 2
