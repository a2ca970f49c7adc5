"""Processes of this machine by names that no other process has, and what can be proven about them.

A pid names a process only within one table of processes: machines, containers on one machine and a machine before and
after a restart have tables of their own, with the same numbers in them. So a process is named by its table, its number
and when it started; of a process in another table nothing can be said from here.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

BOOT, NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
MB = 1 << 20


@lru_cache(maxsize=1)
def table() -> str:
    """The name of this table of processes; empty where there is no telling it from others.

    A host name alone is none: containers and cloned machines share theirs.
    """
    try:
        if sys.platform == "linux":
            return f"{BOOT.read_text('ascii').strip()} {NAMESPACE.readlink()} {platform.node()}"
        return f"{psutil.boot_time():.0f} {platform.node()}"  # no containers share a kernel there
    except (OSError, psutil.Error):
        return ""


def start_of(pid: int) -> str:
    """When the process started, in a measure that setting the clock does not change (on Linux: ticks since boot)."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.exists():
            boot = BOOT.read_text("ascii").strip()
            return f"{boot}:{stat.read_text('utf-8', 'replace').rpartition(')')[2].split()[19]}"
        return f"{psutil.Process(pid).create_time():.2f}"
    except (OSError, psutil.Error):
        return ""


def name_of(pid: int) -> dict[str, Any]:
    """What names the process, as `is_alive` and the others take it."""
    return {"pid": pid, "started": start_of(pid), "table": table()}


def is_near(process: Mapping[str, Any]) -> bool:
    """Whether the process is, or was, in this table. What was written before tables had names was always near."""
    return process.get("table") in (None, table())


def is_alive(process: Mapping[str, Any]) -> bool:
    """Whether that very process is there, and more than an entry that nobody has collected."""
    try:
        there = psutil.Process(process["pid"]).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
    return there and is_near(process) and start_of(process["pid"]) == process["started"]


def identity(pid: int) -> str:
    """The process's number and start, as one text."""
    return f"{pid}/{start_of(pid)}"


def lives(identity: str) -> bool:
    """Whether the process of that `identity`, one of this table, is there."""
    pid, _, started = identity.partition("/")
    return is_alive({"pid": int(pid), "started": started})


def kill(process: Mapping[str, Any]) -> None:
    """The process and all of its session, also what its death has orphaned."""
    pid = process["pid"]
    if not is_near(process):
        return
    if psutil.pid_exists(pid) and start_of(pid) not in (process["started"], ""):
        return  # the number belongs to somebody else now
    for other in psutil.process_iter():
        if _belongs(other, pid):
            try:
                other.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
            except psutil.Error:
                continue  # it went by itself


def _belongs(process: psutil.Process, leader: int) -> bool:
    if process.pid == leader:
        return True
    if not hasattr(os, "getsid"):
        try:
            return leader in [parent.pid for parent in process.parents()]
        except psutil.Error:
            return False
    try:
        return os.getsid(process.pid) == leader
    except OSError:
        return False


def pulse(process: Mapping[str, Any]) -> str:
    """A text that changes while the process computes or reads, whatever it says itself; empty when that is not known.

    Libraries that take minutes to load on a slow disk hold up every thread of Python's meanwhile.
    """
    try:
        known = psutil.Process(process["pid"])
        times = known.cpu_times()
        reads = known.io_counters().read_chars if hasattr(known, "io_counters") else 0
    except (psutil.Error, OSError, AttributeError):
        return ""
    return f"{times.user:.2f} {times.system:.2f} {reads}"


def resident_mb(process: Mapping[str, Any]) -> int:
    """Memory that the process has, in MB."""
    try:
        return int(psutil.Process(process["pid"]).memory_info().rss) // MB
    except psutil.Error:
        return 0
