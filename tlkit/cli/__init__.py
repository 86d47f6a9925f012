"""Every command parses, calls one function of the library, and prints.

Bodies import, so that help is quick. To add a command, write it in the module of its kind and name
it in the table below.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import Annotated, Any

import typer

import tlkit
from tlkit import native_output
from tlkit.cli import (
    cache,
    data,
    deploy,
    doctor,
    experiments,
    finetune,
    images,
    networks,
    runs,
    weights,
)
from tlkit.errors import TlkitError
from tlkit.foreign_text import printable, take_any_text
from tlkit.interrupts import Terminated
from tlkit.run_log import PlainLines

app = typer.Typer(
    help="Fine-tune an image classifier on a folder of pictures, and get a report you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
# What Typer raises for a flag that does not exist or does not parse (newer Typers carry Click
# inside).
UsageError: Any = typer.BadParameter.__base__

COMMANDS: dict[str, tuple[Any, ...]] = {
    "From pictures to a model": (
        images.inspect,
        finetune.finetune,
        experiments.lr_find,
        experiments.search,
        experiments.ensemble,
    ),
    "How good it is": (runs.report, runs.evaluate, runs.compare, runs.explain),
    "Using it": (runs.predict, deploy.serve, deploy.export),
    "What there is": (networks.backbones, networks.summary, doctor.doctor),
}
GROUPS = {
    "data": ("From pictures to a model", data.app),
    "weights": ("What there is", weights.app),
    "cache": ("What there is", cache.app),
}
for heading, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=heading)(command)
for group, (heading, commands_of_it) in GROUPS.items():
    app.add_typer(commands_of_it, name=group, rich_help_panel=heading)


def main() -> None:
    """The entry point: an error the user can mend is one line on stderr and exit code 2."""
    take_any_text(sys.stdout)  # stderr does already
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except TlkitError as error:
        _fail(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare `tlkit data` asks for its help
            print(error.format_message(), end="")
            sys.exit(0)
        command = error.ctx.command_path if error.ctx else "tlkit"
        _fail(f"{error.format_message().rstrip('.')}. See `{command} --help`.")
    except Terminated as stop:
        _fail("Terminated.", code=int(str(stop)))
    except (KeyboardInterrupt, typer.Abort):
        _fail("Interrupted.", code=130)
    except BrokenPipeError:
        _reader_left()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Click has seen it first
            _reader_left()
        raise
    finally:
        gc.freeze()  # or Python would look through everything that is left before it goes: a second
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also show what the libraries say.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Set up what all commands share."""
    if version:
        print(f"tlkit {tlkit.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
    _show_log(verbose)


def _reader_left() -> None:
    """End as other programs do when nobody reads their output any more (`| head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python still has to write
    sys.exit(141)


def _fail(message: str, code: int = 2) -> None:
    print(f"tlkit: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)


def _show_log(verbose: bool) -> None:
    """Print what tlkit says on stderr as plain lines, and nothing that native libraries say."""
    if not verbose:
        native_output.keep_off_terminal()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainLines("%(message)s"))
    # How a frozen network is computed is for log.txt: nobody has to do anything about it.
    handler.addFilter(lambda record: verbose or record.name != "tlkit.engines")
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    logging.getLogger("tlkit").setLevel(logging.INFO)
