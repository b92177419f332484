"""`tracker ui` as a process of its own: it says its link, serves the page, and ends by Ctrl-C."""

import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

from local.processes import PATIENCE
from tests.client.api import REGION
from tests.ui.stand import Stand


def test_it_says_its_link_serves_the_page_and_ends_by_a_signal(api: Stand) -> None:
    environment = os.environ | {"TRACKER_URL": api.url, "AWS_REGION": REGION, "PYTHONPATH": "client"}
    command = [sys.executable, "-m", "deployment_tracker", "ui", "--no-browser"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        link = urlsplit(process.stdout.readline().strip())
        assert (link.hostname, link.path) == ("127.0.0.1", "/")
        assert len(link.fragment) > len("token=") + 40
        with urlopen(f"http://{link.netloc}/", timeout=PATIENCE) as answer:
            assert b"/assets/main.js" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out == ""
    assert "whoever has it acts with your credentials" in err
    assert "The page has ended" in err
