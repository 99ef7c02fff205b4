"""Random numbers that are a pure function of what they are for: seed, step or epoch, layer name, sample.

Nothing here has a state, so a resumed run draws what the uninterrupted one would have drawn, the fast form draws what
the reference draws, and several processes draw what one would. Source of the integer mixer: the constants of
C. Wellons' search for low-bias 32-bit hashes (public domain).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

# As tensors: torch would make one of each plain number each time, which takes three times as long as the rest.
_SPREAD, _FIRST, _SECOND, _LOW_16, _LOW_17, _15, _16 = (
    torch.tensor(number, dtype=torch.int32)
    for number in (
        -1640531527,  # 0x9E3779B9, the golden ratio's bits, as a signed 32-bit number
        0x7FEB352D,
        -2073254261,  # 0x846CA68B
        0xFFFF,
        0x1FFFF,
        15,
        16,
    )
)


def key(*parts: object) -> int:
    """A 64-bit number (0 to 2⁶⁴ − 1) from any parts, the same on every machine.

    >>> key(0, "order", 3) == key(0, "order", 3), key(0, "order", 3) == key(0, "order", 4)
    (True, False)
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which an epoch sees n samples: a permutation (n,), int64, on the CPU."""
    generator = torch.Generator().manual_seed(key(seed, "order", epoch) >> 1)
    return torch.randperm(n, generator=generator)


@dataclass(frozen=True)
class Draw:
    """The random numbers of one training step for the samples in it.

    Args:
        seed: the run's seed.
        step: the step's number within the run.
        sample_index: which samples of the training split the batch holds, (N,), int64.
    """

    seed: int
    step: int
    sample_index: Tensor

    def keep(self, layer_name: str, like: Tensor, rate: float) -> Tensor:
        """The mask of inverted dropout for `like` (N, …): 0 with probability `rate`, else 1/(1 − rate).

        A rate that is a multiple of 1/256 needs only a byte for each number, any other 32 bits.
        """
        numbers = like.shape[1:].numel()
        if (rate * 256).is_integer():
            words = self.bits(layer_name, -(-numbers // 4), like.device)
            kept = words.view(torch.uint8)[:, :numbers] >= round(rate * 256)  # four bytes a word
        else:
            # The bits are even over −2³¹ … 2³¹ − 1: the lowest `rate` of them drop.
            kept = self.bits(layer_name, numbers, like.device) >= round(rate * 2**32) - 2**31
        return (kept.to(like.dtype) * (1.0 / (1.0 - rate))).view(like.shape)

    def bits(self, layer_name: str, numbers: int, device: torch.device) -> Tensor:
        """Evenly spread 32-bit numbers, (N, numbers), int32, one row a sample."""
        rows = self.rows(layer_name, device)
        columns = torch.arange(numbers, dtype=torch.int32, device=device) * _SPREAD
        return _mixed(rows[:, None] + columns)

    def rows(self, layer_name: str, device: torch.device) -> Tensor:
        """The 32-bit number, (N,), int32, from which all those of a sample in a layer follow."""
        start = _as_int32(key(self.seed, self.step, layer_name))
        return _mixed(self.sample_index.to(device, torch.int32) * _SPREAD + start)


def _mixed(bits: Tensor) -> Tensor:
    """Every input bit reaches every output bit. int32 arithmetic wraps; the masks make the shifts logical."""
    bits = bits ^ (bits >> _16).bitwise_and_(_LOW_16)
    bits *= _FIRST
    bits ^= (bits >> _15).bitwise_and_(_LOW_17)
    bits *= _SECOND
    bits ^= (bits >> _16).bitwise_and_(_LOW_16)
    return bits


def _as_int32(number: int) -> int:
    low = number & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low
