from postil.plan.machine import group_cores, group_memory, machine


def test_this_machine_has_cores_memory_and_disk(tmp_path):
    here = machine(tmp_path / "not" / "there" / "yet")
    assert here.cores >= 1 and here.disk_free_bytes > 0
    assert 0 < here.free_bytes <= here.memory_bytes


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


def test_a_share_of_the_cores_is_read(tmp_path):
    assert group_cores(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert group_cores(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert group_cores(tmp_path) == 1.5


def test_what_the_probe_found_of_a_card_is_part_of_the_machine(tmp_path):
    from postil.records import Probe

    assert (machine(tmp_path).gpu, machine(tmp_path).gpu_memory_bytes) == (None, 0)
    found = machine(tmp_path, Probe("cuda", "bfloat16", 8, 1e14, gpu="NVIDIA H200", gpu_memory_bytes=139 << 30))
    assert (found.gpu, found.gpu_memory_bytes) == ("NVIDIA H200", 139 << 30)
