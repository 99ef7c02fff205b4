"""Files that strangers might send: mutations of a good container (`model_file`), from single bytes to signed lies.

    for number in range(1000):
        name, content = mutated(samples, seed=0, number=number)

Every file is a pure function of the samples, the seed and its number. Most mutations of the contents are signed again,
as an attacker would: the digest in a file keeps accidents out, not malice.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convscope import model_file

NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32, 2**48, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 2**70,
    -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5, 1e-45, 1e300, -1e300, float("nan"), float("inf"), -float("inf"),
]  # fmt: skip
WORDS: list[Any] = [
    None, True, False, "", "x", "\0", "\ud800", "é" * 40, "a" * 10_000, "__import__('os').system('true')", "../../etc",
    [], {}, [[]], [None], {"a": {}}, {"__class__": "os.system"}, "conv(1, 1)", "timm/x", "unknown", "model",
]  # fmt: skip
BOMBS = [
    "repeat(1000000000, {net})", "repeat(100, repeat(100, repeat(100, relu))), {net}", "repeat(9, {net})",
    "repeat(300, conv(1000, 3, padding=1)), {net}", "conv(10000000, 1), {net}", "{net}, dense(10000000)",
    "dense(10000000), {net}", "maxpool(10000000), {net}", "lrn(10000000), {net}",
    "adaptiveavgpool(100000), {net}", "conv(1, 1, padding=10000000), {net}",
    "conv(1, 1, stride=10000000), {net}", "conv(1, (1, 9000000)), {net}", "rbf(10000000), {net}",
    "{net}, rbf(1000000)", "{net}, {net}, {net}", "aux({net}, weight=1e308), {net}", "block('x', {net})",
    "avgpool(2, padding=1), {net}", "conv(1, 1, groups=10000000), {net}", "dropout(1e400), {net}", "'x', {net}",
    "conv(2, 3, table=[[0], [0]]), {net}", "conv(9, 1, table=[[0]]), {net}", "relu(name='a.b'), {net}",
    "relu(name='forward'), {net}", "relu(name='__class__'), {net}", "lambda: 0", "[relu for x in 'ab']",
    "{net};import os", "().__class__.__bases__[0]", "f'{{relu}}'", "relu if True else relu", "-relu",
    "0x7fffffff", "1_000_000, {net}",
]  # fmt: skip
HEAVY = [
    "repeat(10000, relu), {net}", "repeat(10000, identity, relu), {net}",
    "repeat(100, repeat(100, relu)), {net}", "repeat(5000, dropout(0.5)), {net}",
    "repeat(3000, residual(relu)), {net}", "repeat(2000, branches([relu], [relu])), {net}",
    "repeat(4000, batchnorm), {net}", "aux(repeat(9000, relu), {net}), {net}",
    "repeat(12, branches([identity], [identity])), {net}",
]  # fmt: skip
"""Of some thousand layers, which are allowed and take a second: one bomb in forty."""


@dataclass(frozen=True)
class Parts:
    """A container taken apart: the header's entries by name, the signed document, and the bytes of the tensors."""

    header: dict[str, Any]
    document: dict[str, Any]
    data: bytes

    @classmethod
    @functools.cache
    def of(cls, content: bytes) -> Parts:
        """A good file's parts."""
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        document = json.loads(header.pop("__metadata__")["convscope"])
        return cls(header, document, content[8 + length :])

    def packed(self, sign: bool = True) -> bytes:
        """The file again, with a digest that fits if `sign`, as far as that can be computed."""
        document = dict(self.document)
        if sign:
            document["sha256"] = _digest(document, self.header, self.data)
        return framed({"__metadata__": {"convscope": json.dumps(document)}, **self.header}, self.data)


def framed(header: Any, data: bytes) -> bytes:
    """A safetensors file with any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _digest(document: dict[str, Any], header: dict[str, Any], data: bytes) -> str:
    try:
        entries = [
            (name, each["dtype"], tuple(each["shape"]), [data[slice(*each["data_offsets"])]])
            for name, each in sorted(header.items())
        ]
        return model_file._digest(document, entries)
    except (TypeError, ValueError, KeyError, AttributeError):
        return "0" * 64


def mutated(samples: Sequence[bytes], seed: int, number: int) -> tuple[str, bytes]:
    """The name of a mutation, and the file it makes of one of the samples."""
    numbers = random.Random(f"{seed}/{number}")
    content = numbers.choice(samples)
    mutation = numbers.choice(MUTATIONS)
    return mutation.__name__, mutation(content, numbers)


# ---- bytes ----------------------------------------------------------------------------------------------------------


def some_bytes(content: bytes, numbers: random.Random) -> bytes:
    """A few bytes anywhere, most of them in the header."""
    changed = bytearray(content)
    for _ in range(numbers.choice([1, 1, 1, 2, 8, 64])):
        place = numbers.randrange(min(len(content), numbers.choice([9, 400, 2000, len(content)])))
        changed[place] = numbers.choice([numbers.randrange(256), changed[place] ^ 1 << numbers.randrange(8)])
    return bytes(changed)


def cut(content: bytes, numbers: random.Random) -> bytes:
    """The beginning only, or without a piece, or with one twice, or with something more."""
    begin, end = sorted(numbers.randrange(len(content) + 1) for _ in range(2))
    return numbers.choice(
        [
            content[:begin],
            content[:begin] + content[end:],
            content[:end] + content[begin:],
            content[begin:end],
            content + content[begin:end],
            content[:begin] + numbers.randbytes(numbers.randrange(64)) + content[begin:],
        ]
    )


def header_length(content: bytes, numbers: random.Random) -> bytes:
    """Another number in the first eight bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    lengths = [
        0,
        1,
        length - 1,
        length + 1,
        len(content),
        len(content) - 8,
        2**22,
        2**22 + 1,
        2**63,
        2**64 - 1,
    ]
    return struct.pack("<Q", numbers.choice([*lengths, numbers.randrange(2**64)])) + content[8:]


def json_text(content: bytes, numbers: random.Random) -> bytes:
    """Other letters in the header's JSON, with a length that fits."""
    (length,) = struct.unpack("<Q", content[:8])
    text = content[8 : 8 + length]
    place, piece = numbers.randrange(len(text)), numbers.choice(_PIECES)
    text = text[:place] + piece + text[place + numbers.choice([0, 0, 1, len(piece), 50]) :]
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


_PIECES = [
    *(mark.encode() for mark in '{}[]",:\\'), b"null", b"NaN", b"1e999", b"-", b"\\u0000", b"\\ud800", b"\xff\xfe",
    b"\0",
    b"[" * 5000, b"{" * 5000, b'{"a":' * 5000, b"9" * 5000, b" " * 5000, b'"x":1,' * 20,
]  # fmt: skip


# ---- the header -----------------------------------------------------------------------------------------------------


def entries(content: bytes, numbers: random.Random) -> bytes:
    """Types, shapes, offsets and names of tensors that are not theirs."""
    parts = Parts.of(content)
    header = json.loads(json.dumps(parts.header))
    for _ in range(numbers.choice([1, 1, 2])):
        _change_entry(header, numbers)
    return replace(parts, header=header).packed(numbers.random() < 0.9)


def _list(value: Any) -> list[Any]:
    """A list as it is; nothing for anything else."""
    return value if isinstance(value, list) else []


def _change_entry(header: dict[str, Any], numbers: random.Random) -> None:
    name = numbers.choice(list(header) or ["x"])
    entry = header.get(name)
    kind = numbers.choice(["dtype", "shape", "size", "offsets", "drop", "rename", "odd", "key", "many"])
    if kind == "drop" or not isinstance(entry, dict):
        header.pop(name, None)
    elif kind == "dtype":
        entry["dtype"] = numbers.choice(
            ["F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "U64", *WORDS[:8]]
        )
    elif kind == "shape":
        entry["shape"] = numbers.choice(
            [[], [0], [1], [2**40, 0], [1] * 9, list(reversed(_list(entry.get("shape")))), *WORDS[:8]]
        )
    elif kind == "size" and isinstance(entry.get("shape"), list):
        entry["shape"] = [*entry["shape"][:-1], numbers.choice(NUMBERS)]
    elif kind == "offsets":
        entry["data_offsets"] = numbers.choice(
            [[0, 0], [0], [8, 4], [0, numbers.choice(NUMBERS)], None, [-4, 0]]
        )
    elif kind == "rename":
        header[numbers.choice(["", "x", "../x", "__metadata__", "unknown.mean", "a" * 9999, "\ud800"])] = (
            header.pop(name)
        )
    elif kind == "odd":
        header[name] = _odd(numbers)
    elif kind == "key":
        entry[numbers.choice(["x", "dtype ", "data_offsets"])] = _odd(numbers)
    else:
        header |= {
            f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
            for n in range(numbers.choice([3, 3000]))
        }


# ---- the document ---------------------------------------------------------------------------------------------------


def document(content: bytes, numbers: random.Random) -> bytes:
    """Something unexpected at one to three places of the metadata."""
    parts = Parts.of(content)
    changed = json.loads(json.dumps(parts.document))
    for _ in range(numbers.choice([1, 1, 2, 3])):
        scramble(changed, numbers)
    return replace(parts, document=changed).packed(numbers.random() < 0.95)


def scramble(place: Any, numbers: random.Random) -> None:
    """Put something unexpected somewhere below `place`, a dict or a list."""
    while place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = numbers.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and numbers.random() < 0.8:
            place = place[key]
            continue
        how = numbers.random()
        if how < 0.1 and isinstance(place, dict):
            del place[key]
        elif how < 0.2 and isinstance(place, dict):
            place[numbers.choice(["timm", "unknown", "views", "x"])] = _odd(numbers)
        elif how < 0.25:
            place[key] = _nested(numbers.choice([10, 40, 900]))
        else:
            place[key] = _odd(numbers)
        return


def _odd(numbers: random.Random) -> Any:
    """Something unexpected, of its own: what is put into a list is changed later."""
    return copy.deepcopy(numbers.choice([*NUMBERS, *WORDS]))


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def classes(content: bytes, numbers: random.Random) -> bytes:
    """Too many, too few, or odd names of classes."""
    parts = Parts.of(content)
    names = list(parts.document.get("class_names") or ["a"])
    many = [f"class {n}" for n in range(numbers.choices([2, 11, 500, 20_000, 100_001], [9, 9, 9, 1, 1])[0])]
    changed = numbers.choice(
        [many, names[1:], names + names, [*names[:-1], numbers.choice(WORDS)], ["a" * 10**6]]
    )
    return replace(parts, document={**parts.document, "class_names": changed}).packed()


def preparation(content: bytes, numbers: random.Random) -> bytes:
    """Another size or other numbers in the preprocessing, the input shape with it."""
    parts = Parts.of(content)
    old = parts.document.get("preprocessing")
    if not isinstance(old, dict):
        return document(content, numbers)
    channels = numbers.choice([old.get("channels", 1), old.get("channels", 1), 1, 3, 64, 10**9])
    size = [numbers.choice([1, 6, 28, 224, 8192, 8193, 10**9, 2**63]) for _ in range(2)]
    several = numbers.choice([[0.5] * min(channels, 70), [1e-300] * min(channels, 70), [0.0], NUMBERS[:3]])
    changed = {**old, "channels": channels, "size_px": size, numbers.choice(["mean", "std", "x"]): several}
    shape = [channels, *size]
    return replace(
        parts, document={**parts.document, "preprocessing": changed, "input_shape": shape}
    ).packed()


# ---- the net --------------------------------------------------------------------------------------------------------


def net_bomb(content: bytes, numbers: random.Random) -> bytes:
    """The net with something that asks for too much, or that is no net."""
    return _with_net(
        content, lambda net: _bomb(numbers).replace("{net}", net).replace("{{", "{").replace("}}", "}")
    )


def _bomb(numbers: random.Random) -> str:
    return numbers.choice(HEAVY if numbers.random() < 1 / 40 else BOMBS)


def net_long(content: bytes, numbers: random.Random) -> bytes:
    """A net's text that is long or deep."""
    many = numbers.choices([30, 100, 300, 3_000, 9_990, 30_000, 100_000], [400, 400, 200, 10, 3, 10, 10])[0]
    piece = numbers.choice(
        ["relu, ", "relu,", "(", "[", "residual(", "block('a', ", "-", "#\n", "1,", "'a',", "\n", "\t "]
    )
    closing = numbers.choice(["", ")" * many])
    return _with_net(content, lambda net: piece * many + net + closing)


def net_token(content: bytes, numbers: random.Random) -> bytes:
    """The net with one to three of its tokens changed."""

    def changed(net: str) -> str:
        tokens = re.findall(r"\w+|\s+|.", net)
        for _ in range(numbers.choice([1, 1, 2, 3])):
            place = numbers.randrange(len(tokens))
            tokens[place] = numbers.choice([str(numbers.choice(NUMBERS)), numbers.choice(tokens), *_TOKENS])
        return "".join(tokens)

    return _with_net(content, changed)


_TOKENS = [
    "",
    "(",
    ")",
    "[",
    ",",
    "=",
    "name='a'",
    "relu",
    "classes",
    "branches",
    "1e9",
    "-3",
    "**",
    "lambda",
    "Net",
]


def _with_net(content: bytes, change: Callable[[str], str]) -> bytes:
    parts = Parts.of(content)
    entry = parts.document.get("net")
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return content[:-1]
    net = entry["text"].removeprefix("Net(").removesuffix(")")
    changed = {**parts.document, "net": {**entry, "text": change(net)}}
    return replace(parts, document=changed).packed()


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    some_bytes, cut, header_length, json_text, entries, document, document, classes, preparation, net_bomb, net_long,
    net_token, net_token,
]  # fmt: skip
