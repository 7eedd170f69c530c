"""`hedgerow console` as a process: an address that is good once, Ctrl-C, one line for errors."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from federation_in_process import Federation
from framed_page import CHROMIUM, chromium

from federation.console_server import bind

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "hedgerow", "console"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

COUNTING = """
from markupsafe import Markup
from federation.console_page.page import Page
from federation.console_server import bind, serve
looks = iter(range(1, 1000))
def source(_):
    number = next(looks)
    opened = "<details><summary>more</summary>kept</details>"
    return Page(f"title {number}", Markup(f'<section id="a">look {number} {opened}</section>'))
serve(source, bind(0), lambda url: print("open", url, flush=True))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    federation = Federation(tmp_path_factory.mktemp("runs"), {"run": {"name": "test", "rounds": 1}})
    federation.play()
    federation.restart_agents()
    return federation.folder.path


@contextmanager
def served(*command: object):
    """A server in a process of its own, and the address that it printed; gone at the end."""
    process = subprocess.Popen(
        [*map(str, command)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    try:
        found = re.match(r"open (http://127\.0\.0\.1:\d+/\?token=\S+)", process.stdout.readline())
        assert found is not None
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def get(address: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(httpx.URL(address).join(path), headers=headers, timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_ctrl_c(number, run) -> None:
    with served(*COMMAND, run.parent) as (process, url):
        parts = urlsplit(url)
        entered = get(url, f"/?{parts.query}")
        assert entered.status_code == 303
        folder, cookie = entered.headers["Location"], entered.headers["set-cookie"].split(";")[0]
        page = get(url, folder, Cookie=cookie)
        assert page.status_code == 200
        assert run.name in page.text
        report = get(url, f"{folder}file?run={run.name}&name=report.html", Cookie=cookie)
        assert report.content == (run / "report.html").read_bytes()
        assert get(url, f"/?{parts.query}").status_code == 403
        assert get(url, folder).status_code == 403
        assert get(url, folder, Cookie=cookie, Host="evil.example").status_code == 421
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        told = process.stdout.read()
        assert told == "Ctrl-C ends it\nended\n"


def test_a_site_s_home_is_a_site_s_page(run) -> None:
    with served(*COMMAND, run / "sites" / "hungary") as (_, url):
        entered = get(url, f"/?{urlsplit(url).query}")
        cookie = entered.headers["set-cookie"].split(";")[0]
        page = get(url, entered.headers["Location"], Cookie=cookie).text
        assert "Privacy budget" in page
        assert "hungary" in page


def failed(*words: object) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, words)], env=ENVIRONMENT, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_folder_without_anything_to_show_is_one_line(tmp_path) -> None:
    assert f"{tmp_path} holds nothing to show: expected a federation directory" in failed(tmp_path)
    assert "there is no folder" in failed(tmp_path / "nowhere")


def test_a_taken_port_is_one_line(run) -> None:
    with bind(0) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use; choose" in failed(run, "--port", port)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_follows_the_page_under_its_strict_policy(tmp_path) -> None:
    with served(sys.executable, "-c", COUNTING) as (_, url):
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        dom = chromium(profile, "--virtual-time-budget=9000", "--dump-dom", url)
    looked = re.search(r"look (\d+) <details", dom)
    assert looked is not None, dom
    assert int(looked[1]) >= 3  # the page, and then at least two looks at its parts
    assert f"<title>title {looked[1]}</title>" in dom
