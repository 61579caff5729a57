"""Downloads against a real server on loopback: they are whole, right and resumed, or they fail with a sentence."""

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


class Home(ThreadingHTTPServer):
    """A server of one body, which notes what it was asked for and how many bytes of the body it sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.ranges: Literal["sent", "ignored", "refused"] = "sent"
        self.announce = True
        self.cuts: list[int] = []
        """of the next answers: send so many bytes, then hang up"""
        self.redirect: str | None = None
        self.hold: threading.Event | None = None
        """an answer waits for the second question, or 0.3 seconds"""
        self.asked: list[str | None] = []
        self.sent: list[int] = []

    def file(self, path: str = "/corpus.bin") -> RemoteFile:
        return RemoteFile("corpus.bin", f"http://127.0.0.1:{self.server_port}{path}", SHA256, len(BODY))


class Handler(BaseHTTPRequestHandler):
    server: Home

    def do_GET(self) -> None:
        home = self.server
        home.asked.append(self.headers["Range"])
        if home.hold is not None:
            if len(home.asked) > 1:
                home.hold.set()
            home.hold.wait(0.3)
        if home.redirect is not None and self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", home.redirect)
            self.end_headers()
        elif self.path != "/corpus.bin":
            self.send_error(404)
        else:
            self.send_body(home)

    def send_body(self, home: Home) -> None:
        asked = self.headers["Range"]
        if asked is not None and home.ranges == "refused":
            return self.send_error(416)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and home.ranges == "sent" else 0
        size = len(home.body)
        cut = home.cuts.pop(0) if home.cuts else size
        data = home.body[start : start + cut]
        home.sent.append(len(data))  # all is noted before anything goes out: then the test may go on and change `home`
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if home.announce:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(data)
        return None

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "RETRY_SECONDS", ())
    with Home() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def corpus(*files: RemoteFile) -> Download:
    return Download("corpus", "made up for a test", "none", files)


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """A DownloadError that says all of `words`, and how to go on."""
    with pytest.raises(DownloadError) as caught:
        yield
    for word in (*words, "run again", "--data PATH"):
        assert word in str(caught.value)


def test_a_fetched_file_has_every_byte_and_no_part_is_left(home: Home, tmp_path: Path):
    folder = fetch(corpus(home.file()), tmp_path)
    assert folder == tmp_path / "corpus"
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "corpus.bin"]


def test_a_second_fetch_makes_no_request(home: Home, tmp_path: Path):
    fetch(corpus(home.file()), tmp_path)
    fetch(corpus(home.file()), tmp_path)
    assert home.asked == [None]


def test_a_cache_that_has_it_all_is_not_written_to(tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "present.txt").write_bytes(b"here")
    present = RemoteFile("present.txt", "https://example.invalid/present.txt", hashlib.sha256(b"here").hexdigest(), 4)
    fetch(corpus(present), tmp_path)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["present.txt"]


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(home: Home, tmp_path: Path):
    target = fetch(corpus(home.file()), tmp_path) / "corpus.bin"
    target.write_bytes(BODY[:-1] + b"?")
    fetch(corpus(home.file()), tmp_path)
    assert target.read_bytes() == BODY
    assert len(home.asked) == 2


def test_only_the_missing_one_of_two_files_is_fetched(home: Home, tmp_path: Path):
    present = RemoteFile("present.txt", "https://example.invalid/present.txt", hashlib.sha256(b"here").hexdigest(), 4)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "present.txt").write_bytes(b"here")
    fetch(corpus(present, home.file()), tmp_path)
    assert home.asked == [None]


def test_a_cut_download_goes_on_where_it_stopped(home: Home, tmp_path: Path):
    home.cuts = [CUT]
    with refused("corpus.bin", "lost after 100,000 of 256,000 bytes"):
        fetch(corpus(home.file()), tmp_path)
    assert not (tmp_path / "corpus" / "corpus.bin").exists()

    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.asked == [None, f"bytes={CUT}-"]
    assert home.sent == [CUT, len(BODY) - CUT]


def test_a_cut_connection_is_tried_again_without_being_asked(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downloads, "RETRY_SECONDS", (0.0, 0.0))
    home.cuts = [CUT, CUT]
    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.sent == [CUT, CUT, len(BODY) - 2 * CUT]


def test_a_cut_is_noticed_where_the_server_announced_no_length(home: Home, tmp_path: Path):
    home.announce = False
    home.cuts = [CUT]
    with refused("lost after 100,000 of 256,000 bytes"):
        fetch(corpus(home.file()), tmp_path)


def test_a_server_without_ranges_sends_the_whole_file_again(home: Home, tmp_path: Path):
    home.ranges = "ignored"
    home.cuts = [CUT]
    with refused("lost after"):
        fetch(corpus(home.file()), tmp_path)
    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.asked == [None, f"bytes={CUT}-"]
    assert home.sent == [CUT, len(BODY)]


def test_a_range_the_server_refuses_starts_over(home: Home, tmp_path: Path):
    home.ranges = "refused"
    part = tmp_path / "corpus" / "corpus.bin.part"
    part.parent.mkdir()
    part.write_bytes(b"?" * CUT)
    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.asked == [f"bytes={CUT}-", None]


def test_another_page_in_place_of_the_file_does_not_cost_the_part(home: Home, tmp_path: Path):
    home.cuts = [CUT]
    with refused("lost after"):
        fetch(corpus(home.file()), tmp_path)
    home.body, home.ranges = b"please log in", "ignored"
    with refused("256,000 bytes were expected, but the server announced 13"):
        fetch(corpus(home.file()), tmp_path)
    home.body, home.ranges = BODY, "sent"
    fetch(corpus(home.file()), tmp_path)
    assert home.sent == [CUT, 13, len(BODY) - CUT]


def test_a_part_longer_than_the_file_is_not_gone_on_with(home: Home, tmp_path: Path):
    part = tmp_path / "corpus" / "corpus.bin.part"
    part.parent.mkdir()
    part.write_bytes(BODY + b"and more")
    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.asked == [None]
    assert not part.exists()


def test_a_part_that_is_already_whole_needs_no_request(home: Home, tmp_path: Path):
    part = tmp_path / "corpus" / "corpus.bin.part"
    part.parent.mkdir()
    part.write_bytes(BODY)
    folder = fetch(corpus(home.file()), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.asked == []


def test_a_wrong_checksum_names_both_and_leaves_nothing(home: Home, tmp_path: Path):
    home.body = BODY[:-1] + b"?"
    with refused(SHA256, hashlib.sha256(home.body).hexdigest()):
        fetch(corpus(home.file()), tmp_path)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == [".lock"]

    home.body = BODY
    assert (fetch(corpus(home.file()), tmp_path) / "corpus.bin").read_bytes() == BODY


def test_more_than_was_promised_is_refused_even_where_no_length_is_announced(home: Home, tmp_path: Path):
    home.body = b"?" + BODY
    with refused("256,000 bytes were expected, but the server announced 256,001"):
        fetch(corpus(home.file()), tmp_path)
    home.announce = False
    with refused(SHA256, hashlib.sha256(b"?" + BODY[:-1]).hexdigest()):  # no more was read than was promised
        fetch(corpus(home.file()), tmp_path)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == [".lock"]


def test_a_status_of_404_is_said(home: Home, tmp_path: Path):
    with refused("the server answered 404 Not Found", "/elsewhere"):
        fetch(corpus(home.file("/elsewhere")), tmp_path)


def test_no_server_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with refused("the server cannot be reached"):
        fetch(corpus(RemoteFile("corpus.bin", f"http://127.0.0.1:{port}/corpus.bin", SHA256, len(BODY))), tmp_path)


def test_a_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads, "RETRY_SECONDS", ())
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/corpus.bin"
        with refused("timed out"):
            fetch(corpus(RemoteFile("corpus.bin", url, SHA256, len(BODY))), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said(home: Home, tmp_path: Path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"No space left on device.*make room.*CLEARFORMER_CACHE.*run again"):
        fetch(corpus(home.file()), tmp_path)


def test_a_cache_that_is_no_folder_is_said(home: Home, tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DownloadError, match=r"must be a folder that can be written to.*CLEARFORMER_CACHE"):
        fetch(corpus(home.file()), tmp_path / "file")


def test_progress_never_falls_and_ends_at_all_bytes(home: Home, tmp_path: Path):
    heard: list[tuple[str, int, int]] = []
    fetch(corpus(home.file()), tmp_path, progress=lambda *step: heard.append(step))
    done = [bytes_so_far for _, bytes_so_far, _ in heard]
    assert done == sorted(done)
    assert len(heard) > 2
    assert heard[-1] == ("corpus.bin", 256_000, 256_000)


def test_progress_of_a_resumed_download_starts_where_it_stopped(home: Home, tmp_path: Path):
    home.cuts = [CUT]
    with refused("lost after"):
        fetch(corpus(home.file()), tmp_path)
    heard: list[int] = []
    fetch(corpus(home.file()), tmp_path, progress=lambda _name, done, _size: heard.append(done))
    assert (heard[0], heard[-1]) == (CUT, 256_000)


def test_two_fetches_at_once_share_one_download(home: Home, tmp_path: Path):
    home.hold = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: fetch(corpus(home.file()), tmp_path), range(2)))
    assert folders == [tmp_path / "corpus"] * 2
    assert (tmp_path / "corpus" / "corpus.bin").read_bytes() == BODY
    assert home.asked == [None]


def test_a_redirect_is_followed_and_keeps_the_range(home: Home, tmp_path: Path):
    home.redirect = "/corpus.bin"
    home.cuts = [CUT]
    with refused("lost after"):
        fetch(corpus(home.file("/moved")), tmp_path)
    folder = fetch(corpus(home.file("/moved")), tmp_path)
    assert (folder / "corpus.bin").read_bytes() == BODY
    assert home.sent == [CUT, len(BODY) - CUT]


@pytest.mark.parametrize("target", ["http://example.invalid/corpus.bin", "ftp://127.0.0.1/corpus.bin"])
def test_a_redirect_to_an_unsafe_address_is_refused(home: Home, tmp_path: Path, target: str):
    home.redirect = target
    with pytest.raises(DownloadError, match=re.escape(f"https:// was expected, found {target}")):
        fetch(corpus(home.file("/moved")), tmp_path)


@pytest.mark.parametrize(
    "url", ["http://example.invalid/a", "file:///etc/hostname", "http://127.0.0.1.example.invalid/"]
)
def test_an_address_that_is_not_https_is_refused(tmp_path: Path, url: str):
    with pytest.raises(DownloadError, match=re.escape(f"https:// was expected, found {url}")):
        fetch(corpus(RemoteFile("a", url, SHA256, 1)), tmp_path)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("CLEARFORMER_CACHE")
    assert cache_folder() == Path("/shared/clearformer")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "clearformer"


def test_a_fetch_without_a_folder_goes_to_the_cache(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_CACHE", str(tmp_path))
    assert fetch(corpus(home.file())) == tmp_path / "corpus"


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_named_download_is_pinned(name: str):
    download = DOWNLOADS[name]
    assert download.name == name
    assert download.licence
    assert len({file.name for file in download.files}) == len(download.files) > 0
    for file in download.files:
        assert urlsplit(file.url).scheme == "https"
        assert re.search(r"/[0-9a-f]{40}/", file.url), "an address must hold a commit, since a branch moves"
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size > 0
