"""Memory that ran out, as an error the user can mend: with fewer images a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from convscope.errors import ConvscopeError, OutOfMemoryError

WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
"""How torch's allocators say it where they raise a plain RuntimeError: on the CPU, on Windows, on GPUs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out.

    >>> is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


@contextmanager
def enough_memory(batch_size: int, input_shape: tuple[int, int, int]) -> Iterator[None]:
    """Turn memory that runs out into an error that proposes smaller batches.

    Raises:
        OutOfMemoryError: in place of what Python or torch raised.
    """
    try:
        yield
    except ConvscopeError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_little(batch_size, input_shape) from error


def too_little(
    batch_size: int, input_shape: tuple[int, int, int], when: str = "", left: str | None = None
) -> OutOfMemoryError:
    """The error; `when` says when it was, and `left` what was saved and how to go on, if anything was."""
    shape = "×".join(map(str, input_shape))
    what = f"batches of {batch_size:,} images of {shape}" if batch_size > 1 else f"an image of {shape}"
    smaller = f"--batch-size {batch_size // 2}, or --auto-batch, which halves it until it fits"
    fix = f"Try {smaller}" if batch_size > 1 else "Try a smaller --size or network"
    return OutOfMemoryError(
        f"the memory was not enough for {what}{when}",
        "steps that fit the memory",
        f"{fix}. {left}" if left else fix,
        is_saved=left is not None,
    )
