"""Classifies IP addresses, as public or inside a network, and resolves names.

Called by `targets`.
"""

import queue
import socket
import threading
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

type Address = IPv4Address | IPv6Address

# Python calls these global, or did in one of its versions (192.0.0.9): anycast services of IANA's special-purpose registry,
# and Azure's own platform address, which isn't in it.
_INSIDE_4 = tuple(
    IPv4Network(text)
    for text in (
        *("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24"),
        "168.63.129.16/32",
    )
)
# IANA has given only this to the world. Mapped (::ffff:0:0/96) and translated (64:ff9b::/96) addresses lie outside.
_WORLD_6 = IPv6Network("2000::/3")
# Of it, and global to Python in part or in some of its versions: IETF protocols (Teredo among them), 6to4, AS112, documentation.
_INSIDE_6 = tuple(IPv6Network(text) for text in ("2001::/23", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
# RFC 5214: the interface identifier of an address that leads through a tunnel to the IPv4 address in its end.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def parse_address(text: str) -> Address | None:
    """Return an address from its text, None if it isn't one."""
    for kind in (IPv4Address, IPv6Address):
        try:
            return kind(text)
        except AddressValueError:
            continue
    return None


def is_inside(address: Address) -> bool:
    """Return whether an address isn't one of the public internet: private, shared, local, multicast, reserved, or a tunnel's."""
    if not address.is_global or address.is_multicast:
        return True
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INSIDE_4)
    is_tunnel = int(address) >> 32 & 0xFFFF_FFFF in _ISATAP
    return address not in _WORLD_6 or is_tunnel or any(address in network for network in _INSIDE_6)


def resolve_name(host: str, seconds: float) -> list[str]:
    """Return the addresses of a name by the system's resolver. OSError if it has none within that many seconds."""
    results: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            results.put(OSError(str(error)))
        else:
            results.put(list(dict.fromkeys(str(each[4][0]) for each in found)))

    # The resolver has no time limit of its own.
    threading.Thread(target=ask, daemon=True).start()
    try:
        result = results.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise TimeoutError("no answer in time") from None
    if isinstance(result, OSError):
        raise result
    return result
