"""The command line: parse, call flow, print. Exit codes: 0 done, 1 a coded error, 2 wrong usage, 130 interrupted
(Ctrl-C), 143 asked to end (SIGTERM) in the middle of a training; see `stopping.py`.

Nothing is imported here that a help text does not need: `--help` takes hardly longer than Typer itself.
"""

import sys
import warnings
from collections.abc import Sequence

import typer

# each adds its commands, in the order in which `postil --help` tells the story
# isort: off
from postil.cli import data, bases, training, proving, exporting, serving, machine  # noqa: F401

# isort: on
from postil.cli.options import app, open_screen
from postil.errors import PostilError
from postil.locales import say
from postil.settings import quiet
from postil.usage import WrongUsage, coded, is_a_call_for_help, usage_of

__all__ = ["app", "run"]


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Tracebacks are shown with --debug only."""
    quiet()
    if "--debug" not in arguments:
        warnings.simplefilter("ignore")  # of libraries, about their own future
    try:
        command = typer.main.get_command(app)  # not app(): that would set an excepthook of its own
        code = command.main(args=list(arguments), prog_name="postil", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except PostilError as error:
        if "--debug" in arguments:
            raise
        open_screen("--json" in arguments).error(error)
        return 1
    except WrongUsage as error:
        if is_a_call_for_help(error):
            error.show()
        else:
            sys.stderr.write("" if "--json" in arguments else usage_of(error) + "\n")
            open_screen("--json" in arguments).error(coded(error))
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):  # the second is what Click makes of the first
        sys.stderr.write("\n" + say("cli.interrupted") + "\n")
        return 130
