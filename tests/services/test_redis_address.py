"""One address of Redis from all that its settings say."""

import pytest

from services.redis_address import with_credentials
from services.settings import Common


@pytest.mark.parametrize(
    "url", ["unix:///run/redis.sock", "unix:///run/redis.sock?db=3", "redis://h:6379/2", "redis://user:p%40ss@h?db=1"]
)
def test_an_address_to_which_nothing_is_added_stays_as_it_is(url: str) -> None:
    """That of the embedded Redis above all, which is a path."""
    assert with_credentials(Common(redis_url=url)).redis_url == url


def test_user_and_password_are_options_of_the_address() -> None:
    """Quoted, behind those that it has."""
    settings = Common(redis_url="unix:///r.sock?db=3", redis_username="worker", redis_password="a&b=c")  # noqa: S106 -- a sample
    assert with_credentials(settings).redis_url == "unix:///r.sock?db=3&username=worker&password=a%26b%3Dc"
