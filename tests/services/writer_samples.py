"""A server of texts whose answers are the test's, and who asks it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from model.wording import compose
from services.writer import RemoteTexts
from services.writer_client import WriterClient
from streaming.contracts.strategies import StrategyRequest
from tests.model.sample import request_of

FRIENDLY = {"product": "product-0", "channel": "onsite", "send_time": "now", "tone": "friendly"}
GOOD = compose("recommendation", "en", "session_start", FRIENDLY, None)
Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def say(text: str) -> Answer:
    """A proper completion."""

    def answer(to: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        send(to, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())

    return answer


def send(to: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    """An answer with a body."""
    to.send_response(status)
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    to.wfile.write(body)


class Server:
    """A real HTTP server whose answers are the test's; remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        """Listen on a free port."""
        self.answer, self.asked, self.keys = answer, [], []  # type: ignore[var-annotated]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                send(self, b'{"object": "list", "data": [{"id": "first"}, {"id": "second"}]}')

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(asked)
                outer.keys.append(self.headers.get("Authorization"))
                try:
                    outer.answer(self, asked)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(
    answer: Answer, *, wait_s: float = 60.0, timeout_s: float = 60.0, **options: str
) -> Iterator[tuple[Server, RemoteTexts]]:
    """A server and who asks it."""
    server = Server(answer)
    client = WriterClient(
        server.url, model=options.get("model", "m"), key=options.get("key", ""), timeout_s=timeout_s, temperature=0.7
    )
    texts = RemoteTexts(client, wait_s=wait_s, concurrency=2, variants=2)
    try:
        yield server, texts
    finally:
        texts.close()
        server.close()


def ask(
    texts: RemoteTexts, request: StrategyRequest | None = None, *, due_s: float | None = None, **changes: str
) -> str:
    """One text."""
    due = time.monotonic() + 60 if due_s is None else due_s
    (text,) = texts.texts([request or request_of(1)], [FRIENDLY | changes], np.random.default_rng(0), due)
    return text
