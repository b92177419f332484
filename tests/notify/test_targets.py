"""This is where a webhook may lead: no spelling of a URL, and no name, leads inside."""

import ipaddress
import socket
import threading
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.model.errors import Invalid
from tracker.model.settings import Settings, from_environment
from tracker.notify.addresses import resolve_name
from tracker.notify.targets import Forbidden, Resolve, Unsent, check_name, check_url, find_addresses, parse_target

WORLD = Settings()
HERE = Settings(allow_http_loopback_webhooks=True)

# By what they try.
HOSTILE: dict[str, list[str]] = {
    "no https": [
        "http://hooks.example.org/x",
        "HTTP://hooks.example.org/x",
        "ftp://hooks.example.org/x",
        "file:///etc/passwd",
        "gopher://hooks.example.org/_x",
        "javascript:alert(1)",
        "data:text/plain,x",
        "//hooks.example.org/x",
        "hooks.example.org/x",
        "https:/hooks.example.org/x",
        "https:hooks.example.org/x",
        "https:///x",
        "https://",
        "https://?x",
        "",
    ],
    "credentials, and hosts that aren't what they seem": [
        "https://user:word@hooks.example.org/x",
        "https://user@hooks.example.org/x",
        "https://@hooks.example.org/x",
        "https://hooks.example.org@169.254.169.254/x",
        "https://hooks.example.org:443@10.0.0.1/x",
        "https://hooks.example.org%40169.254.169.254/x",
        "https://10.0.0.1\\@hooks.example.org/x",
        "https://hooks.example.org\\@10.0.0.1/x",
        "https://10.0.0.1#@hooks.example.org/x",
        "https://hooks.example.org#/x",
        "https://10.0.0.1;@hooks.example.org/x",
        "https://hooks.example.org /x",
        "https://hooks.example.org\t/x",
        "https:\\\\hooks.example.org\\x",
    ],
    "lines of their own": [
        "https://hooks.example.org/x\r\nHost: metadata",
        "https://hooks.example.org/x\n",
        "\nhttps://hooks.example.org/x",
        "https://hooks.example.org\r\n/x",
        "https://hooks.example.org/x%0d%0aHost:%20metadata",
        "https://hooks.example.org/x%00",
        "https://hooks.example.org/x%7F",
        "https://hooks.example.org/x\x00",
        "https://hooks.example.org/x y",
        "https://hooks.example.org/%zz",
        "https://hooks.example.org/%",
    ],
    "ports": [
        "https://hooks.example.org:22/x",
        "https://hooks.example.org:80/x",
        "https://hooks.example.org:0/x",
        "https://hooks.example.org:0443/x",
        "https://hooks.example.org:+443/x",
        "https://hooks.example.org:443:443/x",
        "https://hooks.example.org:65979/x",
        "https://hooks.example.org:99999999999999999999/x",
        "https://hooks.example.org:/x",
        "https://hooks.example.org:https/x",
        "https://hooks.example.org:8443.5/x",
        "https://hooks.example.org:٤٤٣/x",
    ],
    "IPv4": [
        "https://127.0.0.1/x",
        "https://127.1.2.3/x",
        "https://0.0.0.0/x",
        "https://10.0.0.1/x",
        "https://172.16.0.1/x",
        "https://172.31.255.255/x",
        "https://192.168.1.1/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://169.254.170.2/v2/credentials",
        "https://100.64.0.1/x",
        "https://100.100.100.200/latest/meta-data/",
        "https://168.63.129.16/machine?comp=goalstate",
        "https://192.0.0.192/opc/v2/instance/",
        "https://192.0.2.1/x",
        "https://198.51.100.7/x",
        "https://203.0.113.7/x",
        "https://198.18.0.1/x",
        "https://192.88.99.1/x",
        "https://224.0.0.1/x",
        "https://239.255.255.250/x",
        "https://240.0.0.1/x",
        "https://255.255.255.255/x",
    ],
    "IPv4 in another spelling": [
        "https://2130706433/x",
        "https://2852039166/latest",
        "https://0x7f000001/x",
        "https://0X7F.1/x",
        "https://0x7f.0x0.0x0.0x1/x",
        "https://017700000001/x",
        "https://0177.0.0.1/x",
        "https://0251.0376.0251.0376/x",
        "https://127.1/x",
        "https://127.0.1/x",
        "https://127.0.0.1./x",
        "https://127.0.0.01/x",
        "https://0/x",
        "https://0x/x",
        "https://256.256.256.256/x",
        "https://127.0.0.1.1/x",
        "https://8.8.8.8.0x7f/x",
        "https://4294967297/x",
        "https://\uff11\uff12\uff17.0.0.1/x",
        "https://127。0。0。1/x",
        "https://①②⑦.0.0.1/x",
        "https://%31%32%37.0.0.1/x",
        "https://127%2e0%2e0%2e1/x",
    ],
    "IPv6": [
        "https://[::1]/x",
        "https://[0:0:0:0:0:0:0:1]/x",
        "https://[0000::0001]/x",
        "https://[::]/x",
        "https://[fe80::1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[fe80::1%eth0]/x",
        "https://[2600::1%25eth0]/x",
        "https://[fc00::1]/x",
        "https://[fd00:ec2::254]/latest/meta-data/",
        "https://[fec0::1]/x",
        "https://[ff02::1]/x",
        "https://[2001:db8::1]/x",
        "https://[3fff::1]/x",
        "https://[100::1]/x",
        "https://[5f00::1]/x",
        "https://[2001:10::1]/x",
        "https://[2001:2::1]/x",
        "https://[v1.fe80::1]/x",
        "https://[::1/x",
        "https://::1/x",
        "https://[]/x",
        "https://[127.0.0.1]/x",
        "https://[hooks.example.org]/x",
        "https://[2600::1]x/x",
        "https://[[2600::1]]/x",
    ],
    "IPv4 mapped into or translated to IPv6": [
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:7f00:1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://[::ffff:a9fe:a9fe]/x",
        "https://[::ffff:8.8.8.8]/x",
        "https://[::ffff:0:127.0.0.1]/x",
        "https://[::127.0.0.1]/x",
        "https://[64:ff9b::127.0.0.1]/x",
        "https://[64:ff9b::a9fe:a9fe]/x",
        "https://[64:ff9b:1::10.0.0.1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[2002:a9fe:a9fe::1]/x",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/x",
        "https://[2600::5efe:10.0.0.1]/x",
        "https://[2600::200:5efe:a00:1]/x",
    ],
    "names that only some know": [
        "https://localhost/x",
        "https://LOCALHOST/x",
        "https://localhost./x",
        "https://localhost.localdomain/x",
        "https://x.localhost/x",
        "https://metadata/computeMetadata/v1/",
        "https://metadata.google.internal/computeMetadata/v1/",
        "https://instance-data.ec2.internal/latest/",
        "https://ip-10-0-0-1.eu-west-1.compute.internal/x",
        "https://printer.local/x",
        "https://router.lan/x",
        "https://nas.home/x",
        "https://nas.home.arpa/x",
        "https://wiki.corp/x",
        "https://intranet/x",
        "https://kubernetes.default.svc.cluster.local/x",
        "https://hooks.test/x",
        "https://hooks.invalid/x",
        "https://hidden.onion/x",
        "https://1.0.0.127.in-addr.arpa/x",
    ],
    "names that are none": [
        "https://hooks.example.org./x",
        "https://hooks..example.org/x",
        "https://.example.org/x",
        "https://-hooks.example.org/x",
        "https://hooks-.example.org/x",
        "https://hooks_1.example.org/x",
        "https://hooks.example.org,10.0.0.1/x",
        "https://*.example.org/x",
        "https://hooks.exämple.org/x",
        "https://ⓗooks.example.org/x",
        "https://lo\u00adcalhost/x",
        "https://localho\u017ft/x",
        "https://hooks.example\u3002org/x",
        "https://hooks.example%E3%80%82org/x",
        "https://" + "a" * 64 + ".example.org/x",
        "https://" + ".".join(["a" * 60] * 5) + ".org/x",
        "https://hooks.example.org/" + "x" * 2048,
    ],
}
URLS = [pytest.param(url, id=f"{what}-{n}") for what, urls in HOSTILE.items() for n, url in enumerate(urls)]

GOOD = [
    "https://hooks.example.org",
    "https://hooks.example.org/",
    "https://hooks.example.org/a/b?c=d&e=%20f",
    "https://hooks.example.org?c=d",
    "https://hooks.example.org:8443/x",
    "https://hooks.example.org:443/x",
    "HTTPS://Hooks.Example.ORG/x",
    "https://xn--exmple-cua.org/x",
    "https://a.co/x",
    "https://1password.com/x",
    "https://127.0.0.1.example.org/x",
    "https://8.8.8.8/x",
    "https://[2606:4700:4700::1111]/x",
    "https://hooks.example.org/x@y:z",
    "https://hooks.example.org/services/T0/B0/" + "x" * 1900,
]


def answering(*found: str) -> Resolve:
    return lambda _host, _seconds: list(found)


def test_the_table_of_hostile_urls_is_long_and_names_none_twice(noted: Callable[[str], None]) -> None:
    urls = [url for found in HOSTILE.values() for url in found]
    assert len(set(urls)) == len(urls) >= 60
    noted(f"hostile webhook URLs: {len(urls)}, each refused")


@pytest.mark.parametrize("url", URLS)
def test_a_hostile_webhook_url_is_refused_with_a_reason_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_url(url, WORLD)
    assert caught.value.field == "cleanup_webhook"
    assert caught.value.status == 422
    assert len(url) < 9 or url not in caught.value.message
    assert caught.value.details["expected"]


def test_a_url_with_credentials_is_refused_for_them() -> None:
    for url in ("https://user:word@hooks.example.org/x", "https://hooks.example.org:443@10.0.0.1/x"):
        with pytest.raises(Forbidden, match="without credentials"):
            parse_target(url, WORLD)


def test_a_url_may_have_2048_characters_and_no_more() -> None:
    longest = "https://hooks.example.org/".ljust(2048, "x")
    assert parse_target(longest, WORLD).host == "hooks.example.org"
    with pytest.raises(Forbidden, match="2048 characters"):
        parse_target(longest + "x", WORLD)


@pytest.mark.parametrize("url", URLS)
def test_no_webhook_url_that_is_hostile_becomes_good_on_a_stack_on_one_machine(url: str) -> None:
    """But what says this very machine in plain words."""
    try:
        goal = parse_target(url, HERE)
    except Forbidden:
        return
    assert goal.own
    assert goal.host in ("localhost", "127.0.0.1", "::1")


@pytest.mark.parametrize("url", GOOD)
def test_a_good_webhook_url_is_taken(url: str) -> None:
    check_url(url, WORLD)


def test_a_webhook_is_called_where_its_url_says() -> None:
    goal = parse_target("https://Hooks.Example.org:8443?a=b", WORLD)
    assert (goal.scheme, goal.host, goal.port, goal.path) == ("https", "hooks.example.org", 8443, "/?a=b")
    assert goal.host_header == "hooks.example.org:8443"
    assert parse_target("https://[2606:4700:4700:0::1111]/", WORLD).host_header == "[2606:4700:4700::1111]"


def test_other_ports_are_called_only_if_a_setting_allows_them() -> None:
    assert parse_target("https://hooks.example.org:9443/", Settings(webhook_ports=[9443])).port == 9443
    with pytest.raises(Forbidden, match="port of 9443"):
        parse_target("https://hooks.example.org/", Settings(webhook_ports=[9443]))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://localhost:8080/x", "http://[::1]:8080/x"])
def test_a_webhook_on_this_machine_needs_the_setting(url: str) -> None:
    assert parse_target(url, HERE).own
    with pytest.raises(Forbidden):
        parse_target(url, WORLD)


INSIDE = [
    *("127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.19.0.1", "240.0.0.1", "168.63.129.16", "192.0.0.9"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:db8::1", "2002:a00:1::", "64:ff9b::a00:1"),
    *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "2001:0:1::1", "3fff::1", "2600::5efe:7f00:1", "no address", ""),
]


@pytest.mark.parametrize("address", INSIDE)
def test_a_webhooks_name_that_leads_inside_is_refused_at_registration(address: str) -> None:
    with pytest.raises(Invalid, match="public addresses"):
        check_name("https://hooks.example.org/x", WORLD, answering(address))


def test_a_webhooks_name_that_leads_inside_beside_outside_is_refused() -> None:
    goal = parse_target("https://hooks.example.org/x", WORLD)
    with pytest.raises(Forbidden):
        find_addresses(goal, answering("93.184.215.14", "10.0.0.1"), 1)


def test_a_webhooks_name_of_public_addresses_leads_there() -> None:
    goal = parse_target("https://hooks.example.org/x", WORLD)
    found = [str(each) for each in find_addresses(goal, answering("93.184.215.14", "2606:2800:21f:cb07::1"), 1)]
    assert found == ["93.184.215.14", "2606:2800:21f:cb07::1"]


@pytest.mark.parametrize("address", ["93.184.215.14", "10.0.0.1", "::ffff:10.0.0.1"])
def test_a_webhook_to_this_machine_leads_nowhere_else(address: str) -> None:
    with pytest.raises(Forbidden):
        find_addresses(parse_target("http://localhost:8080/", HERE), answering(address), 1)


def unknown(host: str, seconds: float) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("resolve", [unknown, answering()], ids=["an error", "nothing"])
def test_a_webhooks_name_that_does_not_resolve_yet_is_taken_and_not_called(resolve: Resolve) -> None:
    check_name("https://hooks.example.org/x", WORLD, resolve)
    with pytest.raises(Unsent, match="doesn't resolve"):
        find_addresses(parse_target("https://hooks.example.org/x", WORLD), resolve, 1)


def test_no_webhook_is_nothing_to_resolve() -> None:
    def never(host: str, seconds: float) -> list[str]:
        raise AssertionError(host)

    check_name(None, WORLD, never)
    check_name("https://8.8.8.8/", WORLD, never)


def test_a_webhooks_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: [release.wait(10)][:0])
    with pytest.raises(TimeoutError):
        resolve_name("hooks.example.org", 0.05)
    release.set()


def test_the_systems_resolver_knows_this_machine_and_no_webhook_that_is_none() -> None:
    assert "127.0.0.1" in resolve_name("localhost", 5)
    with pytest.raises(OSError):
        resolve_name("no-such-name.invalid", 5)
    with pytest.raises(OSError):
        resolve_name("a" * 64 + ".example.org", 5)


def oracle(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Inside by what Python itself says of an address."""
    return not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_a_webhook_that_python_takes_for_inside(address: ipaddress.IPv4Address) -> None:
    _agrees(address, lambda: check_url(f"https://{address}/", WORLD))


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_is_a_webhook_that_python_takes_for_inside(address: ipaddress.IPv6Address) -> None:
    _agrees(address, lambda: check_url(f"https://[{address}]/", WORLD))


# IANA's special-purpose registries, multicast, and Azure's own platform address: whole ranges that no webhook may lead to.
SPECIAL_4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]
SPECIAL_6 = [
    *("::/128", "::1/128", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23"),
    *("2001::/32", "2001:1::1/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:20::/28", "2001:db8::/32"),
    *("2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    *("::/3", "4000::/2", "8000::/1"),
]


@pytest.mark.parametrize("network", [*SPECIAL_4, *SPECIAL_6])
@given(data=st.data())
def test_no_address_of_a_special_range_is_a_webhook(network: str, data: st.DataObject) -> None:
    range_ = ipaddress.ip_network(network)
    found = data.draw(st.sampled_from([range_[0], range_[-1]]) | st.ip_addresses(network=network))
    host = f"[{found}]" if found.version == 6 else f"{found}"
    with pytest.raises(Invalid):
        check_url(f"https://{host}/", WORLD)


@given(st.ip_addresses(v=4))
def test_no_spelling_of_an_ipv4_address_is_a_webhook_but_its_own(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    parts = [number >> shift & 255 for shift in (24, 16, 8, 0)]
    spellings = [
        *(f"{number}", f"{number:#x}", f"0{number:o}", f"{parts[0]}.{number & 0xFFFFFF}"),
        ".".join(f"{part:#x}" for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        *(f"[::ffff:{address}]", f"[::{address}]", f"[64:ff9b::{address}]"),
        f"[{ipaddress.IPv6Address(0x2002 << 112 | number << 80)}]",
    ]
    for spelling in spellings:
        with pytest.raises(Invalid):
            check_url(f"https://{spelling}/", WORLD)


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_webhook_url_is_made_of_it_is_taken_or_refused(host: str, rest: str) -> None:
    try:
        goal = parse_target(f"https://{host}/{rest}", WORLD)
    except Forbidden:
        return
    assert "\r" not in goal.path
    assert "\n" not in goal.path
    assert goal.path.isprintable()
    assert goal.host == goal.host.lower()


def _agrees(address: ipaddress.IPv4Address | ipaddress.IPv6Address, check: Callable[[], None]) -> None:
    try:
        check()
    except Invalid:
        return
    assert not oracle(address), address


def test_the_settings_of_webhooks_are_read_from_text() -> None:
    found = from_environment({"WEBHOOK_PORTS": "443, 9443", "ALLOW_HTTP_LOOPBACK_WEBHOOKS": "true"})
    assert found == msgspec.structs.replace(Settings(), webhook_ports=[443, 9443], allow_http_loopback_webhooks=True)
