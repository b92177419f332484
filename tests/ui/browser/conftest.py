"""The page in a real browser: the system's Chromium, driven by Playwright. Both come with `make test-page`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_targets import lacking, program
from tests.ui.stand import Stand, page_of

ROOT = Path(__file__).parents[3]
AXE = ROOT / ".local" / "axe-core" / "axe.min.js"
WIDE = {"width": 1360, "height": 860}
NARROW = {"width": 390, "height": 844}
# What a busy machine may take, in milliseconds.
PATIENCE = 20_000

type OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        lacking("Playwright isn't there (make test-page)")
    path = program("chromium", "chromium")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    if not AXE.exists():
        lacking("axe-core isn't there (make test-page)")
    return AXE.read_text()


@pytest.fixture
def page(chromium: Any, api: Stand) -> Iterator[OpenPage]:
    """`page(path="/", brake=..., **options of the browser's context)`: the page, opened by its link.

    A test fails if the page had a fault, or did what its own policy forbids.
    """
    faults: list[str] = []
    ends: list[Callable[[], object]] = []

    def opened(path: str = "", *, brake: str | None = "enforce", **options: Any) -> Any:
        serving = page_of(api, brake=brake)
        server = serving.__enter__()
        context = chromium.new_context(**{"viewport": WIDE, "timezone_id": "UTC", "locale": "en-GB", **options})
        ends.extend([lambda: serving.__exit__(None, None, None), context.close])
        found = context.new_page()
        found.set_default_timeout(PATIENCE)
        found.on("pageerror", lambda error: faults.append(str(error)))
        found.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
        link = server.session.link
        found.goto(link.replace("/#", f"/{path.lstrip('/')}#"))
        found.wait_for_selector(".top, main")
        found.server = server
        return found

    yield opened
    for end in reversed(ends):
        end()
    assert faults == []
