"""Addresses of servers: checked before anything is sent there."""

import ipaddress
from urllib.parse import urlsplit

from roboreward_gym.errors import InvalidSetting


def check_url(url: str) -> str:
    """Return the address without a slash at its end.

    >>> check_url("http://127.0.0.1:8321/")
    'http://127.0.0.1:8321'

    Raises:
        InvalidSetting: Not an http(s) address of a host, or one that carries a password or a query.
    """
    example = "Write it like http://127.0.0.1:8321."
    try:
        parts = urlsplit(url)
        _ = parts.port  # read for its check: an impossible port raises
    except ValueError as error:
        raise InvalidSetting(f"This is not an address of a server: {error}. {example}") from error
    if parts.username or parts.password:
        # The address is printed and saved with every score, so the text of it must not go on from here.
        raise InvalidSetting(
            "The address contains a user or a password. "
            "Put the secret into the environment variable that the client reads."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSetting(f"{url!r} is not an http(s) address. {example}")
    if parts.query or parts.fragment or any(c.isspace() for c in url):
        raise InvalidSetting(f"The address {url!r} has a query or spaces. {example}")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach the host.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_server(url: str) -> bool:
    """Whether a server lies on this machine or in a private network, so that nobody sends a bill.

    >>> is_own_server("http://gpu-box:8000/v1"), is_own_server("http://10.0.0.7/v1"), is_own_server("https://api.openai.com/v1")
    (True, True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan"))


def is_loopback_url(url: str) -> bool:
    """Whether a server lies on this machine, so that no proxy can reach it.

    >>> is_loopback_url("http://127.0.0.1:8000/v1"), is_loopback_url("https://api.openai.com/v1")
    (True, False)
    """
    return is_loopback(urlsplit(url).hostname or "")
