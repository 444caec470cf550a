"""`stratagem keys`: who may use the HTTP gateway."""

from datetime import UTC, datetime
from typing import Any

import click

from services.cli_data import nothing, with_redis


@click.group()
def keys() -> None:
    """Create, list and revoke the API keys of the HTTP gateway."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(["publish", "read", "operate"]),
    help="What it opens; may be given several times.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Events and requests per second; 0: the setting.")
def create(name: str, scopes: tuple[Any, ...], rate: float) -> None:
    """Make a key for NAME and print it: this once, because only its hash is kept.

    A key of the scope `publish` may send events, one of `read` may see profiles and strategies, one of `operate` may steer.
    A key in a web page is known to all: give that one `publish` alone.
    """
    from services.gateway_keys import add, issue

    if not name.strip() or len(name) > 100:  # noqa: PLR2004 -- as `Key.name` has it
        raise click.BadParameter("wanted 1 to 100 characters", param_hint="NAME")
    issued = issue(name, tuple(dict.fromkeys(scopes)), datetime.now(UTC), rate_per_s=rate)
    with_redis(lambda client, prefix: add(client, prefix, issued.key))
    click.echo(issued.text)


@keys.command("list")
def list_keys() -> None:
    """Every key that stands: its id, scopes, rate, when it was made, for whom."""
    from services.gateway_keys import listed
    from services.reading import printable

    for key in with_redis(listed):
        rate = f"{key.rate_per_s:g}/s" if key.rate_per_s else "-"
        click.echo(f"{key.key_id} {','.join(key.scopes)} {rate} {key.created_at:%Y-%m-%d %H:%M} {printable(key.name)}")


@keys.command("revoke")
@click.argument("key_id")
def revoke_key(key_id: str) -> None:
    """Revoke the key with KEY_ID, at once; exits with 1 when there is none."""
    from services.gateway_keys import revoke

    if not with_redis(lambda client, prefix: revoke(client, prefix, key_id)):
        nothing(f"no key {key_id!r}; `stratagem keys list` names them")
    click.echo("revoked")
