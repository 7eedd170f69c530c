"""Names and addresses of machines, as certificates and connections write them."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _is_host(text: str) -> str:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        labels = text.split(".")
        wrong = len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels)
        if wrong or labels[-1].isdigit():
            raise ValueError(
                "a host name in lower case, such as fed.example.org, or an IP address"
            ) from None
    else:
        if str(parsed) != text:
            raise ValueError(f"an IP address in its usual form: {parsed}")
    return text


def _is_address(text: str) -> str:
    host, port = split_address(text)
    _is_host(host)
    if not 1 <= port <= 65_535:
        raise ValueError("host:port with a port from 1 to 65535")
    return text


Host = Annotated[str, AfterValidator(_is_host)]
"""A DNS name in lower case or an IP address."""
Port = Annotated[int, Field(ge=1, le=65_535)]
Address = Annotated[str, AfterValidator(_is_address)]
"""`host:port`; an IPv6 address stands in brackets."""


def address(host: str, port: int) -> str:
    """`host:port`.

    >>> address("::1", 8443)
    '[::1]:8443'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(text: str) -> tuple[str, int]:
    """Undo `address`.

    Raises:
        ValueError: it is not of this form.

    >>> split_address("fed.example.org:8443")
    ('fed.example.org', 8443)
    """
    found = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([^\[\]:]+)):([1-9][0-9]{0,4})", text)
    if found is None:
        raise ValueError("host:port, such as fed.example.org:8443")
    return found[1] or found[2], int(found[3])


def is_ip(host: str) -> bool:
    """Whether it is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
