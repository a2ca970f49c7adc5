from postil.model.memory import group_cores
from postil.plan.machine import machine


def test_this_machine_has_cores_memory_and_disk(tmp_path):
    here = machine(tmp_path / "not" / "there" / "yet")
    assert here.cores >= 1 and here.disk_free_bytes > 0
    assert 0 < here.free_bytes <= here.memory_bytes


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
