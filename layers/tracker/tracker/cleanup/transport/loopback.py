"""This is which hosts are this machine itself: the only ones that are spoken to without TLS."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Return whether a host is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
