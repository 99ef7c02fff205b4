"""Which picture files there are, and what they say of themselves; those that were looked at before are not opened."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from convscope.data import hazards, pictures
from convscope.data.files import File, key_of
from convscope.data.prepared import Known, Stamp, content_of
from convscope.data.sources import Pictures
from convscope.errors import DataError

AT_ONCE = 4
"""Pictures handed to a thread: each time costs a change of threads, and Python's lock."""
AHEAD = 4
"""How many times as many a thread may be ahead of those that are written next."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Entry:
    """One picture file, what it is called in its place, and what it stands for."""

    path: File
    key: str
    split: str
    label: int


def entries_of(found: Pictures) -> list[Entry]:
    """Every picture file, split by split, so that each split is one piece of the images."""
    number = {name: k for k, name in enumerate(found.listing.class_names)}
    return [Entry(path, key_of(path, found.root), split, number[name]) for split, name, path in found.files()]


def looked_at(entries: Sequence[Entry], remembered: Mapping[str, Known]) -> dict[str, Known]:
    """What is known of every file; those that were looked at before and have not changed are not opened."""
    contents = {known.content: known for known in remembered.values() if known.content}

    def known(entry: Entry) -> Known:
        return look(entry.path, remembered.get(entry.key), contents)

    return dict(zip((entry.key for entry in entries), in_order(known, entries), strict=True))


def look(path: File, before: Known | None, contents: Mapping[str, Known]) -> Known:
    try:
        now_ns, stamp = time.time_ns(), Stamp.of(path)
        if before is not None and before.stamp == stamp:
            return before
        hazards.check_file(path)
        content = content_of(path)
    except (OSError, DataError) as error:
        return Known(None, "", None, pictures.reason(error, path))
    settled = stamp if stamp.is_settled(now_ns) else None
    if content in contents:
        return dataclasses.replace(contents[content], stamp=settled)
    try:
        return Known(settled, content, pictures.header(path))
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        return Known(settled, content, None, pictures.reason(error, path))


def in_order(work: Callable[[Item], Outcome], items: Iterable[Item]) -> Iterator[Outcome]:
    """`work` on every item in threads, a bounded number ahead. Pillow decodes without holding Python's lock."""
    threads = min(16, os.cpu_count() or 1)
    pending: deque[Future[list[Outcome]]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        while part := list(islice(left, AT_ONCE)):
            pending.append(pool.submit(_on_each, work, part))
            if len(pending) > AHEAD * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _on_each(work: Callable[[Item], Outcome], part: Sequence[Item]) -> list[Outcome]:
    return [work(item) for item in part]
