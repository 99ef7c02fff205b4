"""A model is one file: the weights and all that is needed to use them, and nobody's code.

The container is safetensors. Its metadata has one entry, `convscope`, in canonical JSON: what kind of document it is,
its format version, the network's text, class names, input shape, preprocessing, the training card, and a SHA-256 over
all of that and every tensor. The same model is the same bytes; a changed byte is noticed.

Reading trusts nothing: sizes are checked before anything is allocated, the network's text is parsed and never run,
and names, shapes and types are compared with the network before a tensor is read. Training's `checkpoint` uses the
same container under another kind.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.errors import ConvscopeError, ModelFileError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.data.preprocessing import Preprocessing
    from convscope.net import Net
    from convscope.reference import Network
    from convscope.unknown import Unknown

FILE_NAME = "model.safetensors"
FORMAT_VERSION = 1
KIND = "convscope model"

_ENTRY = "convscope"
_UNKNOWN = "unknown."  # the tensors of the rule for pictures of something else
_HEADER_LIMIT_BYTES = 4 << 20  # room for tens of thousands of tensors
_DEPTH_LIMIT = 32
_CLASSES_LIMIT = 100_000
_ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "F32": 4,
    "I64": 8,
    "F64": 8,
}
_MAKE_AGAIN = "Train it again, or take an undamaged copy"


@dataclass
class Model:
    """A trained network with what is needed to use it: how to prepare a picture, and what the classes are called.

    `unknown` is the rule by which a picture shows none of the classes, where the model has one.
    """

    net: Net
    module: Network
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    card: dict[str, Any]
    unknown: Unknown | None = None


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to one file, beside and then renamed; its folder is made. The same model gives the same bytes."""
    from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION

    document = {
        "net": {"text": str(model.net), "format_version": NET_FORMAT_VERSION},
        "class_names": list(model.class_names),
        "input_shape": list(model.input_shape),
        "preprocessing": model.preprocessing.to_json(),
        "card": model.card,
    }
    tensors = dict(model.module.state_dict())
    if model.unknown is not None:
        document["unknown"] = model.unknown.to_json()
        tensors |= model.unknown.tensors()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_container(Path(path), KIND, FORMAT_VERSION, document, tensors)


def load_model(where: str | os.PathLike[str]) -> Model:
    """Read a model from a model file, a run folder or a published network's name; in evaluation mode, on the CPU.

    Raises:
        ModelFileError: there is none, or it is truncated, foreign, newer, changed, or at odds with its own network.
    """
    import safetensors
    import safetensors.torch

    path = find_model(where)
    container = read_container(path, KIND, FORMAT_VERSION)
    model = _Contents(path, container).model()
    try:
        tensors = safetensors.torch.load_file(path)
        rule = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_UNKNOWN)}
        model.module.load_state_dict(tensors)
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}", fix=_MAKE_AGAIN) from error
    if "unknown" in container.document:
        from convscope.unknown import Unknown

        model.unknown = Unknown.read(container.document["unknown"], rule)
        model.unknown.require_fits(model.module)
    model.module.eval()
    if "timm" in model.card:
        from convscope.nets.timm_features import completed

        return completed(model)
    return model


def read_card(where: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a model file, run folder or published network, checked against its digest, without torch.

    Returns:
        `net`, `class_names`, `input_shape`, `preprocessing`, `card`, `format_version`, as JSON values.
    """
    return read_container(find_model(where), KIND, FORMAT_VERSION).document


def find_model(where: str | os.PathLike[str]) -> Path:
    """The model file that `where` means: itself, the one in the run folder, or that of a published network.

    A published network, such as resnet18 with its ImageNet weights, is fetched into the cache the first time; a file
    or folder of that name wins.

    Raises:
        ModelFileError: there is none.
        DataError: a published network could not be fetched, or came damaged.
    """
    path = Path(where)
    if path.is_file():
        return path
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    if path.is_dir():
        raise ModelFileError(
            f"the folder {path} has no {FILE_NAME}",
            "a model file or a run folder",
            "Give the folder of a run, such as those below runs/",
        )
    from convscope.nets import weights

    if str(where) in weights.names():
        return weights.model_path(str(where))
    choices = [*_models_near(path), *weights.names()]
    suggestion = did_you_mean(str(where), choices) or "Train one with: convscope train"
    raise ModelFileError(
        f"there is no model {str(where)!r}", "a model file, a run folder or a published network", suggestion
    )


def _models_near(path: Path) -> list[str]:
    """Runs and model files beside `path` and under runs/, as the user would type them."""
    folders = [path.parent, Path("runs")]
    found = [child for folder in folders if folder.is_dir() for child in islice(folder.iterdir(), 1000)]
    return [str(child) for child in found if child.suffix == ".safetensors" or (child / FILE_NAME).is_file()]


# ---- what is inside a model file, checked ---------------------------------------------------------------------------


class _Contents:
    """The metadata of one file, taken apart field by field; every disagreement is a ModelFileError."""

    def __init__(self, path: Path, container: Container) -> None:
        self.path, self.document, self.tensors = path, container.document, container.tensors

    def model(self) -> Model:
        net, preprocessing = self.net(), self.preprocessing()
        input_shape, class_names = self.input_shape(preprocessing), self.class_names()
        try:
            self.check_size(net, input_shape)
            self.check_classes(net.output_classes(input_shape), len(class_names))
            self.check_tensors(net, input_shape)
            module = net.build(input_shape)
        except ModelFileError:
            raise
        except (ConvscopeError, RuntimeError) as error:
            raise self.wrong(f"a network that cannot be built: {error}") from error
        return Model(net, module, input_shape, class_names, preprocessing, self.field("card", dict))

    def wrong(self, what: str, expected: str = "") -> ModelFileError:
        return ModelFileError(f"{self.path} holds {what}", expected, _MAKE_AGAIN)

    def field(self, name: str, kind: type) -> Any:
        value = self.document.get(name)
        if not isinstance(value, kind):
            raise self.wrong(f"no usable {name!r}: {value!r:.80}")
        return value

    def net(self) -> Net:
        from convscope.net import Net
        from convscope.text import FORMAT_VERSION as NET_FORMAT_VERSION

        entry = self.field("net", dict)
        version, text = entry.get("format_version"), entry.get("text")
        if not isinstance(text, str) or not isinstance(version, int):
            raise self.wrong("no usable network text")
        if version > NET_FORMAT_VERSION:
            raise _newer(self.path, "network text", version, NET_FORMAT_VERSION)
        try:
            return Net.parse(text)
        except ConvscopeError as error:
            raise self.wrong(f"a network text that cannot be read: {error}") from error

    def preprocessing(self) -> Preprocessing:
        from convscope.data.preprocessing import Preprocessing

        try:
            return Preprocessing.from_json(self.field("preprocessing", dict))
        except ConvscopeError as error:
            raise self.wrong(f"a preprocessing that cannot be used: {error}") from error

    def input_shape(self, preprocessing: Preprocessing) -> tuple[int, int, int]:
        shape = tuple(self.field("input_shape", list))
        if shape != preprocessing.input_shape or not all(type(size) is int for size in shape):
            raise self.wrong(
                f"the input shape {shape}", f"{preprocessing.input_shape}, which its preprocessing makes"
            )
        return preprocessing.input_shape

    def class_names(self) -> tuple[str, ...]:
        names = self.field("class_names", list)
        good = names and len(names) <= _CLASSES_LIMIT and all(isinstance(name, str) for name in names)
        if not good or len(set(names)) < len(names):
            raise self.wrong("class names that cannot be used", "different words, one for each class")
        return tuple(names)

    def check_classes(self, scores: int, names: int) -> None:
        if scores != names:
            raise self.wrong(
                f"{names} class names for a network with {scores} scores", "as many names as scores"
            )

    def check_size(self, net: Net, input_shape: tuple[int, int, int]) -> None:
        """A network much larger than its file is refused before anything is built."""
        inference = net.infer(input_shape)
        needed = inference.parameters + inference.parameters_training_only
        stored = sum(math.prod(tensor.shape) for tensor in self.tensors.values())
        if needed > 4 * stored + 1024:
            raise self.wrong(
                f"{stored:,} numbers for a network with {needed:,} parameters",
                "tensor shapes that agree with its network",
            )

    def check_tensors(self, net: Net, input_shape: tuple[int, int, int]) -> None:
        """Names, types and shapes of the tensors against the network built without memory."""
        import torch

        with torch.device("meta"):
            state = net.build(input_shape).state_dict()
        for name, tensor in state.items():
            stored, wanted = self.tensors.get(name), TensorEntry(_type_name(tensor), tuple(tensor.shape))
            if stored is None:
                raise self.wrong(f"no tensor {name!r}", f"{wanted}, as its network has it")
            if stored.type_and_shape != wanted.type_and_shape:
                raise self.wrong(f"the tensor {name!r} as {stored}", f"{wanted}, as its network has it")
        extra = [name for name in self.tensors if name.startswith(_UNKNOWN) and "unknown" in self.document]
        for name in self.tensors.keys() - state.keys() - set(extra):
            raise self.wrong(f"the tensor {name!r}, which its network does not have")


# ---- the container: safetensors with one signed JSON entry ----------------------------------------------------------


@dataclass(frozen=True)
class TensorEntry:
    """One line of the header: type, shape, and where the bytes are, counted from the end of the header."""

    type: str
    shape: tuple[int, ...]
    begin: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.type} {self.shape}"

    @property
    def type_and_shape(self) -> tuple[str, tuple[int, ...]]:
        return self.type, self.shape


@dataclass(frozen=True)
class Container:
    """A checked header: the JSON document and what the tensors are."""

    document: dict[str, Any]
    tensors: dict[str, TensorEntry]


def write_container(
    path: Path, kind: str, version: int, document: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and one signed document to a safetensors file, beside and then renamed.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    import safetensors
    import safetensors.torch

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    whole = {"kind": kind, "format_version": version, **document}
    whole["sha256"] = _digest(
        whole,
        (
            (name, _type_name(tensor), tensor.shape, [_bytes(tensor)])
            for name, tensor in sorted(ready.items())
        ),
    )
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.touch()
        mode = beside.stat().st_mode  # as the user's umask has it; safetensors would let nobody else read
        safetensors.torch.save_file(ready, beside, metadata={_ENTRY: canonical_json(whole)})
        beside.chmod(mode)
        settle(beside, path)
    except safetensors.SafetensorError as error:
        raise _system_error(error, path) from error
    finally:
        beside.unlink(missing_ok=True)


def _system_error(error: Exception, path: Path) -> Exception:
    """What the system said, as Python has it: safetensors hands on a full disk as a text."""
    number = re.search(r"os error (\d{1,5})", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def read_container(path: Path, kind: str, version: int) -> Container:
    """Read and check the header of a file that `write_container` wrote; no tensor is kept in memory.

    Raises:
        ModelFileError: with a distinct text for each way a file can be wrong.
    """
    try:
        return _read_container(path, kind, version)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be opened: {error.strerror}", "a readable file") from error


def _read_container(path: Path, kind: str, version: int) -> Container:
    header, data_start, data_bytes = _read_header(path)
    metadata = header.pop("__metadata__", None)
    tensors = {name: _entry(path, name, fields) for name, fields in header.items()}
    document = _document(path, metadata, kind, version)
    _check_layout(path, tensors, data_bytes)
    with path.open("rb") as file:
        found = _digest(
            document,
            (
                (
                    name,
                    entry.type,
                    entry.shape,
                    _pieces(file, data_start + entry.begin, entry.end - entry.begin),
                )
                for name, entry in sorted(tensors.items())
            ),
        )
    if found != document.get("sha256"):
        raise ModelFileError(
            f"{path} was changed after it was written: its contents do not have the digest it names",
            fix=_MAKE_AGAIN,
        )
    return Container(document, tensors)


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The JSON header, where the data start, and how many bytes of data there are."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
        if size == 0:
            raise ModelFileError(f"{path} is empty", "a Convscope model file", _MAKE_AGAIN)
        if size < 9:
            raise ModelFileError(
                f"{path} is truncated, or was never a model: it ends after {_bytes_text(size)}",
                "a Convscope model file",
                _MAKE_AGAIN,
            )
        if start[8:] != b"{" or length > _HEADER_LIMIT_BYTES:
            raise ModelFileError(f"{path} is not a safetensors file", "a Convscope model file", _hint(start))
        if 8 + length > size:
            raise _truncated(path, 8 + length, size)
        header = parse_json(b"{" + file.read(length - 1))
    if not isinstance(header, dict):
        raise ModelFileError(f"{path} is not a safetensors file: its header cannot be read", fix=_MAKE_AGAIN)
    return header, 8 + length, size - 8 - length


def _hint(start: bytes) -> str:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "It looks like a PyTorch or pickle file, which can run code when it is opened; Convscope opens none"
    return "Give the model.safetensors of a run, or its folder"


def _entry(path: Path, name: str, fields: object) -> TensorEntry:
    bad = ModelFileError(
        f"{path} is not a safetensors file: the entry of tensor {name!r:.80} cannot be read", fix=_MAKE_AGAIN
    )
    if not isinstance(fields, dict):
        raise bad
    kind, shape, offsets = (
        fields.get("dtype"),
        _sizes(fields.get("shape")),
        _sizes(fields.get("data_offsets")),
    )
    if (
        not isinstance(kind, str)
        or kind not in _ITEM_BYTES
        or shape is None
        or offsets is None
        or len(offsets) != 2
    ):
        raise bad
    entry = TensorEntry(kind, shape, *offsets)
    if entry.end - entry.begin != math.prod(shape) * _ITEM_BYTES[kind]:
        raise bad
    return entry


def _sizes(value: object) -> tuple[int, ...] | None:
    """A short list of whole numbers, or None."""
    if not isinstance(value, list) or len(value) > 8:
        return None
    return tuple(value) if all(type(size) is int and 0 <= size < 2**48 for size in value) else None


def _document(path: Path, metadata: object, kind: str, version: int) -> dict[str, Any]:
    text = metadata.get(_ENTRY) if isinstance(metadata, dict) else None
    document = parse_json(text.encode("utf-8", "replace")) if isinstance(text, str) else None
    if not isinstance(document, dict) or not isinstance(document.get("format_version"), int):
        raise ModelFileError(
            f"{path} is not a Convscope model: it has no readable entry {_ENTRY!r}",
            "a file that convscope train wrote",
        )
    if document.get("kind") != kind:
        raise ModelFileError(
            f"{path} is a {document.get('kind')!r:.80}", f"a {kind!r}", f"Give the {FILE_NAME} beside it"
        )
    if document["format_version"] > version:
        raise _newer(path, "file", document["format_version"], version)
    return document


def _check_layout(path: Path, tensors: Mapping[str, TensorEntry], data_bytes: int) -> None:
    """The tensors must fill the data end to end, so that no byte is used twice or by none."""
    position = 0
    for entry in sorted(tensors.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            raise ModelFileError(
                f"{path} is not a safetensors file: its tensors overlap or leave gaps", fix=_MAKE_AGAIN
            )
        position = entry.end
    if position > data_bytes:
        raise _truncated(path, position, data_bytes)
    if position < data_bytes:
        raise ModelFileError(
            f"{path} was changed after it was written: {_bytes_text(data_bytes - position)} too many",
            fix=_MAKE_AGAIN,
        )


def _truncated(path: Path, expected: int, size: int) -> ModelFileError:
    return ModelFileError(
        f"{path} is truncated: {_bytes_text(size)} where its header promises {expected:,}", fix=_MAKE_AGAIN
    )


def _bytes_text(count: int) -> str:
    return f"{count:,} byte" + ("" if count == 1 else "s")


def _newer(path: Path, what: str, version: int, ours: int) -> ModelFileError:
    return ModelFileError(
        f"{path} has {what} format version {version}",
        f"at most {ours}, which this Convscope reads",
        "Update with: pip install --upgrade convscope",
    )


def _digest(document: Mapping[str, Any], tensors: Any) -> str:
    """SHA-256 over the document, less its own digest, and every tensor's name, type, shape and bytes."""
    whole = hashlib.sha256(
        canonical_json({key: value for key, value in document.items() if key != "sha256"}).encode()
    )
    for name, kind, shape, pieces in tensors:
        whole.update(canonical_json([name, kind, list(shape)]).encode())
        for piece in pieces:
            whole.update(piece)
    return whole.hexdigest()


def _pieces(file: Any, begin: int, length: int) -> Iterator[bytes]:
    file.seek(begin)
    while length > 0:
        piece = file.read(min(length, 1 << 20))
        if not piece:
            return
        length -= len(piece)
        yield piece


def _bytes(tensor: Tensor) -> Any:
    """The tensor's bytes, without a copy, as anything that hashlib takes."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy()


def _type_name(tensor: Tensor) -> str:
    """The safetensors name of a tensor's type: torch.float32 → F32."""
    word = str(tensor.dtype).removeprefix("torch.")
    names = {"bool": "BOOL", "uint8": "U8", "bfloat16": "BF16"}
    return names.get(word) or word.replace("float", "F").replace("int", "I")


# ---- JSON and files -------------------------------------------------------------------------------------------------


def canonical_json(value: object) -> str:
    """JSON with one layout: keys sorted, no blanks, ASCII only, no NaN.

    >>> canonical_json({"b": 1, "a": [0.5]})
    '{"a":[0.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_json(text: bytes | str) -> Any:
    """Parsed JSON, or None where it is no JSON, is too deep, has a key twice, or a number that is not finite."""
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        return None
    return value if _depth_is_fine(value) else None


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):  # 1e999
        raise ValueError(digits)
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found


def _depth_is_fine(value: object) -> bool:
    level = [value]
    for _ in range(_DEPTH_LIMIT):
        below: list[object] = []
        for each in level:
            below += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        if not below:
            return True
        level = below
    return False


def write_text(path: Path, text: str) -> None:
    """Write a text file beside and rename it: a crash leaves the old or the new, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        settle(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def settle(beside: Path, path: Path) -> None:
    """Bring `beside` to the disk and give it its name."""
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
