"""A trial that runs: a real updater tells how far it has come, a person sees it and takes it off by the button."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from services import metrics
from services.health import Health
from services.local.stack import Endpoints
from tests.model.closed import closed_rewards
from tests.services.console.browser import CHROMIUM, MISSING, Visit, chromium, visiting
from tests.services.gateway_bench import Bench as Gateway
from tests.services.gateway_bench import free_port
from tests.services.test_updater_trials import outcomes, put_on_trial, serving
from tests.services.updater_samples import Bench, quick_settings

if CHROMIUM is None:
    pytest.skip(MISSING, allow_module_level=True)
pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]
CUSTOMERS = 400
TRIAL = {
    "lm_weight": 1.0, "canary_share": 0.5, "trial_window_h": 1.0, "trial_settle_h": 1.0, "trial_min_customers": 1000,
    "value_margin": 5.0, "candidate_every_steps": 1000, "change_wait_s": 60.0,
}  # fmt: skip
"""No trial ends before a thousand customers."""
PATIENCE_MS = 60_000


@pytest.fixture
def updater(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """Changes are served the language model alone."""
    made = Bench(quick_settings(stack, topic_prefix, tmp_path, **TRIAL))
    yield made
    made.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """One tab is all it takes."""
    with chromium() as started:
        yield started


def progress(page: Page) -> str:
    """The row of the canary's trial."""
    page.reload()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="canary", exact=True))
    return row.first.inner_text() if row.count() else ""


def seen(visit: Visit, customers: int) -> bool:
    """Whether the page counts so many, on both sides together."""
    words = progress(visit.page).replace(",", " ").split()
    counted = [int(word) for word in words if word.isdecimal()]
    return sum(counted[:2]) >= customers


def test_a_trial_under_way_is_seen_and_taken_off(
    updater: Bench, stack: Endpoints, topic_prefix: str, tmp_path: Path, browser: Browser
) -> None:
    """Customers by side and bounds as the updater counts them; rolled back by the button, which the updater takes over."""
    told = metrics.serve("updater", "127.0.0.1", free_port(), Health(patience_s=60.0))
    gateway = Gateway(stack, topic_prefix, tmp_path, console_processes=f"updater=127.0.0.1:{told}")
    with updater.running() as thread, gateway.process(), visiting(browser, gateway.url) as visit:
        updater.until(updater.loaded, "the base", thread.is_alive)
        served = put_on_trial(updater, thread)
        visit.log_in(gateway.keys["operate"])
        page = visit.open("/console/adapters")
        expect(page.locator("dl.facts").first).to_contain_text(f"{served.canary} to 50")
        updater.say(outcomes(closed_rewards(300)[0], served, range(CUSTOMERS), paid=1.0))
        updater.until(lambda: seen(visit, CUSTOMERS // 4), "customers on the page", thread.is_alive)
        assert visit.violations() == []
        page = visit.open(f"/console/adapters/{served.canary}/rollback")
        page.get_by_label("Reason").fill("the campaign ends today")
        page.get_by_role("button", name="Roll back").click()
        updater.until(lambda: serving(updater).canary == "", "the canary off", thread.is_alive)
        page = visit.open("/console/adapters")
        expect(page.locator("dl.facts").first).not_to_contain_text(f"{served.canary} to")
        updater.until(lambda: progress(page) == "", "the end of the trial on the page", thread.is_alive)
        assert visit.complaints == []
