"""`serve`: the command that answers requests over HTTP.

Heavy modules are imported inside the command, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys_dist.cli.options import DeviceOption, FamilyOption, ModelArgument, VerifyOption, name_families

if TYPE_CHECKING:
    from recsys_dist.serving.served_model import ServedModel

LOOPBACK = "127.0.0.1"


def serve(
    model_dir: ModelArgument,
    host: Annotated[
        str, typer.Option(help="Address to listen on. The default reaches this machine alone; 0.0.0.0 is all.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 8000,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch/--no-watch", help="Load a new model by itself when MODEL_DIR changes, not only on SIGHUP."
        ),
    ] = True,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Answer requests over HTTP: predictions, lists, fold-in, similar items; with a page to try them.

    A new model takes over without a dropped request. Ctrl-C or SIGTERM ends it when open requests are answered.

    Example: recsys-dist serve models/ml1m --port 8000
    """
    from recsys_dist.serving.extra import serving_tools

    with serving_tools():
        from recsys_dist.serving.server import is_loopback
        from recsys_dist.serving.server import serve as run

    def tell(served: ServedModel, address: str) -> None:
        typer.echo(f"{served.loaded.model!r} answers on {address}")
        if not is_loopback(host):
            typer.echo("Whoever reaches this address is answered: put a proxy with a login before it.", err=True)

    name_families(family)
    run(model_dir, host, port, device, verify, watch, tell)
