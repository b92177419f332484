"""A mutation breaks the tracker in one place; the tests that it names must notice.

`mutations.toml` holds the list. `make mutants` tries them all, and test_mutations.py keeps the list true to the code.
"""

from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent.parent
LAYER = ROOT / "layers" / "tracker"
LIST = Path(__file__).parent / "mutations.toml"


class StaleError(Exception):
    """The code isn't any more what a mutation would break."""


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Replace `text`, which the modules of `room` (a folder of the package `tracker`) hold once; at least one of `tests` must fail then."""

    room: str
    text: str
    replacement: str
    why: str
    tests: list[str]

    @property
    def name(self) -> str:
        """The room, and the first line that it breaks."""
        return f"{self.room}: {self.text.strip().splitlines()[0]}"

    def applied(self, layer: Path = LAYER) -> tuple[Path, str]:
        """Return the module, below the layer, and its broken source. Raises StaleError unless one module holds the text, once."""
        sources = {path: path.read_text() for path in sorted((layer / "tracker" / self.room).rglob("*.py"))}
        count = sum(source.count(self.text) for source in sources.values())
        if count != 1:
            raise StaleError(f"{self.room} holds it {count} times:\n{self.text}")
        (path,) = (path for path, source in sources.items() if self.text in source)
        return path.relative_to(layer), sources[path].replace(self.text, self.replacement)


class _List(msgspec.Struct, forbid_unknown_fields=True):
    mutation: list[Mutation]


def mutations(path: Path = LIST) -> list[Mutation]:
    """Read the list."""
    return msgspec.toml.decode(path.read_text(), type=_List).mutation
