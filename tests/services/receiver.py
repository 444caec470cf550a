"""Somebody who is told things by HTTP, on a free port of loopback."""

import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

HOST = "127.0.0.1"


class Receiver:
    """Answers each POST with 200 once `take` has had its headers and its body."""

    def __init__(self) -> None:
        """Listen."""
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                take(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer((HOST, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, headers: Message, body: bytes) -> None:
        """What is done with one."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server.server_port}/"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
