"""Downloads: several mirrors, resumed, checked against a pinned digest, locked, renamed only when right.

A file grows as `NAME.part`. When its digest is right it is renamed to NAME; when it is wrong it is kept aside
as `NAME.wrong-<first 8 of its hash>`. What a stopped download has so far is continued by the next one.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from convscope.data import held
from convscope.data.data_set import DataSet, Download
from convscope.errors import DataError

ANSWER_S = 3.0
"""How long one mirror may take to answer."""
TRYING_S = 6.0
"""How long mirrors that do not answer may cost, all together."""
STALL_S = 10.0
"""How long a connection may send nothing."""
TRIES = 4
"""How often one mirror is asked for one file, as long as more of it keeps coming."""
REPORT_EVERY_S = 1.0
CHUNK_BYTES = 1 << 16
MOST_BYTES = 4 << 30
"""The largest file taken from a mirror whose size was not known beforehand."""

Say = Callable[[str], None]


class Transfer(str):
    """A line about a running download that also carries its numbers, for those who draw a bar.

    >>> Transfer("train.gz", 2_500_000, 10_000_000)
    'train.gz: 2.5 of 10.0 MB'
    """

    __slots__ = ("file_name", "received_bytes", "total_bytes")
    file_name: str
    received_bytes: int
    total_bytes: int

    def __new__(cls, file_name: str, received_bytes: int, total_bytes: int) -> Transfer:
        line = super().__new__(cls, f"{file_name}: {received_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB")
        line.file_name, line.received_bytes, line.total_bytes = file_name, received_bytes, total_bytes
        return line

    def __getnewargs__(self) -> tuple[str, int, int]:  # type: ignore[override]  # str has another one
        return self.file_name, self.received_bytes, self.total_bytes


class _MirrorError(Exception):
    """This mirror is of no use for this file, the next may be; the text ends the sentence "mirror X …"."""


class _CutShortError(_MirrorError):
    """The connection ended early: what came is kept, and the same mirror may be asked for the rest."""


class _WrongFileError(_MirrorError):
    """What came has another digest; it is kept aside."""


class _OutOfTimeError(Exception):
    """The time for the whole download is over."""


@dataclass
class _Patience:
    """What is left of the time for mirrors that do not answer, and of the time for everything."""

    trying_s: float
    ends_at: float

    def answer_s(self) -> float:
        self.check()
        return max(0.0, min(ANSWER_S, self.trying_s, self.ends_at - time.monotonic()))

    def check(self) -> None:
        if time.monotonic() >= self.ends_at:
            raise _OutOfTimeError


@dataclass
class _Job:
    """The download of one data set: who to tell, how long to wait, and which mirrors have failed."""

    mirrors: tuple[str, ...]
    folder: Path
    say: Say
    patience: _Patience
    instead: str = ""
    failed: dict[str, str] = field(default_factory=dict)

    def fetch(self, download: Download) -> None:
        """Bring one file into the folder from the first mirror that has the right one."""
        if (self.folder / download.name).is_file():
            return
        for mirror in self.mirrors:
            if mirror not in self.failed and self._fetch_from(mirror, download):
                return
        raise DataError(
            f"{download.name} could not be downloaded: " + self._blame(),
            "one mirror that answers with the right file",
            "Check the network and run again (what has arrived is kept)" + self.instead,
        )

    def _blame(self) -> str:
        """Each reason once, after the mirrors it holds for."""
        reasons = dict.fromkeys(self.failed.values())
        hosts = {
            reason: [_host(url) for url in self.failed if self.failed[url] == reason] for reason in reasons
        }
        return "; ".join(f"{', '.join(names)} {reason}" for reason, names in hosts.items())

    def _fetch_from(self, mirror: str, download: Download) -> bool:
        try:
            self._transfer(mirror, download)
        except _MirrorError as failure:
            self.failed[mirror] = str(failure)
            self.say(f"Mirror {_host(mirror)} {failure}.")
            return False
        return True

    def _transfer(self, mirror: str, download: Download) -> None:
        """Receive, continue where a connection breaks, check, rename."""
        part = self.folder / f"{download.name}.part"
        if not download.size_bytes:
            download = replace(download, size_bytes=_announced_bytes(mirror + download.name, self.patience))
        for _ in range(TRIES):
            start = part.stat().st_size if part.exists() else 0
            try:
                _receive(mirror + download.name, part, download, self.patience, self.say)
                _check_and_rename(part, download)
                return
            except _CutShortError as failure:
                last: _MirrorError = failure
            except _WrongFileError as failure:
                if not start:
                    raise
                last = failure  # its old half, from elsewhere, may be to blame: once more from the start
        raise last


def download_set(data_set: DataSet, say: Say, *, patience_s: float | None = None) -> held.Held:
    """Bring a data set's files into the user cache and return them.

    Args:
        data_set: with mirrors and downloads.
        say: receives a line for each mirror that fails and a `Transfer` every second.
        patience_s: give up after this long, keeping what has arrived; None waits as long as bytes come.

    Raises:
        DataError: no mirror has the right files, the time is over, or the cache cannot be written.
    """
    place = held.Place(held.cache_folder(data_set), "the user cache, just downloaded", is_ours=True)
    try:
        download_files(
            data_set.name,
            data_set.mirrors,
            data_set.downloads,
            place.folder,
            say,
            patience_s=patience_s,
            instead=", or use mnist-10k, which is built in",
        )
    except _OutOfTimeError:
        raise DataError(
            f"{data_set.name} did not come within {patience_s:.0f} s",
            fix=f"What has arrived is kept; name {data_set.name} to wait for the rest",
        ) from None
    found = held.look(data_set, place)
    assert found is not None, f"{data_set.name}: its downloads do not hold its files"
    return found


def download_files(
    name: str,
    mirrors: tuple[str, ...],
    downloads: tuple[Download, ...],
    folder: Path,
    say: Say,
    *,
    patience_s: float | None = None,
    instead: str = "",
) -> None:
    """Bring files into a folder from the first mirror that has the right ones; those that are there stay.

    Args:
        name: what is downloaded, for messages.
        mirrors: addresses that end in `/`.
        downloads: the files.
        folder: is made where it is not there.
        say: as in `download_set`.
        patience_s: as in `download_set`.
        instead: how the advice goes on when no mirror has them.

    Raises:
        DataError: no mirror has the right files, or the folder cannot be written.
    """
    ends_at = time.monotonic() + (float("inf") if patience_s is None else patience_s)
    job = _Job(mirrors, folder, say, _Patience(TRYING_S, ends_at), instead=instead)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock", name, job):
            for download in downloads:
                job.fetch(download)
    except OSError as error:
        raise DataError(
            f"cannot write downloads to {folder}: {error}", "a folder with room to write"
        ) from error


@contextlib.contextmanager
def _locked(path: Path, name: str, job: _Job) -> Iterator[None]:
    """One process downloads; another waits and then finds the files."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        job.say(f"Another process is downloading {name}; waiting for it.")
        try:
            lock.acquire(timeout=min(job.patience.ends_at - time.monotonic(), 1e9))
        except Timeout:
            raise _OutOfTimeError from None
    try:
        yield
    finally:
        lock.release()


def _receive(url: str, part: Path, download: Download, patience: _Patience, say: Say) -> None:
    """Append to `part` what it still lacks.

    Raises:
        _CutShortError: the connection ended before the last byte.
        _MirrorError: no answer, an error, or a file of another size.
    """
    start = part.stat().st_size if part.exists() else 0
    if start >= download.size_bytes:
        return
    with _opened(url, start, patience) as response:
        start = start if response.status == 206 else 0
        _check_size(response, download.size_bytes - start)
        with part.open("ab" if start else "wb") as stream:
            for chunk in _chunks(response, url, start, download, patience, say):
                stream.write(chunk)
    received = part.stat().st_size
    if received < download.size_bytes:
        raise _CutShortError(f"ended {download.name} after {received:,} of {download.size_bytes:,} bytes")


def _announced_bytes(url: str, patience: _Patience) -> int:
    """How large the mirror says the file is, for a file whose size nobody publishes."""
    with _opened(url, 0, patience, "HEAD") as response:
        announced = response.headers.get("Content-Length", "")
    if not announced.isdecimal() or not 0 < int(announced) <= MOST_BYTES:
        raise _MirrorError(f"does not say how large the file is, or says {announced or 'nothing'}")
    return int(announced)


def _check_size(response: http.client.HTTPResponse, expected_bytes: int) -> None:
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != expected_bytes:
        raise _MirrorError(f"has another file ({int(announced):,} bytes instead of {expected_bytes:,})")


def _chunks(
    response: http.client.HTTPResponse,
    url: str,
    start: int,
    download: Download,
    patience: _Patience,
    say: Say,
) -> Iterator[bytes]:
    """The body in pieces, never more than the file should have; a broken connection just ends it."""
    received, reported_at = start, 0.0
    while received < download.size_bytes:
        patience.check()
        if time.monotonic() - reported_at >= REPORT_EVERY_S:
            say(Transfer(f"{download.name} from {_host(url)}", received, download.size_bytes))
            reported_at = time.monotonic()
        try:
            chunk = response.read1(min(CHUNK_BYTES, download.size_bytes - received))
        except (OSError, http.client.HTTPException):
            return
        if not chunk:
            return
        received += len(chunk)
        yield chunk


def _opened(url: str, start: int, patience: _Patience, method: str = "GET") -> http.client.HTTPResponse:
    """The mirror's answer, or the reason why there is none.

    The request runs in a thread of its own because name resolution knows no time limit.
    """
    limit_s = patience.answer_s()
    if limit_s <= 0:
        raise _MirrorError("was not tried: other mirrors took all the time")
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    threading.Thread(target=_request, args=(url, method, start, answers), daemon=True).start()
    began_at = time.monotonic()
    try:
        answer = answers.get(timeout=limit_s)
    except queue.Empty:
        answer = TimeoutError(f"did not answer within {limit_s:.1f} s")
    if isinstance(answer, Exception):
        patience.trying_s -= time.monotonic() - began_at
        raise _MirrorError(_reason(answer)) from answer
    return answer


def _request(
    url: str, method: str, start: int, answers: queue.SimpleQueue[http.client.HTTPResponse | Exception]
) -> None:
    headers = {"User-Agent": "convscope", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answers.put(
            urllib.request.urlopen(
                urllib.request.Request(url, headers=headers, method=method), timeout=STALL_S
            )
        )
    except Exception as error:  # carried to the thread that waits, which tells the user
        answers.put(error)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"did not answer: {getattr(error.reason, 'strerror', None) or error.reason}"
    return (
        str(error)
        if isinstance(error, TimeoutError) and str(error).startswith("did")
        else f"failed: {error!r}"
    )


def _check_and_rename(part: Path, download: Download) -> None:
    digest = held.file_digest(part, download.algorithm)
    if not digest.startswith(download.hexdigest):
        aside = held.set_aside(part, digest)
        raise _WrongFileError(
            f"sent a wrong {download.name}: {download.algorithm} {digest[:8]}… instead of "
            f"{download.hexdigest[:8]}…, kept aside as {aside}"
        )
    part.replace(part.with_name(download.name))


def _host(url: str) -> str:
    return urlsplit(url).netloc
