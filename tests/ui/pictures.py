"""Takes the pictures of docs/page.md: `make screenshots`. They show the stack that the page's tests look at."""

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from pytest import MonkeyPatch  # noqa: PT013

from tests.conftest import ENVIRONMENT
from tests.ui.stand import Stand, fill, page_of, standing

DOCS = Path(__file__).parents[2] / "docs"
SIZE: Any = {"width": 1280, "height": 800}
# So that the repository stays small.
BYTES_MAX = 150_000


def take(shown: Page, name: str) -> None:
    """Write one picture."""
    path = DOCS / f"{name}.png"
    shown.mouse.move(0, 0)
    shown.screenshot(path=path, animations="disabled")
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > BYTES_MAX:
        raise SystemExit(f"{path.name} is over {BYTES_MAX:,} bytes")


def take_all(api: Stand) -> None:
    """Write all pictures."""
    chromium = shutil.which("chromium")
    with page_of(api, brake="enforce, vultr=pause") as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport=SIZE, timezone_id="UTC", locale="en-GB", color_scheme="light")
        shown.goto(server.session.link)
        shown.wait_for_selector("a.row")
        take(shown, "page-list")
        shown.locator('a.row[data-key="ml-batch-eu-7"]').click()
        shown.wait_for_selector(".plain-table")
        take(shown, "page-deployment")
        browser.close()


if __name__ == "__main__":
    with MonkeyPatch.context() as patch, standing() as api:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        fill(api)
        take_all(api)
