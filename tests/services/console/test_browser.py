"""The console in a real Chromium: accessible, readable on a phone, dark and light, usable by keyboard, and safe."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from services.console import lineage
from services.console.audit import newest
from services.local.stack import Endpoints
from services.reading import read_all
from streaming.contracts.topics import SHOP_EVENTS
from streaming.control import is_paused
from streaming.dead_letters import LETTER_HEADER
from tests.services.console.browser import (
    CHROMIUM,
    DESKTOP,
    LOOKS,
    MISSING,
    Theme,
    Visit,
    chromium,
    letter_of,
    visiting,
)
from tests.services.console.scene import BAD_EVENT, CANARY, CHAMPION, HOSTILE, HOSTILE_USER, OLD, Scene
from tests.services.gateway_bench import Bench

if CHROMIUM is None:
    pytest.skip(MISSING, allow_module_level=True)
pytestmark = pytest.mark.timeout(400)
CUSTOMER = f"/console/customers/{quote(HOSTILE_USER, safe='')}"
PICTURES = {"/console/rewards": "rewards", "/console/strategies/{told}": "strategy", "/console/adapters": "adapters"}
"""For the docs; the first page is taken of a whole `up`."""
PAGES = (
    "/console/", "/console/rewards", "/console/strategies", "/console/strategies/{told}", "/console/strategies/{hostile}",
    "/console/customers", CUSTOMER, "/console/adapters", f"/console/adapters/{CANARY}",
    f"/console/adapters/{CANARY}/promote", f"/console/adapters/{CHAMPION}/rollback", "/console/letters",
    "/console/letters/{letter}", "/console/letters/replay", "/console/settings", "/console/audit", "/console/nothing",
)  # fmt: skip


@pytest.fixture(scope="module")
def scene(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway with something to show on every page."""
    made = Scene(stack, f"browser-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("browser"))
    with made.shown():
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests; each has a tab and cookies of its own."""
    with chromium() as started:
        yield started


@pytest.fixture
def visit(scene: Scene, browser: Browser) -> Iterator[Visit]:
    """Somebody who is logged in at a desk."""
    with visiting(browser, scene.bench.url) as made:
        made.log_in(scene.key("Ada"))
        yield made


def settled(visit: Visit) -> None:
    """Until what the console reads back is read."""
    for path in ("/console/rewards", "/console/strategies"):
        while "Still reading" in (text := visit.open(path).content()) or "<table" not in text:
            visit.page.wait_for_timeout(200)


@pytest.mark.parametrize(("size", "theme"), LOOKS)
def test_every_page_is_accessible_and_fits(scene: Scene, browser: Browser, size: tuple[int, int], theme: Theme) -> None:
    """At a desk and at 375 pixels, light and dark: axe finds nothing, nothing is wider than the window, nothing is refused."""
    with visiting(browser, scene.bench.url, size, theme) as visit:
        visit.open("/console/login")
        assert visit.violations() == []
        visit.log_in(scene.key("Ada"))
        settled(visit)
        names = {
            "told": scene.told[0],
            "hostile": scene.told[-1],
            "letter": letter_of(visit.open("/console/letters")).rpartition("/")[2],
        }
        for path in PAGES:
            visit.open(path.format(**names))
            visit.page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
            assert visit.violations() == [], path
            assert visit.overflow_px() <= 0, path
            if path in PICTURES and (size, theme) == (DESKTOP, "light"):
                visit.picture(PICTURES[path])
        assert [said for said in visit.complaints if "404 (Not Found)" not in said] == []  # the page that is not there
        assert visit.elsewhere == []


def test_axe_sees_what_is_wrong(visit: Visit) -> None:
    """A page that is spoiled on purpose is found out, so that finding nothing means something."""
    page = visit.open("/console/customers")
    page.evaluate("document.querySelector('label').replaceWith(document.querySelector('label input'))")
    assert [found.partition(":")[0] for found in visit.violations()] == ["label"]


def test_hostile_text_is_text(scene: Scene, visit: Visit) -> None:
    """A product, a customer and a letter that are attacks: seen as they are written, and nothing of them runs."""
    settled(visit)
    shown = HOSTILE.replace("\u202e", "\ufffd")
    for path in (f"/console/strategies/{scene.told[-1]}", "/console/strategies", CUSTOMER, "/console/letters"):
        page = visit.open(path)
        assert shown in page.locator("main").inner_text()
        assert page.locator("main script, main img[src='x'], main b").count() == 0
        assert page.title() not in ("taken", "1")
    assert visit.complaints == []


def test_scripts_that_come_by_any_way_do_not_run(visit: Visit) -> None:
    """Even markup that were in a page: the policy lets no inline script, handler or style, and nothing from elsewhere."""
    page = visit.open("/console/audit")
    page.evaluate("""() => {
        const script = document.createElement("script"); script.textContent = "window.taken = 1"; document.body.append(script);
        const image = document.createElement("div"); image.innerHTML = "<img src=x onerror='window.taken = 2'>";
        document.body.append(image);
        const far = document.createElement("script"); far.src = "https://example.invalid/x.js"; document.body.append(far);
    }""")
    page.wait_for_timeout(300)
    assert page.evaluate("window.taken") is None
    assert [said for said in visit.complaints if "Content Security Policy" in said]


def test_the_keyboard_is_enough(visit: Visit) -> None:
    """The first tab skips to the content; what has the focus shows it; a form is sent by Enter."""
    page = visit.open("/console/")
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    assert skip.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page = visit.open("/console/customers")
    page.get_by_label("User id").focus()
    page.keyboard.type(HOSTILE_USER)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Customer {HOSTILE_USER}")


def test_the_first_page_is_live(scene: Scene, visit: Visit) -> None:
    """What the processes say reaches the open page by itself, and a pause from elsewhere too."""
    page = visit.open("/console/")
    expect(page.locator("#live")).to_have_text("live", timeout=30_000)
    expect(page.locator("#state-gateway")).to_have_text("ready", timeout=30_000)
    expect(page.locator("#state-agents")).to_have_attribute("data-state", "unreachable")
    with scene.bench.client("operate") as caller:
        caller.post("/v1/pause")
        expect(page.locator("#paused-state")).to_have_text("Paused: no new strategies", timeout=30_000)
        caller.post("/v1/resume")
    expect(page.locator("#paused-state")).to_have_text("Running", timeout=30_000)


def test_pause_and_resume_are_a_button(scene: Scene, visit: Visit) -> None:
    """Clicked on any page; it is so in Redis."""
    page = visit.open("/console/settings")
    page.get_by_role("button", name="Pause strategies").click()
    expect(page.get_by_role("button", name="Resume strategies")).to_be_visible()
    assert is_paused(scene.store, scene.settings.topic_prefix)
    page.get_by_role("button", name="Resume strategies").click()
    expect(page.get_by_role("button", name="Pause strategies")).to_be_visible()
    assert not is_paused(scene.store, scene.settings.topic_prefix)


def test_a_dead_letter_is_read_and_sent_again(scene: Scene, visit: Visit) -> None:
    """One by its page, the others by their sort: the same bytes in the topic, once, with a name in the audit."""
    page = visit.open("/console/letters?reason=undecodable")
    page.locator("td a[href^='/console/letters/']").first.click()
    expect(page.locator(".original")).to_contain_text("<script>alert(1)</script>")
    page.get_by_role("button", name="Send it again").click()
    expect(page.locator("dd", has_text=re.compile("^yes$"))).to_be_visible()
    expect(page.get_by_role("button", name="Send it again")).to_have_count(0)
    page = visit.open("/console/letters?reason=bad_field")
    page.get_by_role("link", name="Send these again").click()
    expect(page.locator("main li")).to_have_text("2 of shop.events, bad field")
    page.get_by_role("button", name="Send them again").click()
    expect(page.get_by_role("status")).to_have_text("2 sent again, 0 cannot be, 0 tell of no record.")
    again = [record for record in read_all(scene.settings, SHOP_EVENTS) if LETTER_HEADER in record.headers]
    assert sorted(record.value or b"" for record in again) == [BAD_EVENT, BAD_EVENT + b" ", BAD_EVENT + b"  "]
    expect(visit.open("/console/letters").locator("main")).to_contain_text("None.")
    told = [kept.entry for _, kept in newest(scene.store, scene.settings.topic_prefix, 100)]
    assert [(each.by, each.what) for each in told if each.what.startswith("replay")] == [
        ("Ada", "replay all"), ("Ada", "replay"),
    ]  # fmt: skip


def test_an_adapter_is_promoted_and_rolled_back(scene: Scene, visit: Visit) -> None:
    """Each with a page that asks, a reason, a decision in the topic by the key's name, and an entry in the audit."""
    page = visit.open("/console/adapters")
    page.get_by_role("link", name=f"Promote {CANARY}").click()
    page.get_by_label("Reason").fill("    ")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("alert")).to_contain_text("a reason of 3 to 400 characters")
    assert served(scene) == (2, CHAMPION)
    page.get_by_label("Reason").fill("measured elsewhere <b>")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(CANARY)
    expect(page.locator("main")).to_contain_text("Served as: champion")
    expect(page.locator("main")).to_contain_text("measured elsewhere <b>")
    assert served(scene) == (3, CANARY)
    page = visit.open("/console/adapters")
    page.get_by_role("link", name=f"Roll back {CANARY}").click()
    expect(page.locator("main")).to_contain_text(f"{CHAMPION} is served to everybody instead")
    page.get_by_label("Reason").fill("complaints by phone")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("main")).to_contain_text("complaints by phone")
    assert served(scene) == (4, CHAMPION)
    decisions = lineage.read(scene.settings).decisions
    assert [(each.version, each.decision, each.by) for each in decisions[:2]] == [
        (CANARY, "rolled_back", "Ada"), (CANARY, "promoted", "Ada"),
    ]  # fmt: skip
    text = visit.open("/console/audit").locator("main").inner_text()
    assert "complaints by phone" in text
    assert "measured elsewhere <b>" in text


def served(scene: Scene) -> tuple[int, str]:
    """Epoch and champion."""
    found = lineage.read(scene.settings).serving
    assert found is not None
    return found.epoch, found.champion


def test_a_cookie_for_https_alone_comes_back_to_this_machine(
    stack: Endpoints, browser: Browser, tmp_path: Path, topic_prefix: str
) -> None:
    """Behind a port that a container engine binds to loopback: the gateway listens everywhere, the browser comes by http."""
    bench = Bench(stack, topic_prefix, tmp_path, gateway_host="0.0.0.0")  # noqa: S104 -- as in a container
    with bench.process(), visiting(browser, bench.url) as visit:
        visit.log_in(bench.keys["operate"])
        (cookie,) = visit.page.context.cookies(f"{bench.url}/console/")
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
        expect(visit.open("/console/audit").get_by_role("heading", level=1)).to_have_text("Audit")


def test_lineage_is_a_line(visit: Visit) -> None:
    """A version's page names what it came from, back to the base."""
    steps = visit.open(f"/console/adapters/{CANARY}").locator("ol.line li")
    assert steps.all_inner_texts() == [CANARY, CHAMPION, OLD, "base"]
