"""A loopback web server of a folder: byte ranges, a log of requests, and faults on order.

It is a process of its own, because GDAL keeps Python's lock while it waits for an answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_ORDERS = "/-/orders"


class Asked(NamedTuple):
    """One request, and the answer to it."""

    method: str
    path: str
    status: int
    size: int  # bytes that were sent


@dataclass
class Web:
    """A folder behind a URL, and what was asked of it."""

    url: str
    process: subprocess.Popen[str]

    def order(self, **orders: Any) -> Any:
        """Change what the server does, and return its log."""
        request = Request(self.url + _ORDERS, json.dumps(orders).encode(), method="POST")
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def fail(self, *statuses: int) -> None:
        """Answer the next requests with these statuses."""
        self.order(faults=list(statuses))

    def forget(self) -> None:
        """Empty the log."""
        self.order(forget=True)

    @property
    def asked(self) -> list[Asked]:
        """The requests since the log was emptied."""
        return [Asked(*one) for one in self.order()]

    @property
    def sent(self) -> int:
        """Bytes of files that were sent."""
        return sum(one.size for one in self.asked)

    @property
    def missed(self) -> list[str]:
        """Paths that were asked for and do not exist."""
        return [one.path for one in self.asked if one.status == 404]

    def stop(self) -> None:
        """End the server: nobody answers at its address any more."""
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def web(folder: Path) -> Iterator[Web]:
    """Serve a folder on the loopback while the block runs."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Web(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.terminate()


def serve(folder: Path) -> None:  # noqa: C901  (the methods of one handler)
    """Serve until the process is ended; print the port first."""
    log: list[Asked] = []
    faults: list[int] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            orders = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                faults[:] = orders.get("faults", faults)
                if orders.get("forget"):
                    log.clear()
                self.reply(200, json.dumps(log).encode(), {})

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            file = folder / path.lstrip("/")
            with lock:
                fault = faults.pop(0) if faults else None
            status, data, more = (fault, b"", {}) if fault else self.part(file)
            size = len(data) if self.command == "GET" else 0
            with lock:
                log.append(Asked(str(self.command), path, status, size))
            self.reply(status, data, more)

        def part(self, file: Path) -> tuple[int, bytes, dict[str, str]]:
            if not file.is_file():
                return 404, b"", {}
            size = file.stat().st_size
            wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
            if wanted is None:
                return 200, file.read_bytes(), {}
            start = int(wanted[1])
            stop = min(size, int(wanted[2]) + 1) if wanted[2] else size
            if start >= size:
                return 416, b"", {}
            with file.open("rb") as opened:
                opened.seek(start)
                data = opened.read(stop - start)
            return 206, data, {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}

        def reply(self, status: int, data: bytes, more: dict[str, str]) -> None:
            self.send_response(status)
            headers = {"Accept-Ranges": "bytes", "Content-Length": str(len(data)), **more}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
