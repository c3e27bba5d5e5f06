"""An object store on loopback that fails as told: moto behind a layer that breaks some of its answers.

Run as a file it is the server: it prints its port and serves until its standard input ends. `running_store` is the
other side: it starts one, tells it what to break and asks what was requested.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

CONTROL = "/_faults"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
NO_SUCH_KEY = (
    b"<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id does not exist.</Message></Error>"
)
REFUSALS = {
    "500": ("500 Internal Server Error", INTERNAL),
    "503": ("503 Slow Down", SLOW_DOWN),
    "403": ("403 Forbidden", NO_SUCH_KEY),
}


@dataclass
class Faults:
    """Break every `every`-th request whose path contains `of`, in the ways of `kinds` by turns.

    500, 503 and 403 refuse; `cut` sends half of an object and hangs up; `short` sends half as if that were all;
    `flip` changes a byte.
    """

    every: int = 0
    kinds: list[str] = field(default_factory=lambda: ["500", "503", "cut", "short"])
    of: str = ""


class FaultyStore:
    """The WSGI application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._begin(Faults())

    def _begin(self, faults: Faults) -> None:
        self._faults, self._kinds, self._counter = faults, itertools.cycle(faults.kinds), itertools.count(1)
        self._due: list[str] = []
        self._requests: list[str] = []
        self._broken: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == CONTROL:
            return self._control(environ, start_response)
        with self._lock:
            kind = self._draw(f"{environ['REQUEST_METHOD']} {path}", is_object=_gets_object(environ))
        if kind in REFUSALS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, body = REFUSALS[kind]
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body] if environ["REQUEST_METHOD"] != "HEAD" else []
        if kind:
            return self._spoiled(kind, environ, start_response)
        return self._application(environ, start_response)

    def _draw(self, request: str, is_object: bool) -> str:
        """The way to break this request; what only suits objects waits for the next one."""
        self._requests.append(request)
        if self._faults.of not in request or not self._faults.every:
            return ""
        if next(self._counter) % self._faults.every == 0:
            self._due.append(next(self._kinds))
        kind = next((kind for kind in self._due if is_object or kind in REFUSALS), "")
        if kind:
            self._due.remove(kind)
            self._broken.append(f"{kind} {request}")
        return kind

    def _spoiled(self, kind: str, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: list[Any] = []
        body = b"".join(self._application(environ, lambda *head: answer.append(head[:2])))
        status, headers = answer[0]
        sent = body[: len(body) // 2] if kind in {"cut", "short"} else body[:-1] + bytes([body[-1] ^ 1])
        claimed = len(body) if kind == "cut" else len(sent)
        kept = [(name, value) for name, value in headers if name.lower() not in DESCRIBING]
        start_response(status, [*kept, ("Content-Length", str(claimed))])
        return [sent]

    def _control(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            seen = json.dumps({"requests": self._requests, "broken": self._broken}).encode()
            if environ["REQUEST_METHOD"] == "PUT":
                self._begin(Faults(**json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))))
        start_response("200 OK", [("Content-Length", str(len(seen)))])
        return [seen]


# What would tell that a body was spoiled: a gateway that cuts answers short sends none of these.
DESCRIBING = {"content-length", "x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x-amz-checksum-sha256"}


def _gets_object(environ: dict[str, Any]) -> bool:
    """Whether an object's content is asked for, which is neither a list nor empty."""
    is_key = environ["PATH_INFO"].strip("/").count("/") > 0
    return environ["REQUEST_METHOD"] == "GET" and is_key and "list-type" not in environ["QUERY_STRING"]


@dataclass(frozen=True)
class ObjectStore:
    """A running server, as the tests see it."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def breaking(self, every: int, **faults: Any) -> None:
        """Break requests from now on; 0 breaks none. The counts begin anew."""
        self._talk("PUT", json.dumps(asdict(Faults(every, **faults))))

    def requests(self) -> list[str]:
        """Method and path of what was requested since."""
        return list(self._talk("GET")["requests"])

    def broken(self) -> list[str]:
        """Of these the ones that were broken, the way first."""
        return list(self._talk("GET")["broken"])

    def create_bucket(self, name: str) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("PUT", f"/{name}")
            assert connection.getresponse().status == 200

    def _talk(self, method: str, body: str | None = None) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, CONTROL, body)
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def running_store() -> Iterator[ObjectStore]:
    """A store in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "tests.support.object_store"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = server.stdout.readline()
            assert port.strip().isdigit(), "the object store did not start"
            yield ObjectStore(int(port))
        finally:
            server.stdin.close()
            server.wait(10)


def serve() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application = FaultyStore(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
