"""`python -m postil.serve.keeper PROGRAM ARGUMENTS`: runs a program that must not outlive us.

The program ends when the keeper's standard input does, with its parent, however that ended.
"""

from __future__ import annotations

import subprocess
import sys
import threading

STOP_SECONDS = 20


def main(command: list[str]) -> int:
    """Run `command` to its end, or until standard input ends. Its exit code; 127 when there is no such program."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201
        return 127
    threading.Thread(target=_end_with_parent, args=(process,), daemon=True).start()
    return process.wait()


def _end_with_parent(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
