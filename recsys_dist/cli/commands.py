"""The program `recsys-dist`: its commands and its exit codes.

Exit codes: 0 done, 1 `doctor` found a problem, 2 a mistake of the user (one line `error: ...` on stderr), 75
(EX_TEMPFAIL) training or a sweep was asked to stop, saved its state and can be started again. A closed output
pipe, as by `head`, does not change them.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from recsys_dist.cli.blend_command import blend
from recsys_dist.cli.data_commands import inspect, prepare
from recsys_dist.cli.demo_command import demo, fit
from recsys_dist.cli.doctor_command import doctor
from recsys_dist.cli.list_commands import recommend, similar
from recsys_dist.cli.model_commands import evaluate, export
from recsys_dist.cli.plan_command import plan
from recsys_dist.cli.predict_command import predict
from recsys_dist.cli.serve_command import serve
from recsys_dist.cli.streams import lasting_streams
from recsys_dist.cli.training_commands import merge, report, sweep, train, verify_parity
from recsys_dist.cli.usage import UsageError, explained, is_help
from recsys_dist.errors import PeerError, RecsysDistError, refusal
from recsys_dist.plain_text import printable
from recsys_dist.version import __version__

NAME = "recsys-dist"
EXIT_USER_ERROR = 2
COMMANDS = (
    fit,
    prepare,
    plan,
    train,
    sweep,
    merge,
    blend,
    evaluate,
    recommend,
    similar,
    predict,
    serve,
    export,
    report,
    inspect,
    verify_parity,
    doctor,
    demo,
)
"""In the order in which `--help` lists them."""

app = typer.Typer(
    name=NAME,
    help="Rating prediction and recommendation for data that no longer fits one machine.\n\n"
    "prepare -> train -> merge -> evaluate, recommend, predict, serve, export, report. "
    "Every path may be a folder or a URL (s3://, gs://, ...).\n\n"
    "A single process uses all cores; mf trains on the cores that are free when it starts. OMP_NUM_THREADS sets "
    "another number. Waiting threads hardly spin, unless OMP_WAIT_POLICY or GOMP_SPINCOUNT is set.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    # Otherwise the interpreter searches all imported modules for cycles at exit, for a quarter of a second.
    atexit.register(gc.freeze)
    with lasting_streams():
        try:
            _run(arguments)
        except SystemExit as end:
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                _leave(end)
            raise


def _leave(end: SystemExit) -> None:
    """End one of several ranks without shutting the interpreter down.

    Shortly after a collective a gloo thread releases its tensors, for which it needs the interpreter. If that is
    shutting down, it ends the thread, and the thread's C++ code aborts the process (seen with torch 2.13 in about
    one of thirty short runs): a rank that has finished its work would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _run(arguments: Sequence[str] | None) -> None:
    try:
        # Shell completion needs the name of the program, also under `python -m`.
        code = app(args=arguments, prog_name=NAME if arguments is None else None, standalone_mode=False)
        raise SystemExit(code if isinstance(code, int) else 0)
    except UsageError as error:
        if is_help(error):
            error.show()
            raise SystemExit(EXIT_USER_ERROR) from None
        _fail(explained(error))
    except PeerError as error:
        _fail(str(error), on_each_node=True)
    except RecsysDistError as error:
        _fail(str(error))
    except OSError as error:
        _fail(refusal(error))


def _fail(reason: str, on_each_node: bool = False) -> None:
    """Print one line and exit. Under torchrun only the first rank prints; the agent's summary reports the others.

    `on_each_node` prints on the first rank of each node: an agent that has lost the other nodes reports nothing.
    """
    first = os.environ.get("LOCAL_RANK" if on_each_node else "RANK", "0") == "0"
    if first or "TORCHELASTIC_ERROR_FILE" not in os.environ:
        sys.stderr.write(f"error: {printable(' '.join(reason.split()))}\n")
        sys.stderr.flush()
    raise SystemExit(EXIT_USER_ERROR)
