"""The console of a whole `stratagem up`: real agents, worker and updater behind what a browser sees."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from services.console import mail
from services.delivery import deliver
from services.letters import Choice, Letter
from streaming.contracts.topics import REWARDS, STRATEGIES
from tests.services.console.browser import CHROMIUM, DESKTOP, MISSING, PHONE, Theme, Visit, chromium, visiting
from tests.services.console.scene import HOSTILE
from tests.services.up_samples import ROOT, Up, event, eventually, free_block, running, values

if CHROMIUM is None:
    pytest.skip(MISSING, allow_module_level=True)
pytestmark = [pytest.mark.timeout(500), pytest.mark.slow]
CUSTOMERS = tuple(f"customer-{number}" for number in range(12))
QUICK = {
    "ALLOWED_LATENESS_S": "0", "RESPONSE_WINDOW_H": "0.0005", "HORIZON_H": "0.001", "DEADLINE_S": "600",
    "BATCH": "1", "TRAIN_EVERY": "1", "GROUP_PREFIX": "console-",
}  # fmt: skip
"""Windows of seconds, so that a small run goes all the way; a slow machine makes nothing late."""
PATIENCE_MS = 60_000
"""Bound of a wait; nothing is asserted of it."""


def catalog() -> str:
    """The example's products, each with a name that is an attack."""
    lines = [json.loads(line) for line in (ROOT / "docs/examples/shop.jsonl").read_text(encoding="utf-8").splitlines()]
    products = [line for line in lines if "unit_cost_minor" in line]
    return "\n".join(json.dumps({**each, "name": f"{each['name'][:20]} {HOSTILE}"[:200]}) for each in products)


def small_run(up: Up) -> None:
    """Customers look, are told something, click; one event is no event at all."""
    up.command("publish", text=catalog())
    up.command("publish", text="\n".join(event("Product Viewed", user, product_id="coffee-1") for user in CUSTOMERS))
    deliver(up.settings, [("shop.events", b"customer-0", b"{")])
    told = eventually(lambda: [s for s in values(up, STRATEGIES) if s["user_id"] in CUSTOMERS], "strategies")
    for what in ("Promotion Viewed", "Promotion Clicked"):
        lines = [event(what, each["user_id"], strategy_id=each["strategy_id"]) for each in told]
        up.command("publish", text="\n".join(lines))
    eventually(lambda: [reward for reward in values(up, REWARDS) if reward["stage"] == "final"], "a final reward")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[Up]:
    """One `up` on ports of its own, after a small run."""
    home = tmp_path_factory.mktemp("console-up") / "home"
    with running(Up(home, stratagem_home / "cache", METRICS_PORT=str(free_block()), **QUICK)) as begun:
        small_run(begun)
        yield begun


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with chromium() as started:
        yield started


def address(up: Up) -> str:
    """Where `up` says that the console is."""
    line = up.wait_for("console at http://")
    return line.partition("console at ")[2].split("/console/")[0]


@contextmanager
def logged_in(up: Up, browser: Browser, size: tuple[int, int] = DESKTOP, theme: Theme = "light") -> Iterator[Visit]:
    """A tab of somebody who came in with a key as the command makes it."""
    with visiting(browser, address(up), size, theme) as visit:
        visit.log_in(up.command("keys", "create", "Ada", "--scope", "operate").strip())
        yield visit


def ready(page: Page) -> None:
    """Every process is ready, and figures have come."""
    for name in ("agents", "worker", "updater", "gateway"):
        expect(page.locator(f"#state-{name}")).to_have_text("ready", timeout=PATIENCE_MS)


def test_every_process_is_there_and_ready(up: Up, browser: Browser) -> None:
    """`up` told the gateway where each is; rates of events that come now reach the open page by themselves."""
    with logged_in(up, browser) as visit:
        ready(visit.page)
        newcomers = (f"new-{number}" for number in range(12))  # who was told something just now is not told more
        up.command("publish", text="\n".join(event("Product Viewed", user, product_id="tea-1") for user in newcomers))
        for figure in ("events", "strategies", "median"):
            expect(visit.page.locator(f"#figure-{figure}")).not_to_have_text("–", timeout=PATIENCE_MS)
        assert visit.violations() == []
        assert visit.complaints == []
        visit.picture("now")
    with logged_in(up, browser, PHONE, "dark") as visit:
        ready(visit.page)
        assert visit.violations() == []
        visit.picture("now-phone")


def test_a_strategy_of_the_worker_is_shown_with_what_came_of_it(up: Up, browser: Browser) -> None:
    """From the list to one: slots with probabilities, checks, the reward; the product's name is text wherever it stands."""
    final = next(reward for reward in values(up, REWARDS) if reward["stage"] == "final" and not reward["ghost"])
    strategy = next(each for each in values(up, STRATEGIES) if each["strategy_id"] == final["strategy_id"])
    with logged_in(up, browser) as visit:
        visit.open("/console/strategies")
        visit.page.locator(f"a[href='/console/strategies/{final['strategy_id']}']").wait_for(timeout=PATIENCE_MS)
        page = visit.open(f"/console/strategies/{final['strategy_id']}")
        expect(page.locator("main")).to_contain_text(f"Reward so far: {final['reward']:+.4f}")
        for slot in strategy["decision"]:
            expect(page.get_by_role("rowheader", name=slot.replace("_", " "), exact=True)).to_be_visible()
        assert page.locator("main script, main img").count() == 0
        assert visit.violations() == []
        visit.open(f"/console/customers/{final['user_id']}")
        expect(page.locator("main")).to_contain_text("looked at a product")
        assert visit.complaints == []


def test_a_letter_that_fails_again_is_a_new_one(up: Up, browser: Browser) -> None:
    """The agents' own letter, sent again by the button: they refuse it again, and the new letter names the first."""
    with logged_in(up, browser) as visit:
        page = visit.open("/console/letters?reason=undecodable")
        page.locator("td a[href^='/console/letters/']").first.click()
        page.get_by_role("button", name="Send it again").click()
        expect(page.get_by_role("button", name="Send it again")).to_have_count(0)

        def again() -> list[Letter]:
            found = mail.chosen_of(up.settings, Choice(reason="undecodable"))
            return [letter for letter in found if letter.replay_of]

        (letter,) = eventually(again, "a second letter")
        visit.open(f"/console/letters/{letter.id}")
        expect(page.locator("main")).to_contain_text(f"2, after {letter.replay_of}")


def test_the_first_page_of_adapters_is_what_the_updater_announced(up: Up, browser: Browser) -> None:
    """Champion and critic as in its record; the critic's page has its numbers."""
    with logged_in(up, browser) as visit:
        page = visit.open("/console/adapters")
        expect(page.locator("dl.facts").first).to_contain_text("critic-")
        page.locator("dl.facts a[href^='/console/adapters/critic-']").click()
        expect(page.locator("main")).to_contain_text("Served as: critic")
        assert visit.violations() == []


def test_a_pause_by_the_button_is_lifted_by_the_command(up: Up, browser: Browser) -> None:
    """Paused by the button: the command line says so too, and lifts it."""
    with logged_in(up, browser) as visit:
        visit.page.get_by_role("button", name="Pause strategies").click()
        expect(visit.page.get_by_role("button", name="Resume strategies")).to_be_visible()
        assert up.command("resume") == "resumed\n"
        expect(visit.page.locator("#paused-state")).to_have_text("Running", timeout=PATIENCE_MS)
