"""`docs/library.md`: its blocks are one program, run as they stand in a process that cannot import a stream's client."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LOOP_LINES = 30
TIMEOUT_S = 500

FORBID = """
import sys
for name in ("faust", "mode", "kafka", "aiokafka", "redis", "services"):
    sys.modules[name] = None  # an import of it fails
"""
CHECK = """
best = sum(TASTE[r.features.categories["lifecycle"]] == d.decision["subject"] for r, d in zip(requests, together))
assert np.mean(chances[-100:]) > 2 * 0.19 > np.mean(chances[:20]), (np.mean(chances[:20]), np.mean(chances[-100:]))
assert distances[-1] < 0.75 * distances[0], distances
assert best >= 18, best  # of 40; 13.3 by chance
assert {check.name for check in judgement.checks} == {"artifact", "parity", "decisions", "kl", "entropy", "value"}
assert judgement.numbers["parity_rows"] == 40 and judgement.numbers["parity_max"] < 1e-4
assert max(map(abs, parity_gaps(lm, newer, lambda version: None, {critic.version: critic}))) > 1e-2
assert all(check.passed for check in judgement.checks if check.name in ("parity", "decisions", "value")), judgement
assert why.effects[0].feature == "lifecycle" and why.effects[0].effect_nats > 0, why
"""


def test_the_program_of_the_page_runs_and_learns() -> None:
    """Without Kafka, Faust, Redis and our own services: the critic beats chance, the adapter nears it, the gate has its say."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join((FORBID, *BLOCKS, CHECK))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_loop_is_short() -> None:
    """Decide → reward → learn with a kind of one's own in under thirty lines, the kind and imports apart or not."""
    (loop,) = [block for block in BLOCKS if "learner.learn(reward)" in block]
    (kind,) = [block for block in BLOCKS if "Grammar(" in block]
    assert loop.count("\n") + kind.count("\n") < LOOP_LINES
