"""Download the files of the catalogue and verify their hashes.

An interrupted download is resumed, and concurrent processes take turns.
"""

import errno
import hashlib
import ipaddress
import os
import sys
import time
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from clearformer.data.catalogue import Download, RemoteFile
from clearformer.errors import DownloadError

Progress = Callable[[str, int, int], None]
"""called with what is done, such as "downloading a.txt", the bytes received so far and its size in bytes"""

CHUNK = 1 << 16
"""bytes read at most between two reports of progress"""
TIMEOUT_SECONDS = 30.0
"""socket timeout"""
RETRY_SECONDS = (0.5, 2.0)
"""waits between the attempts if the connection is lost; there is one attempt more than waits"""


def cache_folder() -> Path:
    """Where downloads are kept: $CLEARFORMER_CACHE, else $XDG_CACHE_HOME/clearformer, else ~/.cache/clearformer."""
    if folder := os.environ.get("CLEARFORMER_CACHE"):
        return Path(folder)
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "clearformer"


def fetch(download: Download, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Download the missing files into `<folder>/<download.name>/` and return that path.

    `folder` is `cache_folder()` by default. Files that are there with the right hash are skipped.
    Raises DownloadError if a file cannot be downloaded or written, or its size or hash is wrong.
    """
    target = (cache_folder() if folder is None else folder) / download.name
    try:
        if all(_is_complete(target / file.name, file) for file in download.files):
            return target  # before the lock, so that a cache may be read-only
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("ab") as lock:  # released by the system when it is closed, or the process dies
            _acquire(lock)
            for file in download.files:
                if not _is_complete(target / file.name, file):
                    _fetch_file(file, target / file.name, progress or (lambda *_: None))
    except OSError as error:  # of the file system: those of the network became DownloadErrors
        raise DownloadError(
            f"{target} must be a folder that can be written to, but: {error}; make room or give access, or set "
            "CLEARFORMER_CACHE to another folder, and run again"
        ) from error
    return target


class _ConnectionLostError(Exception):
    """The connection ended before the file did: try again."""


def _is_complete(path: Path, file: RemoteFile) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _fetch_file(file: RemoteFile, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    for wait in (*RETRY_SECONDS, None):
        try:
            _receive(file, part, progress)
            break
        except _ConnectionLostError as error:
            if wait is None:
                raise _failure(file, str(error)) from error
            time.sleep(wait)
    with part.open("rb+") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    if sha256 != file.sha256:
        part.unlink()
        raise _failure(file, f"the SHA-256 {file.sha256} was expected, found {sha256}, and the file was deleted")
    part.replace(target)


def _receive(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Download the rest of `part`; or all of it, if the part is too long or the server ignores the range."""
    received = part.stat().st_size if part.exists() else 0
    if received > file.size:
        received = 0
    progress(f"downloading {file.name}", received, file.size)
    if received == file.size:
        return
    with _open(file, received) as response:
        content_range = response.headers.get("Content-Range", "")
        if not (response.status == 206 and content_range.startswith(f"bytes {received}-")):
            received = 0  # the server sends the whole file
        if response.length is not None and received + response.length != file.size:
            announced = received + response.length  # another file, so the part stays as it is
            raise _failure(file, f"{file.size:,} bytes were expected, but the server announced {announced:,}")
        with part.open("ab" if received else "wb") as stream:
            while chunk := _read(response, file.size - received):
                stream.write(chunk)
                received += len(chunk)
                progress(f"downloading {file.name}", received, file.size)
    if received < file.size:
        raise _ConnectionLostError(f"the connection was lost after {received:,} of {file.size:,} bytes")


def _read(response: HTTPResponse, limit: int) -> bytes:
    try:
        return response.read1(min(CHUNK, limit))
    except (OSError, HTTPException) as error:
        raise _ConnectionLostError(f"the connection was lost: {error}") from error


def _open(file: RemoteFile, start: int) -> HTTPResponse:
    """The server's response to a request of the file from byte `start` on."""
    _require_safe(file.url)
    headers = {"User-Agent": "clearformer"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = build_opener(_SafeRedirects).open(
            Request(file.url, headers=headers), None, TIMEOUT_SECONDS
        )
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # range not satisfiable: the part is not of this file
            return _open(file, 0)
        raise _failure(file, f"the server answered {error.code} {error.reason}") from error
    except URLError as error:
        raise _failure(file, f"the server cannot be reached ({error.reason})") from error
    except (OSError, HTTPException) as error:
        raise _ConnectionLostError(f"the server gave no answer ({error})") from error
    return response


def _failure(file: RemoteFile, reason: str) -> DownloadError:
    return DownloadError(
        f"{file.name} could not be fetched from {file.url}: {reason}; run again to resume it, "
        "or use local files with --data PATH"
    )


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects only to URLs that would be allowed in the catalogue."""

    # `fp` is Any: urllib declares IO[bytes] but passes an HTTPResponse, which beartype rejects
    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise DownloadError(
            f"a URL that begins with https:// was expected, found {url}; use local files with --data PATH"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name, not an address
        return False


def _acquire(lock: IO[bytes]) -> None:
    """Wait for an exclusive lock on the open file."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
                break
            except OSError as error:  # LK_LOCK gives up after ten seconds
                if error.errno != errno.EDEADLK:
                    raise
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
