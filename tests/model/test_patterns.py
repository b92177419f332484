"""The patterns of what a record may name: the table that docs/settings.md describes in words."""

import msgspec
import pytest

from tracker.model.patterns import matches
from tracker.model.settings import Settings

ALLOWED = [
    ("host", "10.0.0.*", "10.0.0.7"),
    ("host", "*.example.com", "a.example.com"),
    ("host", "**.example.com", "a.b.example.com"),
    ("host", "BUILD-?.example.com", "build-1.EXAMPLE.com"),
    ("host", "fd00::*", "fd00::7"),
    ("host", "fd00:**", "fd00:1:2::7"),
    ("endpoint", "tcp://10.0.0.*:2376", "tcp://10.0.0.7:2376"),
    ("endpoint", "tcp://[fd00::7]:*", "tcp://[fd00::7]:2376"),
    ("endpoint", "ssh://*@10.0.0.7", "ssh://root@10.0.0.7"),
    ("endpoint", "unix:///run/user/*/docker.sock", "unix:///run/user/1000/docker.sock"),
    ("endpoint", "**", "tcp://any.example.com:2376"),
    ("file", "/srv/*/bp-1", "/srv/a/bp-1"),
    ("file", "/srv/**/bp-1", "/srv/a/b/bp-1"),
    ("file", "/srv/*.img", "/srv/disk.1.img"),
    ("file", "/etc/sudoers.d/*", "/etc/sudoers.d/x"),
    ("key_file", "/keys/**", "/keys/a/b.pem"),
    ("role", "arn:aws:iam::123456789012:role/cleanup*", "arn:aws:iam::123456789012:role/cleanup-eu"),
    ("role", "arn:aws:iam::*:role/cleanup", "arn:aws:iam::123456789012:role/cleanup"),
    ("role", "arn:aws:iam::123456789012:role/**", "arn:aws:iam::123456789012:role/a/b"),
    ("secret", "tracker/**", "tracker/vultr/team-1"),
    ("secret", "tracker/*", "tracker/vultr"),
    ("webhook_secret", "tracker/webhooks/*", "tracker/webhooks/team-1"),
    ("host", "host[1]", "host[1]"),
]
REFUSED = [
    ("host", "10.0.0.*", "10.0.0.evil.example.com"),
    ("host", "10.0.0.*", "10.0.0.7.example.com"),
    ("host", "10.0.0.*", "10.0.0.7."),
    ("host", "10.0.*", "10.0.0.7"),
    ("host", "*.example.com", "a.b.example.com"),
    ("host", "*.example.com", "example.com"),
    ("host", "*example.com", "evil.example.com"),
    ("host", "*", "a.b"),
    ("host", "fd00:*", "fd00:1:2::7"),
    ("host", "10.0.0.?", "10.0.0.77"),
    ("host", "10.0.0.7", "10.0.007"),
    ("host", "host[12]", "host1"),
    ("endpoint", "tcp://10.0.0.*:2376", "tcp://10.0.0.7.evil.example.com:2376"),
    ("endpoint", "tcp://10.0.0.*", "tcp://10.0.0.7:2376"),
    ("endpoint", "ssh://*", "ssh://root@host"),
    ("endpoint", "ssh://root@*", "ssh://root@evil@host"),
    ("endpoint", "unix:///run/**", "unix:///run/../etc/docker.sock"),
    ("endpoint", "unix:///run/user/*/docker.sock", "unix:///run/user/a/b/docker.sock"),
    ("file", "/srv/*/bp-1", "/srv/a/b/bp-1"),
    ("file", "/srv/**", "/srv/../etc/passwd"),
    ("file", "/srv/**", "/srv/./x"),
    ("file", "/srv/**", "/srv//x"),
    ("file", "/srv/**", "//srv/x"),
    ("file", "/srv/**", "/srv/.."),
    ("file", "/srv/**", "/srv"),
    ("file", "/srv/*", "/srv/a\n"),
    ("file", "*", "/etc/sudoers.d/x"),
    ("file", "**", "/etc/sudoers.d/x"),
    ("file", "/**", "/etc/sudoers.d/x"),
    ("file", "/*/sudoers.d/x", "/etc/sudoers.d/x"),
    ("file", "/e*/**", "/etc/sudoers.d/x"),
    ("file", "/et?/sudoers.d/x", "/etc/sudoers.d/x"),
    ("key_file", "/**", "/home/a/.ssh/id_ed25519"),
    ("role", "arn:aws:iam::123456789012:role/cleanup*", "arn:aws:iam::123456789012:role/cleanup/evil"),
    ("role", "arn:aws:iam::*:role/cleanup", "arn:aws:iam::1:x:role/cleanup"),
    ("role", "*", "arn:aws:iam::123456789012:role/cleanup"),
    ("secret", "tracker/*", "tracker/vultr/team-1"),
    ("secret", "tracker/*", "tracker2/vultr"),
    ("webhook_secret", "tracker/webhooks/*", "tracker/webhooks/a/b"),
]


@pytest.mark.parametrize(("guard", "pattern", "value"), ALLOWED)
def test_a_pattern_allows(guard: str, pattern: str, value: str) -> None:
    assert matches(pattern, value, guard)
    assert msgspec.convert({f"allowed_{guard}s": ["other", pattern]}, Settings).allows(guard, value)


@pytest.mark.parametrize(("guard", "pattern", "value"), REFUSED)
def test_a_pattern_does_not_allow(guard: str, pattern: str, value: str) -> None:
    assert not matches(pattern, value, guard)
    assert not msgspec.convert({f"allowed_{guard}s": ["other", pattern]}, Settings).allows(guard, value)


def test_without_patterns_nothing_is_allowed() -> None:
    assert not Settings().allows("host", "10.0.0.7")
