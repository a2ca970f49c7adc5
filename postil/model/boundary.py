"""One place at which whatever goes wrong with an adapter becomes an AdapterError.

An adapter is a file of whomever. Between its bytes and an answer stand libraries of others, which fail at it in ways
that nobody can list; whoever opens one, for itself or for many, opens it within this boundary.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postil.errors import AdapterError, EngineError, PostilError
from postil.model.memory import lacks_memory
from postil.store import FULL, in_our_words

LOG = logging.getLogger(__name__)
OF_THE_MACHINE = (*FULL, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS)  # not of what lies on its disk


@contextmanager
def adapter_boundary(path: Path) -> Iterator[None]:
    """What is done with the adapter in the directory `path`. Raises PostilErrors as they are; StoreError where
    the disk is at fault; AdapterError `adapter_memory` when there is no room for it, `adapter_misfit` for all else."""
    try:
        yield
    except PostilError:
        raise
    except Exception as fault:
        if lacks_memory(fault):
            raise AdapterError("adapter_memory", path=str(path)) from fault
        if isinstance(fault, OSError) and fault.errno in OF_THE_MACHINE:
            with in_our_words():
                raise
        LOG.warning("an adapter cannot be used", exc_info=True)  # a fault of ours would else leave no trace
        raise AdapterError("adapter_misfit", path=str(path), reason=reason_of(fault)) from fault


@contextmanager
def finite_numbers(model: Any) -> Iterator[None]:
    """While this lasts, numbers of `model` that are none end what it says. Raises EngineError `answer_not_finite`."""
    inner = getattr(model, "get_base_model", lambda: model)()

    def look(_: Any, given: Any, out: Any) -> None:
        logits = getattr(out, "logits", None)
        if logits is not None and not bool(logits[:, -1].amax().isfinite()):
            raise EngineError("answer_not_finite")

    hook = inner.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def reason_of(fault: BaseException) -> str:
    """The first line of what a fault says, or its kind."""
    lines = str(fault).strip().splitlines()
    return (lines[0] if lines else type(fault).__name__)[:300]
