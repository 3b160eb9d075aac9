"""A server that speaks OSv's REST interface as its listings have it, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from nornir_torque_vm.osv.calls import PORT

ADDRESS = f"127.{64 + (os.getpid() >> 16) % 64}.{os.getpid() >> 8 & 255}.{1 + os.getpid() % 254}"
"""Of this run's guest: the port is OSv's own, and other runs have one too."""


class Osv:
    """The guest: environment, files, programs that end after some looks."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.commands: list[str] = []
        self.looks: list[int] = []
        """Threads that were asked for, in order."""
        self.left: dict[int, int] = {}
        """Thread → looks until its program has ended."""
        self.lasts = 2
        self.off = threading.Event()
        self.busy = 0
        """Connections that are closed without a word."""
        self.bare = False
        """Whether texts are sent without JSON's quotes."""

    def answer(self, method: str, target: str) -> tuple[int, str]:
        """Status and content for one request."""
        parts = urlsplit(target)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
        if (method, path) == ("GET", "/os/version"):
            return 200, self.text("v0.57.0")
        if method == "POST" and path.startswith("/env/"):
            self.environment[path.removeprefix("/env/")] = query["val"]
            return 200, self.text("")
        if method == "PUT" and path.startswith("/file/"):
            assert (query["op"], query["overwrite"]) == ("WRITE", "true")
            self.files[path.removeprefix("/file")] = query["content"]
            return 200, ""
        if (method, path) == ("PUT", "/app/"):
            return self.start(query["command"], query["new_program"])
        if (method, path) == ("GET", "/app/finished"):
            return 200, self.text(self.finished(int(query["tid"])))
        if (method, path) == ("POST", "/os/shutdown"):
            self.off.set()
            return 200, ""
        return 404, json.dumps({"message": f"{path} not found", "code": 404})

    def start(self, command: str, new_program: str) -> tuple[int, str]:
        """Start the programs of a line; one whose name is missing is not there."""
        assert new_program == "true"
        if "missing" in command:
            return 400, json.dumps("Failed to load object: /missing.so")
        self.commands.append(command)
        first = 200 + 10 * len(self.commands)
        threads = range(first, first + len(command.split("&")))
        self.left.update(dict.fromkeys(threads, self.lasts))
        return 200, self.text(" ".join(map(str, threads)))

    def finished(self, thread: int) -> str:
        """``1`` when a program has ended."""
        self.looks.append(thread)
        self.left[thread] -= 1
        return "1" if self.left[thread] < 0 else "0"

    def text(self, text: str) -> str:
        """A text as the server sends it."""
        return text if self.bare else json.dumps(text)


@contextlib.contextmanager
def serving(osv: Osv, address: str = ADDRESS, port: int = PORT) -> Iterator[int]:
    """Let the guest answer at an address of this machine's loopback; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            if osv.busy:
                osv.busy -= 1
                self.close_connection = True
                return
            status, content = osv.answer(self.command, self.path)
            data = content.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = respond  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server((address, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
