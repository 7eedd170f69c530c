"""The console's server: for one reader on this machine, read-only, only what a page names."""

import asyncio
import re
import socket

import httpx
import pytest
from markupsafe import Markup

from federation.console_page.page import Page
from federation.console_server import COOKIE, Entry, application, bind
from federation.errors import IntegrityError, UsageError

HOST = "http://127.0.0.1:8123"
RUN = "<script>alert(1)</script>"


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "report.html").write_text("<style>p{}</style><p>a report</p>")
    (tmp_path / "secret.html").write_text("not named by the page")
    (tmp_path / "link.html").symlink_to(tmp_path / "secret.html")
    (tmp_path / "folder.html").mkdir()
    names = ("report.html", "link.html", "folder.html", "gone.html")
    return {name: tmp_path / name for name in names}


class Browser:
    """Keeps its cookies; answers come from the application itself, without a network."""

    def __init__(self, app) -> None:
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url=HOST, follow_redirects=True)
        self.cookies = self._client.cookies

    def request(self, method: str, path: str, **more) -> httpx.Response:
        return asyncio.run(self._client.request(method, path, **more))

    def get(self, path: str, **more) -> httpx.Response:
        return self.request("GET", path, **more)


def source(documents):
    def page(subject: str) -> Page:
        if subject == "damaged":
            raise IntegrityError("the roster is not what was written")
        if subject not in {"", RUN}:
            raise LookupError(subject)
        return Page(
            "(1) a run – hedgerow console", Markup("<section id='a'>here</section>"), documents
        )

    return page


@pytest.fixture
def entry() -> Entry:
    return Entry()


@pytest.fixture
def stranger(entry, reports) -> Browser:
    """Has not used the address that was printed."""
    return Browser(application(source(reports), entry))


@pytest.fixture
def reader(entry, stranger) -> Browser:
    """Has."""
    entered = stranger.get(f"/?token={entry.token}", follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, f"/{entry.folder}/")
    return stranger


def test_the_token_opens_the_page_and_is_good_once(entry, reader) -> None:
    page = reader.get(f"/{entry.folder}/")
    assert page.status_code == 200
    assert "here" in page.text
    assert entry.token not in page.text
    again = reader.get(f"/?token={entry.token}", follow_redirects=False)
    assert again.status_code == 403
    assert "set-cookie" not in again.headers


def test_the_cookie_is_for_this_server_alone(entry, stranger) -> None:
    cookie = stranger.get(f"/?token={entry.token}", follow_redirects=False).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={entry.session};")
    words = {word.strip().lower() for word in cookie.split(";")[1:]}
    # Cookies know no port: another server on this machine is sent none of a path it does not have.
    assert words == {"httponly", f"path=/{entry.folder.lower()}/", "samesite=strict"}


@pytest.mark.parametrize("path", ["", "part", "console.css", "console.js", "file?name=report.html"])
def test_nothing_is_told_without_the_cookie(path, entry, stranger) -> None:
    assert stranger.get(f"/{entry.folder}/{path}").status_code == 403
    stranger.cookies.set(COOKIE, "guessed")
    assert stranger.get(f"/{entry.folder}/{path}").status_code == 403


@pytest.mark.parametrize("token", ["", "x", "é", "a" * 201])
def test_a_wrong_token_opens_nothing_and_does_not_use_up_the_right_one(
    token, entry, stranger
) -> None:
    assert stranger.get("/", params={"token": token}).status_code in {403, 422}
    assert stranger.get(f"/?token={entry.token}").status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "a@127.0.0.1", "127.0.0.1:x",
     "[::1]", "", "0.0.0.0:8123", "127.0.0.1/a"],
)  # fmt: skip
def test_a_foreign_name_for_this_machine_is_refused(host, entry, reader) -> None:
    answer = reader.get(f"/{entry.folder}/", headers={"Host": host})
    assert answer.status_code == 421
    assert "here" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "LOCALHOST"])
def test_this_machine_may_be_called_so(host, entry, reader) -> None:
    assert reader.get(f"/{entry.folder}/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_only_get_is_answered(method, entry, reader) -> None:
    answer = reader.request(method, f"/{entry.folder}/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["", "part", "file?name=report.html", "nothing", "?run=nothing"])
def test_every_answer_has_a_strict_policy(path, entry, reader) -> None:
    headers = reader.get(f"/{entry.folder}/{path}").headers
    policy = headers["content-security-policy"]
    for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'",
                 "frame-ancestors 'none'"):  # fmt: skip
        assert rule in policy
    script = re.search(r"script-src ([^;]*)", policy)
    assert script is None or script[1] == "'self'"
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


def test_a_page_has_no_script_or_style_within_itself(entry, reader) -> None:
    page = reader.get(f"/{entry.folder}/").text
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    assert "<style" not in page
    assert " style=" not in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["console.css", "console.js"]
    assert '<noscript><meta http-equiv="refresh"' in page


def test_style_and_script_come_from_here(entry, reader) -> None:
    css, script = (reader.get(f"/{entry.folder}/{name}") for name in ("console.css", "console.js"))
    assert css.headers["content-type"].startswith("text/css")
    assert script.headers["content-type"].startswith("text/javascript")
    for text in (css.text, script.text):
        assert "http" not in text
        assert "import" not in text


def test_a_report_is_read_and_runs_nothing(entry, reader) -> None:
    answer = reader.get(f"/{entry.folder}/file", params={"run": RUN, "name": "report.html"})
    assert answer.text == "<style>p{}</style><p>a report</p>"
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy


@pytest.mark.parametrize(
    "name",
    ["secret.html", "../secret.html", "/etc/passwd", "report.html/../secret.html", "link.html",
     "folder.html", "gone.html", "", "report.html\0", "..%2fsecret.html"],
)  # fmt: skip
def test_no_other_file_is_read(name, entry, reader) -> None:
    answer = reader.get(f"/{entry.folder}/file", params={"name": name})
    assert answer.status_code == 404
    assert "not named" not in answer.text


@pytest.mark.parametrize(
    "path", ["../", "file/..%2f..%2fetc/passwd", "%2e%2e/", "docs", "openapi.json"]
)
def test_no_other_address_answers(path, entry, reader) -> None:
    assert reader.get(f"/{entry.folder}/{path}").status_code in {403, 404}
    assert reader.get(f"/{path}").status_code in {403, 404}


def test_what_cannot_be_shown_is_one_line(entry, reader) -> None:
    answer = reader.get(f"/{entry.folder}/", params={"run": "damaged"})
    assert (answer.status_code, answer.text) == (
        503,
        "hedgerow: the roster is not what was written\n",
    )
    assert reader.get(f"/{entry.folder}/", params={"run": "another"}).status_code == 404


def test_a_part_brings_the_title_along(entry, reader) -> None:
    answer = reader.get(f"/{entry.folder}/part")
    assert answer.text == "<section id='a'>here</section>"
    assert answer.headers["x-page-title"] == "%281%29%20a%20run%20%E2%80%93%20hedgerow%20console"


def test_the_socket_is_of_this_machine_alone_and_a_taken_port_is_one_line() -> None:
    with bind(0) as first:
        address, port = first.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(UsageError, match=f"--port {port}: Address already in use; choose"):
            bind(port)
        with socket.create_connection((address, port), timeout=5):
            pass
