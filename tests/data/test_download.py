"""Downloads against a real server on 127.0.0.1: resumed, cut short, wrong, dead, and by two processes at once."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from convscope.data import Transfer, download, idx, load_data
from convscope.data.data_set import DataFile, DataSet, Download
from convscope.data.download import download_set
from convscope.data.sets import BY_NAME
from convscope.errors import DataError

ARRAYS = {
    idx.TRAIN_IMAGES: np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8),
    idx.TRAIN_LABELS: np.arange(300, dtype=np.uint8) % 10,
    idx.TEST_IMAGES: np.zeros((10, 28, 28), dtype=np.uint8),
    idx.TEST_LABELS: np.arange(10, dtype=np.uint8),
}
UNPACKED = {name: idx.serialise(array) for name, array in ARRAYS.items()}
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in UNPACKED.items()}
LARGEST = f"{idx.TRAIN_IMAGES}.gz"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TINY: DataSet = replace(
    BY_NAME["mnist"],
    name="tiny",
    files=tuple(DataFile(name, len(content), sha256(content)) for name, content in UNPACKED.items()),
    downloads=tuple(
        Download(name, len(content), f"sha256:{sha256(content)}") for name, content in PACKED.items()
    ),
)


@dataclass
class Mirror:
    """A small web server and what it has been asked for: (file, first byte)."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(PACKED))
    supports_ranges: bool = True
    cut_after: int | None = None
    delay_s: float = 0.0
    announces_size: bool = True
    asked: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path[1:]
        asked_range = request.headers.get("Range", "bytes=0-")
        start = int(asked_range[6:-1]) if self.supports_ranges else 0
        self.asked.append((name, start))
        time.sleep(self.delay_s)
        if name not in self.files:
            request.send_error(404)
            return
        body = self.files[name][start:]
        request.send_response(206 if start else 200)
        if self.announces_size:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body if self.cut_after is None else body[: self.cut_after])


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mirror]]:
    """Two mirrors that run."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = [Mirror(), Mirror()]
    servers = [serve(mirror) for mirror in running]
    yield running
    for server in servers:
        server.shutdown()
        server.server_close()


def serve(mirror: Mirror) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    mirror.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def tiny_from(*mirrors: Mirror | str) -> DataSet:
    return replace(TINY, mirrors=tuple(m if isinstance(m, str) else m.url for m in mirrors))


def fetch(data_set: DataSet, patience_s: float | None = None) -> tuple[dict[str, bytes], list[str]]:
    """Unpacked files, and the lines that were said."""
    lines: list[str] = []
    files = download_set(data_set, lines.append, patience_s=patience_s).read()
    return {name: content.tobytes() for name, content in files.items()}, lines


def test_a_download_is_complete_and_right(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    files, lines = fetch(tiny_from(*mirrors))
    assert files == UNPACKED
    assert mirrors[1].asked == []
    assert sorted(path.name for path in (nothing_at_hand / "tiny").iterdir()) == sorted([".lock", *PACKED])
    transfers = [line for line in lines if isinstance(line, Transfer)]
    assert transfers == lines
    assert transfers[0].total_bytes == len(PACKED[LARGEST])
    assert transfers[0].received_bytes == 0


def test_what_is_here_is_not_fetched_again(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    fetch(tiny_from(*mirrors))
    mirrors[0].asked.clear()
    fetch(tiny_from(*mirrors))
    assert mirrors[0].asked == []


@pytest.mark.parametrize("supports_ranges", [True, False])
def test_a_stopped_download_is_continued(
    mirrors: list[Mirror], nothing_at_hand: Path, supports_ranges: bool
) -> None:
    folder = nothing_at_hand / "tiny"
    folder.mkdir(parents=True)
    (folder / f"{LARGEST}.part").write_bytes(PACKED[LARGEST][:1000])
    mirrors[0].supports_ranges = supports_ranges
    files, _ = fetch(tiny_from(*mirrors))
    assert files == UNPACKED
    assert mirrors[0].asked[0] == (LARGEST, 1000 if supports_ranges else 0)


def test_a_connection_that_breaks_is_taken_up_again(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    mirrors[0].cut_after = 100_000
    files, lines = fetch(tiny_from(*mirrors))
    assert files == UNPACKED
    assert [start for name, start in mirrors[0].asked if name == LARGEST] == [0, 100_000, 200_000]
    assert all(isinstance(line, Transfer) for line in lines)


def test_a_mirror_that_keeps_breaking_is_left_for_the_next(
    mirrors: list[Mirror], nothing_at_hand: Path
) -> None:
    mirrors[0].cut_after = 1000
    files, lines = fetch(tiny_from(*mirrors))
    assert files == UNPACKED
    assert mirrors[1].asked[0] == (LARGEST, 1000 * download.TRIES)
    assert any("ended train-images-idx3-ubyte.gz after 4,000 of" in line for line in lines)


@pytest.mark.parametrize("announces_size", [True, False])
def test_dead_and_missing_and_different_mirrors_are_a_line_each(
    mirrors: list[Mirror], nothing_at_hand: Path, announces_size: bool
) -> None:
    mirrors[0].files[LARGEST] = b"<html>sign in first</html>"
    mirrors[0].announces_size = announces_size
    closed = f"http://127.0.0.1:{free_port()}/"
    files, lines = fetch(tiny_from(closed, mirrors[1].url + "nowhere/", mirrors[0], mirrors[1]))
    assert files == UNPACKED
    said = [line for line in lines if not isinstance(line, Transfer)]
    assert "did not answer: Connection refused" in said[0]
    assert "answered 404 Not Found" in said[1]
    assert ("has another file (26 bytes instead of" if announces_size else "after 26 of") in said[2]


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_wrong_file_is_kept_aside_and_the_next_mirror_tried(
    mirrors: list[Mirror], nothing_at_hand: Path
) -> None:
    wrong = bytes(len(PACKED[LARGEST]))
    mirrors[0].files[LARGEST] = wrong
    files, lines = fetch(tiny_from(*mirrors))
    aside = nothing_at_hand / "tiny" / f"{LARGEST}.wrong-{sha256(wrong)[:8]}"
    assert files == UNPACKED
    assert aside.read_bytes() == wrong
    assert any("sent a wrong" in line and str(aside) in line for line in lines)


def test_only_wrong_files_is_an_error_that_names_them(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    wrong = bytes(len(PACKED[LARGEST]))
    mirrors[0].files[LARGEST] = wrong
    with pytest.raises(DataError) as caught:
        fetch(tiny_from(mirrors[0]))
    assert f"sha256 {sha256(wrong)[:8]}… instead of {sha256(PACKED[LARGEST])[:8]}…, kept aside as" in str(
        caught.value
    )
    assert (nothing_at_hand / "tiny" / f"{LARGEST}.wrong-{sha256(wrong)[:8]}").is_file()
    assert not (nothing_at_hand / "tiny" / LARGEST).exists()


def test_a_wrong_half_is_fetched_once_more_from_the_start(
    mirrors: list[Mirror], nothing_at_hand: Path
) -> None:
    folder = nothing_at_hand / "tiny"
    folder.mkdir(parents=True)
    (folder / f"{LARGEST}.part").write_bytes(bytes(1000))
    files, _ = fetch(tiny_from(mirrors[0]))
    assert files == UNPACKED
    assert [start for name, start in mirrors[0].asked if name == LARGEST] == [1000, 0]
    assert len(list(folder.glob("*.wrong-*"))) == 1


def test_silent_mirrors_cost_a_few_seconds_in_all(
    mirrors: list[Mirror], nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ANSWER_S", 0.2)
    monkeypatch.setattr(download, "TRYING_S", 0.3)
    for mirror in mirrors:
        mirror.delay_s = 1.0
    (nothing_at_hand / "tiny").mkdir(parents=True)
    (nothing_at_hand / "tiny" / f"{LARGEST}.part").write_bytes(PACKED[LARGEST][:1000])
    began = time.monotonic()
    with pytest.raises(
        DataError, match=r"did not answer within 0.2 s; .*did not answer within 0.1 s; .*was not tried"
    ):
        fetch(tiny_from(*mirrors, mirrors[0].url + "again/"))
    assert time.monotonic() - began < 0.9


def test_patience_ends_and_keeps_what_came(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    with pytest.raises(DataError, match="tiny did not come within 0 s"):
        fetch(tiny_from(*mirrors), patience_s=0.0)
    mirrors[0].cut_after = 1000
    with pytest.raises(DataError):
        fetch(tiny_from(mirrors[0]))
    assert (nothing_at_hand / "tiny" / f"{LARGEST}.part").stat().st_size == 4000


def test_no_network_falls_back_to_the_bundle(
    mirrors: list[Mirror], nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convscope.data.load.MNIST", replace(tiny_from(f"http://127.0.0.1:{free_port()}/"), name="mnist")
    )
    lines: list[str] = []
    data = load_data(None, progress=lines.append)
    assert data.name == "mnist-10k"
    assert "could not be downloaded" in data.notes[0]
    assert lines[0].startswith("Mirror 127.0.0.1:")


def test_the_network_serves_the_default(
    mirrors: list[Mirror], nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.data.load.MNIST", replace(tiny_from(*mirrors), name="mnist"))
    data = load_data(None)
    assert (data.name, len(data.train)) == ("mnist", 300)
    assert "just downloaded" in data.origin
    assert "the user cache" in load_data(None, offline=True).origin


def test_offline_asks_nobody(
    mirrors: list[Mirror], nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.data.load.MNIST", replace(tiny_from(*mirrors), name="mnist"))
    assert load_data(None, offline=True).name == "mnist-10k"
    assert mirrors[0].asked == []


def test_a_cache_that_cannot_be_written_is_an_error(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    nothing_at_hand.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot write downloads to"):
        fetch(tiny_from(*mirrors))


def _fetch_in_a_process(
    data_set: DataSet, cache: Path, start: float, lines: multiprocessing.Queue[str]
) -> None:
    import platformdirs

    platformdirs.user_cache_path = lambda *names, **options: cache  # type: ignore[assignment]
    time.sleep(max(0.0, start - time.time()))
    files = download_set(data_set, lines.put).read()
    lines.put("right" if {name: file.tobytes() for name, file in files.items()} == UNPACKED else "wrong")


def test_two_processes_at_once_fetch_each_file_once(mirrors: list[Mirror], nothing_at_hand: Path) -> None:
    mirrors[0].delay_s = 0.2
    context = multiprocessing.get_context("fork")
    lines = context.Queue()
    arguments = (tiny_from(*mirrors), nothing_at_hand, time.time() + 0.2, lines)
    processes = [context.Process(target=_fetch_in_a_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    said = [lines.get(timeout=1) for _ in range(lines.qsize())]
    assert said.count("right") == 2
    assert said.count("Another process is downloading tiny; waiting for it.") == 1
    assert sorted(mirrors[0].asked) == sorted((name, 0) for name in PACKED)
