"""One call of a server that speaks OpenAI's chat completions, bounded in time and bytes; what can go wrong has a name."""

import time
from collections.abc import Sequence
from typing import Literal

import httpx
import msgspec

from model.elsewhere.asking import Turn
from services.reading import printable

MOST_BYTES = 256 * 1024
"""Of an answer."""
MOST_DETAIL = 300
"""Of a refusal, for the log."""
MOST_TOKENS = 120

Fault = Literal["unreachable", "timeout", "status", "garbage"]


class Failed(Exception):
    """No answer came of it."""

    def __init__(self, fault: Fault, detail: str) -> None:
        """Name the fault; the detail never holds the key."""
        super().__init__(f"{fault}: {detail}")
        self.fault = fault


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class WriterClient:
    """Asks for texts; may be used by several threads."""

    def __init__(self, url: str, *, model: str, key: str, timeout_s: float, temperature: float) -> None:
        """Connect with the first call. Redirects are not followed, and the environment's proxies not asked."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(timeout=timeout_s, headers=headers, trust_env=False)
        self._url, self._model, self._timeout_s, self._temperature = url, model, timeout_s, temperature

    def write(self, turns: Sequence[Turn]) -> str:
        """The answer's text.

        Raises:
            Failed: no server, no answer in time, another status than 200, or something that is no completion.
        """
        asked = {
            "model": self._model or self._first_model(),
            "messages": [msgspec.structs.asdict(turn) for turn in turns],
            "temperature": self._temperature,
            "max_tokens": MOST_TOKENS,
            "stream": False,
        }
        raw = self._call("POST", "/chat/completions", msgspec.json.encode(asked))
        try:
            choices = msgspec.json.decode(raw, type=_Completion).choices
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Failed("garbage", f"no completion ({error})") from None
        return (choices[0].message.content or "") if choices else ""

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _first_model(self) -> str:
        raw = self._call("GET", "/models", None)
        try:
            models = msgspec.json.decode(raw, type=_Models).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Failed("garbage", f"no list of models ({error})") from None
        if not models:
            raise Failed("garbage", "the server names no model; STRATAGEM_WRITER_MODEL does")
        self._model = models[0].id
        return self._model

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        over_s = time.monotonic() + self._timeout_s
        headers = {"Content-Type": "application/json"} if body else {}
        received = bytearray()
        try:
            with self._http.stream(method, self._url + path, content=body, headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    why = next(answer.iter_bytes(MOST_DETAIL), b"").decode("utf-8", "replace")
                    raise Failed("status", f"{answer.status_code} {printable(why)}")
                for chunk in answer.iter_bytes():
                    received += chunk
                    if len(received) > MOST_BYTES:
                        raise Failed("garbage", f"more than {MOST_BYTES} bytes")
                    if time.monotonic() > over_s:  # a server that drips: each chunk was in time, all of them are not
                        raise Failed("timeout", f"not whole after {self._timeout_s} s")
        except httpx.TimeoutException:
            raise Failed("timeout", f"nothing for {self._timeout_s} s") from None
        except httpx.DecodingError as error:
            raise Failed("garbage", str(error)) from None
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            RuntimeError,
        ) as error:  # RuntimeError: closed while the worker stops
            raise Failed("unreachable", type(error).__name__) from None
        return bytes(received)
