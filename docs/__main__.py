"""Write the parts of the documentation that follow from the code: `python -m docs` (`make docs`).

docs/deployment-types.md, docs/openapi.json and docs/api.html are written as a whole. On the other pages a written part stands between two comments,
`<!-- begin: parameters -->` and `<!-- end: parameters -->`; the rest of the page is left alone.
With `--check`, nothing is written: the command fails, and names the pages that are out of date.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench import costs
from docs import client, commands, deployment_types, openapi, page, stack

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "tests" / "sample" / "example_machine.py"
PARTS: dict[str, dict[str, Callable[[], Iterable[str]]]] = {
    "CONTRIBUTING.md": {"sample": lambda: ["```python", *SAMPLE.read_text().splitlines(), "```"]},
    "README.md": {"types": deployment_types.summary},
    "docs/settings.md": {"parameters": stack.parameters},
    "docs/cli.md": {"commands": commands.reference},
    "docs/costs.md": {"costs": costs.tables},
    "docs/security.md": {"roles": stack.roles},
    "docs/deploying.md": {"outputs": stack.outputs, "alarms": stack.alarms},
}


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's path and its text as it should be."""
    yield "docs/deployment-types.md", deployment_types.page()
    yield "client/deployment_tracker/catalogue.json", client.catalogue()
    for path, parts in PARTS.items():
        text = (ROOT / path).read_text()
        for name, lines in parts.items():
            text = filled(text, name, lines())
        yield path, text
    yield "docs/openapi.json", openapi.text()
    yield "docs/api.html", page.text()


def filled(text: str, name: str, lines: Iterable[str]) -> str:
    """Return a page's text with these lines between the comments of that name. ValueError if it lacks the comments."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"no {begin} ... {end}")
    return f"{before}{begin}\n\n{'\n'.join(lines)}\n\n{end}{after}"


def main() -> None:
    """Read the command line."""
    stale = {path: text for path, text in pages() if not (ROOT / path).exists() or (ROOT / path).read_text() != text}
    if "--check" not in sys.argv:
        for path, text in stale.items():
            (ROOT / path).write_text(text)
    elif stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make docs`")


if __name__ == "__main__":
    main()
