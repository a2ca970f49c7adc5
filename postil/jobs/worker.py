"""The worker's program: `python -m postil.jobs.worker --spec FILE`, one process for one attempt at one job.

It writes only into the directory of its attempt, and ends itself when its attempt is not the one that counts any more.
It beats before anything is loaded that takes long: on a slow disk the libraries of a training take minutes, and whoever
says nothing for half a minute is taken for dead. So nothing is imported here that is not light.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from postil.jobs.attempt import Desk
from postil.locales import speak_to_clients
from postil.settings import quiet
from postil.store import keep_private, read_json


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0 when the outcome was written."""
    parser = argparse.ArgumentParser(prog="postil.jobs.worker")
    parser.add_argument("--spec", required=True, type=Path)
    keep_private()
    spec = read_json(parser.parse_args(arguments).spec)
    quiet()
    speak_to_clients()
    desk = Desk(Path(spec["directory"]), spec["attempt"], spec["wish"])
    desk.start()
    from postil.jobs.run import work

    return work(spec, desk)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
