"""The console over HTTP on a real gateway, Kafka and Redis: who comes in, what is changed and by whom, what is never shown."""

import html
import re
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from services.console import customers
from services.console.access import COOKIE
from services.console.audit import newest
from services.console.rendering import CSP
from services.gateway_keys import parted, revoke
from services.local.stack import Endpoints
from streaming.control import is_paused
from tests.services.console.scene import CANARY, CHAMPION, HOSTILE, HOSTILE_USER, OLD, SECRET, STRATEGIES, Scene

PAGES = (
    "/console/", "/console/rewards", "/console/rewards?measure=net", "/console/strategies", "/console/customers",
    f"/console/customers/{quote(HOSTILE_USER, safe='')}", "/console/adapters", f"/console/adapters/{CANARY}",
    f"/console/adapters/{CANARY}/promote", f"/console/adapters/{CHAMPION}/rollback", "/console/letters",
    "/console/letters/replay", "/console/settings", "/console/audit",
)  # fmt: skip
HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cache-Control")


@pytest.fixture(scope="module")
def scene(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway with something to show on every page."""
    prefix, home = f"console-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("console")
    made = Scene(stack, prefix, home, kafka_sasl_password=SECRET)
    with made.shown():
        yield made


@pytest.fixture
def client(scene: Scene) -> Iterator[httpx.Client]:
    """Somebody who is logged in."""
    with scene.visitor() as visitor:
        assert log_in(visitor, scene.key()).status_code == 200
        yield visitor


def log_in(visitor: httpx.Client, key: str, wanted: str = "/console/") -> httpx.Response:
    """Send the form."""
    return visitor.post("/console/login", data={"key": key, "next": wanted})


def token(visitor: httpx.Client, page: str = "/console/") -> str:
    """The token of the session's forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', visitor.get(page).text)
    assert found
    return found[1]


def acts(scene: Scene) -> list[tuple[str, str, str]]:
    """What the audit has: who, what, on what; newest first."""
    found = newest(scene.store, scene.settings.topic_prefix, 500)
    return [(kept.entry.by, kept.entry.what, kept.entry.on) for _, kept in found]


def test_every_page_is_shown_to_who_is_logged_in_and_to_nobody_else(scene: Scene, client: httpx.Client) -> None:
    """Without a session each leads to the login, which leads back; with one each is a page under the strict headers."""
    letters = re.findall(r'"(/console/letters/(?!replay)[^"?]+)"', client.get("/console/letters").text)
    for page in (*PAGES, f"/console/strategies/{scene.told[-1]}", letters[0]):
        answer = client.get(page)
        assert answer.status_code == 200, (page, answer.text[-500:])
        assert answer.headers["Content-Security-Policy"] == CSP
        assert all(name in answer.headers for name in HEADERS)
        assert " style=" not in answer.text
        assert "<style" not in answer.text
        stranger = httpx.get(scene.bench.url + page)
        assert stranger.status_code == 303, page
        assert stranger.headers["location"].startswith("/console/login?next=%2Fconsole%2F")


def test_the_cookie_is_kept_from_scripts_and_other_sites(scene: Scene) -> None:
    """HttpOnly, SameSite=Strict, for the console's paths alone; not the session's name in Redis."""
    with scene.visitor() as visitor:
        answer = log_in(visitor, scene.key())
        said = answer.history[0].headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(said.split("; "))
    value = said.partition("=")[2].partition(";")[0]
    assert not [key for key in scene.store.scan_iter("*") if value.encode() in key]


def test_only_a_key_that_may_operate_comes_in(scene: Scene) -> None:
    """No key, a wrong one, one of another scope: the login again, and no session."""
    good = scene.key()
    for key in ("", "sk_x_y", good[:-1], scene.key(scope="read"), scene.key(scope="publish"), "\udc80", "é" * 500):
        with scene.visitor() as visitor:
            answer = log_in(visitor, key.encode("utf-8", "replace").decode())
            assert answer.status_code == 401
            assert COOKIE not in visitor.cookies
            assert visitor.get("/console/audit").url.path == "/console/login"


def test_a_revoked_key_is_out_at_once_and_so_is_who_logs_out(scene: Scene) -> None:
    """The session ends with its key; after logging out the old cookie opens nothing."""
    key = scene.key("Eve")
    with scene.visitor() as visitor:
        log_in(visitor, key)
        revoke(scene.store, scene.settings.topic_prefix, parted(key)[0])
        assert visitor.get("/console/audit").url.path == "/console/login"
    with scene.visitor() as visitor:
        log_in(visitor, scene.key())
        cookie = visitor.cookies[COOKIE]
        visitor.post("/console/logout", data={"csrf": token(visitor)})
        answer = httpx.get(f"{scene.bench.url}/console/audit", headers={"Cookie": f"{COOKIE}={cookie}"})
        assert answer.status_code == 303


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/v1/pause", "/console/\\evil", "/console/\r\nx: y"]
)
def test_a_login_leads_nowhere_else(scene: Scene, wanted: str) -> None:
    """An address that is none of the console's is the first page."""
    with scene.visitor() as visitor:
        assert log_in(visitor, scene.key(), wanted).history[0].headers["location"] == "/console/"


def test_a_change_needs_the_sessions_token_and_our_own_page(scene: Scene, client: httpx.Client) -> None:
    """Without it, with another session's, from another site, as JSON: refused, and nothing is changed."""
    with scene.visitor() as other:
        log_in(other, scene.key())
        foreign = token(other)
    good = token(client)
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"reason": "a good one"}, {}),
        ({"csrf": foreign}, {}),
        ({"csrf": good}, {"Origin": "https://evil.example"}),
        ({"csrf": good}, {"Origin": "null"}),
    ]
    for path in ("/pause", f"/adapters/{CANARY}/promote", "/letters/replay", "/logout"):
        for fields, headers in tries:
            assert client.post(f"/console{path}", data=fields, headers=headers).status_code == 403, (path, fields)
        assert client.post(f"/console{path}", json={"csrf": good}).status_code == 415
        assert client.get("/console/pause").status_code == 405
    assert client.post("/console/pause", data={"csrf": good, "x": "y" * 20_000}).status_code == 413
    assert not is_paused(scene.store, scene.settings.topic_prefix)
    assert [act for act in acts(scene) if act[1] in ("pause", "promote", "replay all")] == []


def test_pause_is_a_button_and_leaves_a_name(scene: Scene, client: httpx.Client) -> None:
    """By console and by HTTP alike: it is so at once, each page says it, the audit says who."""
    prefix = scene.settings.topic_prefix
    answer = client.post("/console/pause", data={"csrf": token(client)}, headers={"Origin": scene.bench.url})
    assert answer.status_code == 200
    assert is_paused(scene.store, prefix)
    assert "Paused: no new strategies" in client.get("/console/audit").text
    client.post("/console/resume", data={"csrf": token(client)})
    assert not is_paused(scene.store, prefix)
    with scene.bench.client("operate") as caller:
        caller.post("/v1/pause")
        caller.post("/v1/resume")
    assert [act for act in acts(scene) if act[1] in ("pause", "resume")] == [
        ("test", "resume", ""), ("test", "pause", ""), ("Ada", "resume", ""), ("Ada", "pause", ""),
    ]  # fmt: skip


def test_what_shops_and_customers_say_is_text(scene: Scene, client: httpx.Client) -> None:
    """A product, a customer, a letter that are attacks: escaped on every page, direction characters replaced."""
    customer = f"/console/customers/{quote(HOSTILE_USER, safe='')}"
    pages = ("/console/strategies", f"/console/strategies/{scene.told[-1]}", customer, "/console/letters")
    shown = html.escape(HOSTILE.replace("\u202e", "\ufffd")).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    for page in pages:
        text = client.get(page).text
        assert shown in text, page
        assert "<img src=x" not in text
        assert "<script>document" not in text
        assert "<b onmouseover" not in text
        assert "\u202e" not in text
        assert "49" not in re.findall(r"\{\{.*?\}\}", text)


def test_no_secret_is_on_the_page_of_settings(client: httpx.Client) -> None:
    """The password is hidden, the other settings are there; no key is."""
    text = client.get("/console/settings").text
    assert "STRATAGEM_KAFKA_SASL_PASSWORD" in text
    assert SECRET not in text
    assert "STRATAGEM_HORIZON_H" in text
    assert "sk_" not in text


def test_a_customer_nobody_knows_is_said_to_be_so_and_a_look_is_written_down(
    scene: Scene, client: httpx.Client
) -> None:
    """404 with the form again; who looked at a real one stands in the audit."""
    unknown = client.get("/console/customers?id=%3Cb%3Enobody")
    assert (unknown.status_code, "“&lt;b&gt;nobody” was applied" in unknown.text) == (404, True)
    found = client.get("/console/customers", params={"id": HOSTILE_USER})
    assert "order-1" in found.text
    assert ("Ada", "looked at a customer", customers.alias(HOSTILE_USER)) in acts(scene)
    assert HOSTILE_USER not in scene.bench.log.read_text()


def test_a_chart_is_drawn_and_its_numbers_stand_beside_it(scene: Scene, client: httpx.Client) -> None:
    """SVG of each theme and size once the rewards are read; the table has every arm with its count."""
    scene.bench.until(lambda: "Still reading" not in (text := client.get("/console/rewards").text) and "<table" in text)
    text = client.get("/console/rewards").text
    whole = text.partition("Over time</h2>")[0]
    assert re.findall(r'<th scope="row">(\w+)</th><td class="num">(\d+)</td>', whole) == [
        (arm, str(STRATEGIES // 4)) for arm in ("fused", "lm", "critic", "random")
    ]
    drawn = {
        client.get(f"/console/rewards.svg?theme={theme}&size={size}").text
        for theme in ("light", "dark")
        for size in ("wide", "narrow")
    }
    assert len(drawn) == 4
    assert all(each.startswith("<svg") for each in drawn)


def test_live_figures_come_until_the_session_ends(scene: Scene) -> None:
    """Server-sent events with the gateway's own state; they end with the session."""
    with scene.visitor() as visitor, scene.visitor() as second:
        log_in(visitor, scene.key())
        second.cookies = visitor.cookies
        with visitor.stream("GET", "/console/live") as stream:
            lines = stream.iter_lines()
            first = next(line for line in lines if line.startswith("data: "))
            assert '"state-gateway":"ready"' in first
            assert '"state-agents":"unreachable"' in first
            second.post("/console/logout", data={"csrf": token(second)})
            rest = list(lines)  # ends by itself
        assert len(rest) < 10


def test_what_is_not_there_is_a_page_too(client: httpx.Client) -> None:
    """Unknown pages, strategies, versions, letters, acts: 404 in words."""
    for path in (
        "x",
        "strategies/x",
        "adapters/x",
        "letters/x",
        f"adapters/{OLD}/rollback",
        f"adapters/{CANARY}/burn",
        "static/x",
    ):
        answer = client.get(f"/console/{path}")
        assert answer.status_code == 404, path
        assert "<h1>There is no such thing</h1>" in answer.text


def test_no_bug_was_tripped(scene: Scene) -> None:
    """After all of the above."""
    assert scene.bench.metric('stratagem_bugs_total{service="gateway"}') == 0
