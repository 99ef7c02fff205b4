"""What is computed from all pixels, while they come: reading them again would cost a third of the first reading.

The digest of data begins with how many images there are, which is known only when every file has been read. So it is
assumed that every one can be read; where one cannot, there are no facts here, and they are computed afterwards.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from convscope.data.array_types import Bytes
from convscope.data.digest import Digest
from convscope.data.looking import Entry
from convscope.data.prepared import Facts, Made
from convscope.data.statistics import Moments


class Tally:
    """The facts of images that come one by one, in the order of their entries.

    Args:
        class_names: label k is called `class_names[k]`.
        entries: of which files; split by split.
        shape: (C, H, W) of every image.
        library: what adds up in C++, where it is at hand by now.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        entries: Sequence[Entry],
        shape: tuple[int, int, int],
        library: Callable[[], ctypes.CDLL | None],
    ) -> None:
        self._library, self._moments = library, Moments()
        self._digest, self._arrangement = Digest(class_names), Digest(class_names)
        self._places, self._seen = self._places_of(entries, shape), 0
        self._total = len(entries)

    def _places_of(self, entries: Sequence[Entry], shape: tuple[int, int, int]) -> Iterator[str]:
        """The split of each image; at the first of a split, the digests are told of it."""
        for name, group in groupby(entries, key=lambda entry: entry.split):
            labels = np.array([entry.label for entry in group], dtype=np.int64)
            for digest in (self._digest, self._arrangement):
                digest.begin_split(name, (len(labels), *shape), labels)
            yield from [name] * len(labels)

    def watching(self, made: Iterable[Made]) -> Iterator[Made]:
        """The same files, whose images are added."""
        for key, known, outcome in made:
            if isinstance(outcome, np.ndarray):
                self.add(outcome)
            yield key, known, outcome

    def add(self, image: Bytes) -> None:
        """The next image, uint8 (C, H, W)."""
        self._seen += 1
        if next(self._places) == "train":
            self._moments.add(image[None], self._library())
        self._digest.add(image)

    def facts(self) -> Facts | None:
        """Once all are there; None where some are not."""
        if self._seen < self._total:
            return None
        return Facts(self._arrangement.hexdigest(), self._digest.hexdigest(), *self._moments.mean_and_std())
