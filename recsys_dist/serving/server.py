"""Runs the service on uvicorn until SIGTERM or Ctrl-C, and lets requests under way end."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn

from recsys_dist.errors import ConfigError, refusal
from recsys_dist.serving.app import Service, build_app
from recsys_dist.serving.served_model import ServedModel

Handler = Callable[[int, Any], None] | signal.Handlers
WAITING_CONNECTIONS = 2048
SWITCH_S = 0.0005
"""Time after which a thread lets others run Python code. By default the thread of connections waits up to 5 ms for
the one that asks the model."""
KEEP_ALIVE_S = 75
"""Longer than proxies keep idle connections (often 60 s): none sends a request into one that is being closed."""
LET_END_S = 30
"""Time that requests under way have to end after SIGTERM."""


def serve(
    url: str,
    host: str,
    port: int,
    device: str,
    verify: bool,
    looks: bool,
    on_start: Callable[[ServedModel, str], None],
) -> None:
    """Serve the model at `url` on `host`:`port` until SIGTERM or Ctrl-C; port 0 takes any free one.

    `looks`: a changed model is loaded by itself, not only on SIGHUP. `on_start` is called with the model and the
    address once requests are taken. Raises `CheckpointError` or `ConfigError` if the model cannot be loaded, and
    `ConfigError` if the address cannot be used.
    """
    # Bound first: a wrong address is reported at once, not after the model is loaded. SIGHUP would end the process
    # while it loads.
    with _bound(host, port) as listener, _switching_often(), _handled({signal.SIGHUP: signal.SIG_IGN}):
        served = ServedModel(url, device, verify)
        service = Service(served, looks)
        config = uvicorn.Config(
            build_app(service),
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=WAITING_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LET_END_S,
        )
        listener.listen(WAITING_CONNECTIONS)
        on_start(served, _address(listener))
        with _handled(_while_running(service.watcher.ask)):
            uvicorn.Server(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address, closed after the block."""
    with ExitStack() as open_socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = open_socket.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}, port {port}: {refusal(error)}; choose --host and --port"
            ) from None
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _switching_often() -> Iterator[None]:
    previous = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(previous)


def _while_running(reload: Callable[[], None]) -> Mapping[signal.Signals, Handler]:
    """SIGHUP reloads. uvicorn raises SIGTERM and Ctrl-C again when it has ended: they are done then."""
    return {
        signal.SIGHUP: lambda *_: reload(),
        signal.SIGTERM: lambda *_: None,
        signal.SIGINT: lambda *_: None,
    }


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals in the block."""
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
