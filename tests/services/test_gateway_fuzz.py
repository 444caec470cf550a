"""What the OpenAPI document allows, and much that it does not, sent to the running gateway by schemathesis."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from services.gateway_keys import SCOPES
from services.gateway_openapi import document
from services.gateway_paths import DOORS
from services.local.stack import Endpoints
from tests.services.gateway_bench import PATIENCE_S, Bench

EXAMPLES = 8
"""Of each operation and mode: seconds in all."""


@pytest.fixture(scope="module")
def gateway(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway of these tests' own: they pause and publish as it comes."""
    prefix, home = f"fuzz-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("fuzz")
    with Bench(stack, prefix, home, gateway_decide_ms=1).process() as bench:
        bench.until(lambda: bench.health("ready")[0] == 200)
        yield bench


def each(
    operation: "APIOperation[Any, Any, Any, Any]", mode: GenerationMode, send: Callable[["Case[Any]"], None]
) -> None:
    """Send some cases of an operation, always the same."""

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: "Case[Any]") -> None:
        send(case)

    sent()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_finds_a_bug(gateway: Bench, mode: GenerationMode) -> None:
    """Whatever is sent, by a key that opens everything, the answer is no 5xx, and no bug is counted."""
    statuses: set[int] = set()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {gateway.key(SCOPES)}"

        def send(case: "Case[Any]") -> None:
            how = case.as_transport_kwargs(base_url=gateway.url)
            # Its head is enough: the stream never ends.
            with session.request(**how, stream=True, timeout=PATIENCE_S) as answer:
                statuses.add(answer.status_code)
                assert answer.status_code < 500, (how, answer.text)

        found = schemathesis.openapi.from_dict(document()).get_all_operations()
        operations = [one.ok() for one in found if isinstance(one, Ok)]
        assert len(operations) == len(DOORS)
        for operation in operations:
            each(operation, mode, send)
    assert statuses & {400, 422}
    assert gateway.metric('stratagem_bugs_total{service="gateway"}') == 0
    assert gateway.health("healthy")[0] == 200
