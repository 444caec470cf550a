"""The worker answers kinds that nobody told it of."""

from pathlib import Path

from model.grid import ActionGrid
from services.local.stack import Endpoints
from services.settings import WorkerSettings
from tests.installation import installation
from tests.model.declared import DECLARED, declared_request
from tests.model.sample import request_of
from tests.services.worker_samples import Bench, patient


def test_declared_kinds_are_answered_beside_those_that_ship(
    stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """The request brings its grammar: one slot and ten, together with kinds that ship, each with its text and its checks."""
    bench = Bench(
        installation(WorkerSettings, stack, topic_prefix, tmp_path, redis_url=redis_url, device="cpu", batch_size=8)
    )
    asked = [patient(declared_request(name, 3, "lm")) for name in DECLARED] + [patient(request_of(1))]
    with bench.worker():
        for request in asked:
            bench.ask(request)
        found = {answer.request_id: answer for answer in bench.strategies(len(asked))}
    for request in asked:
        answer = found[request.request_id]
        grid = ActionGrid.of(request)
        assert grid.allowed[grid.index(answer.decision)]
        assert answer.request == request
        assert answer.message.title
    assert found[asked[0].request_id].message.body == "Have a look."
    bench.close()
