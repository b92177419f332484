"""The tables of docs/api.md as texts for its machine-readable description."""

import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parent / "api.md"


@cache
def texts(heading: str) -> dict[str, str]:
    """Return the rows of the tables below a heading, by each name in their first cells that has code: its text.

    Links are left out, since the page that they lead from is another.
    """
    found: dict[str, str] = {}
    for line in section(heading).splitlines():
        if not line.startswith("|") or set(line) <= {"|", "-"}:
            continue
        *names, says = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        for name in re.findall(r"`([^`]+)`", " ".join(names)):
            found[name.partition("=")[0]] = _capital(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", says))
    return found


def section(heading: str) -> str:
    """Return what stands below a heading of docs/api.md, up to the next one of whatever level."""
    return re.split(r"^#", PAGE.read_text().partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
