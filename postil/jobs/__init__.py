"""What is running, and where: a queue that nothing is lost from, and the watch over its workers."""

from postil.jobs.executor import Executor, InMemoryExecutor, RunSpec, RunState, Slot
from postil.jobs.local import LocalExecutor
from postil.jobs.migrate import LeftOut, Mapped, Migration, migrate, read_description
from postil.jobs.order import Order
from postil.jobs.queue import Queue, model_name
from postil.jobs.register import register
from postil.jobs.watch import Pace, Watch

__all__ = [
    "Executor", "InMemoryExecutor", "LeftOut", "LocalExecutor", "Mapped", "Migration", "Order", "Pace", "Queue",
    "RunSpec", "RunState", "Slot", "Watch", "migrate", "model_name", "read_description", "register",
]  # fmt: skip
