"""Fetch what the catalogue pins; anything that is not what was promised is refused.

A download that was cut short goes on where it stopped, and two processes at once take turns.
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
"""takes the file's name, its bytes so far and its bytes in all"""

CHUNK = 1 << 16
"""bytes read at most before progress is told"""
TIMEOUT_SECONDS = 30.0
"""how long a server may stay silent"""
RETRY_SECONDS = (0.5, 2.0)
"""waits before a cut connection is tried again; one try more than there are waits"""


def cache_folder() -> Path:
    """Where downloads are kept: $CLEARFORMER_CACHE, else $XDG_CACHE_HOME/clearformer, else ~/.cache/clearformer."""
    if own := os.environ.get("CLEARFORMER_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "clearformer"


def fetch(download: Download, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Make every file of `download` be in `<folder>/<its name>/`, and return that; `folder` is else `cache_folder()`.

    A file that is there with the right hash is left alone, and `progress` hears nothing of it.
    Raises DownloadError where a file cannot be fetched or written, or is not what was promised.
    """
    home = (cache_folder() if folder is None else folder) / download.name
    try:
        if all(_is_good(home / file.name, file) for file in download.files):
            return home  # before the lock, so that a cache may be read-only
        home.mkdir(parents=True, exist_ok=True)
        with (home / ".lock").open("ab") as lock:  # the system lets go of it when we close it, or die
            _wait_for(lock)
            for file in download.files:
                if not _is_good(home / file.name, file):
                    _fetch_file(file, home / file.name, progress or (lambda *_: None))
    except OSError as error:  # of the network they are DownloadErrors by now
        raise DownloadError(
            f"{home} must be a folder that can be written to, but: {error}; make room or give access, or set "
            "CLEARFORMER_CACHE to another folder, and run again"
        ) from error
    return home


class _CutError(Exception):
    """The connection ended before the file did: worth another try."""


def _is_good(path: Path, file: RemoteFile) -> bool:
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
        except _CutError as cut:
            if wait is None:
                raise _failure(file, str(cut)) from cut
            time.sleep(wait)
    with part.open("rb+") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    if found != file.sha256:
        part.unlink()
        raise _failure(file, f"the SHA-256 {file.sha256} was expected, found {found}, and what came was deleted")
    part.replace(target)


def _receive(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Bring `part` to the file's size: from the bytes it has, or from none where the server or the part is at odds."""
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        have = 0
    progress(file.name, have, file.size)
    if have == file.size:
        return
    with _open(file, have) as response:
        content_range = response.headers.get("Content-Range", "")
        if not (response.status == 206 and content_range.startswith(f"bytes {have}-")):
            have = 0  # the whole file comes
        if response.length is not None and have + response.length != file.size:
            found = have + response.length  # not of the file, so the part stays as it is
            raise _failure(file, f"{file.size:,} bytes were expected, but the server announced {found:,}")
        with part.open("ab" if have else "wb") as stream:
            while chunk := _read(response, file.size - have):
                stream.write(chunk)
                have += len(chunk)
                progress(file.name, have, file.size)
    if have < file.size:
        raise _CutError(f"the connection was cut after {have:,} of {file.size:,} bytes")


def _read(response: HTTPResponse, wanted: int) -> bytes:
    try:
        return response.read1(min(CHUNK, wanted))
    except (OSError, HTTPException) as error:
        raise _CutError(f"the connection was cut: {error}") from error


def _open(file: RemoteFile, start: int) -> HTTPResponse:
    """The server's answer when asked for the file from byte `start` on."""
    _require_safe(file.url)
    headers = {"User-Agent": "clearformer"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = build_opener(_SafeRedirects).open(
            Request(file.url, headers=headers), None, TIMEOUT_SECONDS
        )
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # no such range: the part is not of this file
            return _open(file, 0)
        raise _failure(file, f"the server answered {error.code} {error.reason}") from error
    except URLError as error:
        raise _failure(file, f"the server cannot be reached ({error.reason})") from error
    except (OSError, HTTPException) as error:
        raise _CutError(f"the server gave no answer ({error})") from error
    return response


def _failure(file: RemoteFile, reason: str) -> DownloadError:
    return DownloadError(
        f"{file.name} could not be fetched from {file.url}: {reason}; run again to go on where it stopped, "
        "or use files that are already here with --data PATH"
    )


class _SafeRedirects(HTTPRedirectHandler):
    """Follows a redirect only to where the first request might have gone as well."""

    # `fp` is Any: urllib declares IO[bytes] and hands over an HTTPResponse, which beartype finds to be none
    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise DownloadError(
            f"an address that begins with https:// was expected, found {url}; use files that are already here "
            "with --data PATH"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, not an address
        return False


def _wait_for(lock: IO[bytes]) -> None:
    """Hold the open file alone, once every other process has let go of it."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
                break
            except OSError as error:  # it gives up after ten seconds
                if error.errno != errno.EDEADLK:
                    raise
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
