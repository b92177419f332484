"""The one file of others that the page has: it is what vendored.json says, with its licences beside it."""

import hashlib
import json
from importlib.resources import files

VENDOR = files("deployment_tracker.ui").joinpath("assets", "vendor")


def test_it_is_the_file_that_was_taken() -> None:
    told = json.loads(VENDOR.joinpath("vendored.json").read_text())
    found = VENDOR.joinpath(told["file"]).read_bytes()
    assert hashlib.sha256(found).hexdigest() == told["sha256"]


def test_it_is_all_there_is_and_its_licences_are_there() -> None:
    assert {each.name for each in VENDOR.iterdir()} == {"htm-preact.js", "vendored.json", "LICENSE.txt"}
    text = VENDOR.joinpath("LICENSE.txt").read_text()
    assert "Apache License" in text
    assert "The MIT License" in text
    assert "Jason Miller" in text


def test_it_evaluates_no_text_as_a_script() -> None:
    text = VENDOR.joinpath("htm-preact.js").read_text()
    assert "eval(" not in text
    assert "new Function" not in text
    assert "http://www.w3.org" in text or "http" not in text
