"""Downloads from a real server on loopback are complete, verified and resumed, or fail with a helpful message."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from clearformer.data import downloads
from clearformer.data.catalogue import DOWNLOADS, Download, RemoteFile
from clearformer.data.downloads import cache_folder, fetch
from clearformer.errors import DownloadError

BODY = bytes(range(256)) * 1000  # 256,000 bytes: more than one chunk
SHA256 = hashlib.sha256(BODY).hexdigest()
CUT = 100_000
RESUMED = f"bytes={CUT}-"
PRESENT = RemoteFile("present.txt", "https://example.invalid/present.txt", hashlib.sha256(b"here").hexdigest(), 4)


class Server(ThreadingHTTPServer):
    """Serves one body; records the range of each request and the bytes of the body sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.ranges: Literal["sent", "ignored", "refused"] = "sent"
        self.announce = True
        self.cuts: list[int] = []
        """bytes after which the next responses are cut off"""
        self.redirect: str | None = None
        self.hold: threading.Event | None = None
        """a response waits for the second request, or 0.3 seconds"""
        self.requests: list[str | None] = []
        self.sent: list[int] = []

    def corpus(self, path: str = "/corpus.bin") -> Download:
        url = f"http://127.0.0.1:{self.server_port}{path}"
        return corpus(RemoteFile("corpus.bin", url, SHA256, len(BODY)))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.headers["Range"])
        if server.hold is not None:
            if len(server.requests) > 1:
                server.hold.set()
            server.hold.wait(0.3)
        if server.redirect is not None and self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
        elif self.path != "/corpus.bin":
            self.send_error(404)
        elif self.headers["Range"] is not None and server.ranges == "refused":
            self.send_error(416)
        else:
            self.send_body(server)

    def send_body(self, server: Server) -> None:
        requested = self.headers["Range"] if server.ranges == "sent" else None
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested else 0
        size = len(server.body)
        data = server.body[start : start + (server.cuts.pop(0) if server.cuts else size)]
        server.sent.append(len(data))  # before anything is sent: then the test may go on and change `server`
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.announce:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(autouse=True)
def _direct_and_without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "RETRY_SECONDS", ())


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where `corpus.bin` is downloaded to."""
    return tmp_path / "corpus" / "corpus.bin"


@pytest.fixture
def part(target: Path) -> Path:
    """Where its beginning is kept, in a folder that exists."""
    target.parent.mkdir()
    return target.with_name("corpus.bin.part")


def corpus(*files: RemoteFile) -> Download:
    return Download("corpus", "made up for a test", "none", files)


@contextmanager
def fails(*words: str) -> Iterator[None]:
    """Expect a DownloadError whose message has all of `words`, and what to do."""
    with pytest.raises(DownloadError) as caught:
        yield
    for word in (*words, "run again", "--data PATH"):
        assert word in str(caught.value)


def test_a_downloaded_file_is_complete_and_no_part_is_left(server: Server, tmp_path: Path, target: Path):
    assert fetch(server.corpus(), tmp_path) == target.parent
    assert target.read_bytes() == BODY
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "corpus.bin"]


def test_a_second_fetch_makes_no_request_unless_the_file_was_changed(server: Server, tmp_path: Path, target: Path):
    fetch(server.corpus(), tmp_path)
    fetch(server.corpus(), tmp_path)
    assert server.requests == [None]
    target.write_bytes(BODY[:-1] + b"?")
    fetch(server.corpus(), tmp_path)
    assert target.read_bytes() == BODY
    assert server.requests == [None, None]


def test_only_missing_files_are_downloaded_and_a_complete_cache_is_not_written_to(server: Server, tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "present.txt").write_bytes(b"here")
    fetch(corpus(PRESENT), tmp_path)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["present.txt"]
    fetch(corpus(PRESENT, *server.corpus().files), tmp_path)
    assert server.requests == [None]


@pytest.mark.parametrize(
    ("path", "ranges", "resent"),
    [
        ("/corpus.bin", "sent", len(BODY) - CUT),
        ("/corpus.bin", "ignored", len(BODY)),  # the server sends the whole file again
        ("/moved", "sent", len(BODY) - CUT),  # a redirect keeps the range
    ],
)
def test_an_interrupted_download_is_resumed(
    server: Server, tmp_path: Path, target: Path, path: str, ranges: str, resent: int
):
    server.cuts, server.ranges, server.redirect = [CUT], ranges, "/corpus.bin"
    with fails("corpus.bin", "lost after 100,000 of 256,000 bytes"):
        fetch(server.corpus(path), tmp_path)
    assert not target.exists()
    fetch(server.corpus(path), tmp_path)
    assert target.read_bytes() == BODY
    hops = 2 if path == "/moved" else 1
    assert server.requests == [None] * hops + [RESUMED] * hops
    assert server.sent == [CUT, resent]


def test_a_lost_connection_is_retried(server: Server, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(downloads, "RETRY_SECONDS", (0.0, 0.0))
    server.cuts = [CUT, CUT]
    fetch(server.corpus(), tmp_path)
    assert target.read_bytes() == BODY
    assert server.sent == [CUT, CUT, len(BODY) - 2 * CUT]


def test_an_incomplete_file_is_noticed_without_an_announced_length(server: Server, tmp_path: Path):
    server.announce, server.cuts = False, [CUT]
    with fails("lost after 100,000 of 256,000 bytes"):
        fetch(server.corpus(), tmp_path)


@pytest.mark.parametrize(
    ("content", "ranges", "requests"),
    [
        pytest.param(BODY, "sent", [], id="complete"),
        pytest.param(BODY + b"and more", "sent", [None], id="longer than the file"),
        pytest.param(b"?" * CUT, "refused", [RESUMED, None], id="of a range the server refuses"),
    ],
)
def test_a_part_that_cannot_be_resumed_is_kept_only_if_it_is_complete(
    server: Server, tmp_path: Path, target: Path, part: Path, content: bytes, ranges: str, requests: list[str | None]
):
    server.ranges = ranges
    part.write_bytes(content)
    fetch(server.corpus(), tmp_path)
    assert target.read_bytes() == BODY
    assert server.requests == requests
    assert not part.exists()


def test_a_response_of_another_length_does_not_cost_the_part(server: Server, tmp_path: Path):
    server.cuts = [CUT]
    with fails("lost after"):
        fetch(server.corpus(), tmp_path)
    server.body, server.ranges = b"please log in", "ignored"
    with fails("256,000 bytes were expected, but the server announced 13"):
        fetch(server.corpus(), tmp_path)
    server.body, server.ranges = BODY, "sent"
    fetch(server.corpus(), tmp_path)
    assert server.sent == [CUT, 13, len(BODY) - CUT]


def test_a_wrong_checksum_names_both_and_leaves_nothing(server: Server, tmp_path: Path, target: Path):
    server.body = BODY[:-1] + b"?"
    with fails(SHA256, hashlib.sha256(server.body).hexdigest()):
        fetch(server.corpus(), tmp_path)
    assert [path.name for path in target.parent.iterdir()] == [".lock"]
    server.body = BODY
    fetch(server.corpus(), tmp_path)
    assert target.read_bytes() == BODY


def test_a_file_that_is_too_long_is_refused_whether_or_not_its_length_is_announced(
    server: Server, tmp_path: Path, target: Path
):
    server.body = b"?" + BODY
    with fails("256,000 bytes were expected, but the server announced 256,001"):
        fetch(server.corpus(), tmp_path)
    server.announce = False
    with fails(SHA256, hashlib.sha256(b"?" + BODY[:-1]).hexdigest()):  # no more than the expected size was read
        fetch(server.corpus(), tmp_path)
    assert [path.name for path in target.parent.iterdir()] == [".lock"]


def test_an_http_error_is_reported(server: Server, tmp_path: Path):
    with fails("the server answered 404 Not Found", "/elsewhere"):
        fetch(server.corpus("/elsewhere"), tmp_path)


@pytest.mark.parametrize(("listening", "reason"), [(False, "the server cannot be reached"), (True, "timed out")])
def test_an_absent_or_silent_server_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: bool, reason: str
):
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/corpus.bin"
        if not listening:
            silent.close()
        with fails(reason):
            fetch(corpus(RemoteFile("corpus.bin", url, SHA256, len(BODY))), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported(server: Server, tmp_path: Path, part: Path):
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"No space left on device.*make room.*CLEARFORMER_CACHE.*run again"):
        fetch(server.corpus(), tmp_path)


def test_a_cache_that_is_not_a_folder_is_reported(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match=r"must be a folder that can be written to.*CLEARFORMER_CACHE"):
        fetch(server.corpus(), tmp_path / "file")


def test_progress_never_falls_ends_at_the_size_and_starts_where_a_download_is_resumed(server: Server, tmp_path: Path):
    reports: list[tuple[str, int, int]] = []
    server.cuts = [CUT]
    with fails("lost after"):
        fetch(server.corpus(), tmp_path, progress=lambda *report: reports.append(report))
    first = len(reports)
    fetch(server.corpus(), tmp_path, progress=lambda *report: reports.append(report))
    received = [count for _, count, _ in reports]
    assert received == sorted(received)
    assert (received[0], received[first], len(set(received)) > 2) == (0, CUT, True)
    assert reports[-1] == ("downloading corpus.bin", 256_000, 256_000)


def test_concurrent_fetches_share_one_download(server: Server, tmp_path: Path, target: Path):
    server.hold = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: fetch(server.corpus(), tmp_path), range(2)))
    assert folders == [target.parent] * 2
    assert target.read_bytes() == BODY
    assert server.requests == [None]


@pytest.mark.parametrize("url", ["http://example.invalid/corpus.bin", "ftp://127.0.0.1/corpus.bin"])
def test_a_redirect_to_an_unsafe_url_is_refused(server: Server, tmp_path: Path, url: str):
    server.redirect = url
    with pytest.raises(DownloadError, match=re.escape(f"https:// was expected, found {url}")):
        fetch(server.corpus("/moved"), tmp_path)


@pytest.mark.parametrize(
    "url", ["http://example.invalid/a", "file:///etc/hostname", "http://127.0.0.1.example.invalid/"]
)
def test_a_url_that_is_not_https_is_refused(tmp_path: Path, url: str):
    with pytest.raises(DownloadError, match=re.escape(f"https:// was expected, found {url}")):
        fetch(corpus(RemoteFile("a", url, SHA256, 1)), tmp_path)


def test_the_cache_is_where_the_environment_says(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == tmp_path
    assert fetch(server.corpus()) == tmp_path / "corpus"
    monkeypatch.delenv("CLEARFORMER_CACHE")
    assert cache_folder() == Path("/shared/clearformer")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "clearformer"


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_download_of_the_catalogue_is_pinned(name: str):
    download = DOWNLOADS[name]
    assert download.name == name
    assert download.licence
    assert len({file.name for file in download.files}) == len(download.files) > 0
    for file in download.files:
        assert urlsplit(file.url).scheme == "https"
        assert re.search(r"/[0-9a-f]{40}/", file.url), "a URL must contain a commit, since a branch moves"
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size > 0
