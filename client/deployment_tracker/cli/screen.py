"""Writes: data to stdout, as a table, JSON or YAML; hints and progress to stderr. On a terminal with colours, elsewhere plain and whole.

What comes from the API is shown without its control characters, which a terminal would obey.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from shutil import get_terminal_size
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from rich.table import Table

# Wide enough that no line is broken where nobody looks.
_UNBOUNDED = 100_000
# Below so many columns a table would be columns of letters.
_NARROW = 60


class Cell(NamedTuple):
    """A text and how it looks: `moving` `bad` `soon` `over`, or as usual. A word always says the same as the colour."""

    text: str
    look: str = ""


LOOKS = {"moving": "bold blue", "bad": "bold red", "soon": "yellow", "over": "bright_black", "head": "", "": ""}


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a person looks at what is written there."""
    return stream.isatty()


class Screen:
    """This is where a verb writes to."""

    def __init__(self, output: str = "table", *, no_color: bool = False, to_stderr: bool = False) -> None:
        self.output = output
        self._no_color = no_color
        self._to_stderr = to_stderr
        self.is_terminal = is_terminal(sys.stderr if to_stderr else sys.stdout)
        is_dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
        self.has_color = self.is_terminal and not no_color and not is_dumb

    @property
    def aside(self) -> "Screen":
        """The same for people on stderr, where data would be in the way."""
        return Screen(no_color=self._no_color, to_stderr=True)

    @property
    def is_table(self) -> bool:
        """Return whether people read it, and not a program."""
        return self.output == "table"

    def data(self, value: Any) -> None:
        """Write JSON or YAML."""
        if self.output == "yaml":
            from deployment_tracker.block_yaml import dump  # noqa: PLC0415

            click.echo(dump(value), nl=False)
        else:
            click.echo(json.dumps(value, indent=2, ensure_ascii=not self.is_utf8))

    def row(self, value: Any) -> None:
        """Write one value of many, as they come: JSON on a line, or a document of YAML."""
        if self.output == "yaml":
            click.echo("---")
            self.data(value)
        else:
            click.echo(json.dumps(value, ensure_ascii=not self.is_utf8))

    @property
    def is_utf8(self) -> bool:
        """Return whether stdout takes every character."""
        return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"

    def line(self, text: str = "", look: str = "") -> None:
        """Write a line for people."""
        text = clean(text)
        if self.has_color and LOOKS[look]:
            words = LOOKS[look].split()
            text = click.style(text, fg=words[-1], bold="bold" in words)
        click.echo(text, color=self.has_color, err=self._to_stderr)

    def hint(self, text: str) -> None:
        """Say what helps to understand, to stderr."""
        click.echo(clean(text), err=True)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], right: Iterable[str] = ()) -> None:
        """Write a table."""
        listed = list(rows)
        if self.is_terminal and get_terminal_size().columns < _NARROW:
            self._cards(heads, listed)
            return
        text = self.drawn(table_of(heads, listed, right, has_color=self.has_color))
        click.echo(text, nl=False, color=self.has_color, err=self._to_stderr)

    def _cards(self, heads: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> None:
        """Write a table for a narrow terminal: each row below each other, what it lacks left out."""
        width = max(map(len, heads))
        for row in rows:
            for number, (head, cell) in enumerate(zip(heads, row, strict=True)):
                text, look = cell if isinstance(cell, Cell) else Cell(cell)
                if number == 0:
                    self.line(text, look)
                elif text not in ("", "-"):
                    self.line(f"  {head.strip().lower():<{width}}  {text}", look)

    def drawn(self, drawing: "Table") -> str:
        """Return a table as text."""
        from rich.console import Console  # noqa: PLC0415

        buffer = io.StringIO()
        console = Console(
            file=buffer,
            force_terminal=self.has_color,
            color_system="standard" if self.has_color else None,
            width=None if self.is_terminal else _UNBOUNDED,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.print(drawing)
        lines = buffer.getvalue().splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines)

    def live(self, draw: Callable[[], "Table"], pause: Callable[[], object]) -> None:
        """Draw a table again and again, until Ctrl-C."""
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415

        # Whoever calls it has seen that a person looks.
        console = Console(force_terminal=True, no_color=not self.has_color, highlight=False, markup=False, emoji=False)
        with Live(draw(), console=console, auto_refresh=False, screen=True) as shown:
            while True:
                pause()
                shown.update(draw(), refresh=True)


def table_of(
    heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], right: Iterable[str] = (), *, has_color: bool
) -> "Table":
    """Return rich's table: no lines, two blanks between the columns."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    found = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="none")
    aligned = set(right)
    for number, head in enumerate(heads):
        found.add_column(head, justify="right" if head in aligned else "left", no_wrap=number == 0, overflow="fold")
    for row in rows:
        cells = [each if isinstance(each, Cell) else Cell(each) for each in row]
        found.add_row(*(Text(clean(each.text), style=LOOKS[each.look] if has_color else "") for each in cells))
    return found


def clean(text: str) -> str:
    """Return a text with control characters shown, not obeyed."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
