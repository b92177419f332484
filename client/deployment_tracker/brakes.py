"""The value of the brake, an SSM parameter: `enforce, aws=pause` (docs/settings.md)."""

from collections.abc import Collection

import msgspec

MODES = ("enforce", "pause", "observe")


class Brakes(msgspec.Struct, frozen=True):
    """The mode for all platforms, and the exceptions."""

    default: str = "enforce"
    exceptions: dict[str, str] = {}

    @property
    def text(self) -> str:
        """The value as it is stored."""
        return ", ".join([self.default, *(f"{name}={mode}" for name, mode in sorted(self.exceptions.items()))])

    def changed(self, mode: str, platform: str | None) -> "Brakes":
        """Return the brake with another mode for a platform. Without one: for all, so that no exception is left."""
        if platform is None:
            return Brakes(mode)
        exceptions = {name: each for name, each in self.exceptions.items() if name != platform}
        if mode != self.default:
            exceptions[platform] = mode
        return Brakes(self.default, exceptions)


def parse_brakes(text: str, platforms: Collection[str]) -> Brakes:
    """Parse the value. ValueError if it can't be read, which the stack takes for a pause."""
    default, *exceptions = (part.strip() for part in text.split(","))
    pairs: dict[str, str] = {}
    for each in exceptions:
        name, _, mode = each.partition("=")
        pairs[name.strip()] = mode.strip()
    if default not in MODES or any(mode not in MODES for mode in pairs.values()):
        raise ValueError(text)
    if len(pairs) < len(exceptions) or any(name not in platforms for name in pairs):
        raise ValueError(text)
    return Brakes(default, pairs)
