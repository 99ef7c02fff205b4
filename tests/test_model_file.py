"""The model file: the same model is the same bytes, and every way a file can be wrong has a text of its own."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convscope import model_file
from convscope.data import Preprocessing
from convscope.errors import ConvscopeError, ModelFileError
from convscope.model_file import (
    Model,
    canonical_json,
    load_model,
    parse_json,
    read_card,
    save_model,
)
from convscope.net import Net

CARD = {"data": {"name": "stripes", "digest": "ab"}, "test_accuracy": 0.5}


def make_model(text: str = "conv(3, 3), batchnorm, relu, flatten, dense(classes)") -> Model:
    net = Net.parse(text).bind(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = net.build((1, 6, 6))
    return Model(
        net, module, (1, 6, 6), ("a", "b", "ç"), Preprocessing((6, 6), 1, mean=(0.1,), std=(0.3,)), CARD
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(make_model(), path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], sign: bool = True) -> Path:
    """The file with its document changed, and signed again as an attacker would."""
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as opened:
        document = json.loads(opened.metadata()["convscope"])
    change(document)
    if sign:
        entries = [(name, model_file._type_name(tensor), tensor.shape, [model_file._bytes(tensor)])
                   for name, tensor in sorted(tensors.items())]  # fmt: skip
        document["sha256"] = model_file._digest(document, entries)
    safetensors.torch.save_file(tensors, path, metadata={"convscope": json.dumps(document)})
    return path


def with_header(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


# ---- what must work -------------------------------------------------------------------------------------------------


def test_what_was_saved_comes_back(file: Path) -> None:
    model, again = make_model(), load_model(file)
    assert (again.net, again.class_names, again.input_shape) == (
        model.net,
        model.class_names,
        model.input_shape,
    )
    assert (again.preprocessing, again.card) == (model.preprocessing, CARD)
    state = again.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.module.state_dict().items())
    assert not again.module.training


@pytest.mark.parametrize(
    "text",
    [
        "flatten, dense(classes)",
        'residual(conv(4, 3, padding=1), batchnorm, shortcut="projection"), globalpool, dense(classes), softmax',
        "conv(3, 3), aux(flatten, dense(classes), weight=0.3), subsample(2), tanh, flatten, dense(84), rbf(classes)",
        "repeat(2, branches([conv(2, 1)], [conv(2, 3, padding=1), relu])), flatten, dense(classes)",
        "conv(2, 3, table=[[0], [0]]), flatten, dense(classes)",
    ],
)
def test_all_kinds_of_layers_come_back(text: str, tmp_path: Path) -> None:
    model = make_model(text)
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    images = torch.rand(4, 1, 6, 6)
    assert torch.equal(model.module.eval()(images), again.module(images))


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(make_model(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_layout_in_memory_is_no_part_of_the_file(tmp_path: Path) -> None:
    model = make_model()
    save_model(model, tmp_path / "one")
    model.module.to(memory_format=torch.channels_last)
    save_model(model, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_others_can_open_it(file: Path) -> None:
    tensors = safetensors.torch.load_file(file)
    assert set(tensors) == set(make_model().module.state_dict())


def test_the_card_is_read_without_torch(file: Path) -> None:
    code = ("import sys; from convscope.model_file import read_card; "
            "print(read_card(sys.argv[1])['class_names'], 'torch' in sys.modules)")  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONIOENCODING": "utf-8"}, encoding="utf-8")  # fmt: skip
    assert found.stdout.strip() == "['a', 'b', 'ç'] False"


def test_a_run_folder_is_its_model(file: Path) -> None:
    assert load_model(file.parent).class_names == ("a", "b", "ç")
    assert read_card(file.parent)["card"] == CARD


# ---- what must not --------------------------------------------------------------------------------------------------


def test_a_missing_file_suggests_a_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent.parent)
    runs = Path("runs") / "mnist-lecture-1"
    runs.mkdir(parents=True)
    file.rename(runs / "model.safetensors")
    with pytest.raises(
        ModelFileError, match=r"there is no model 'runs/mnist-lecture1'.*Did you mean 'runs/mnist-lecture-1'"
    ):
        load_model("runs/mnist-lecture1")
    with pytest.raises(ModelFileError, match=r"the folder runs has no model.safetensors"):
        load_model("runs")
    with pytest.raises(ModelFileError, match="Train one with: convscope train"):
        load_model("zzz")


def test_an_empty_or_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(ModelFileError, match="is empty"):
        load_model(tmp_path / "m")
    for size, ends in [(1, "1 byte"), (8, "8 bytes")]:
        (tmp_path / "m").write_bytes(b"abcdefgh"[:size])
        with pytest.raises(ModelFileError, match=f"truncated, or was never a model: it ends after {ends}\\."):
            load_model(tmp_path / "m")


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9, 0.999])
def test_a_truncated_file(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelFileError, match=r"is truncated: [\d,]+ bytes where its header promises [\d,]+"):
        load_model(file)


def test_trailing_bytes(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"xx")
    with pytest.raises(ModelFileError, match="2 bytes too many"):
        load_model(file)


def test_a_pytorch_pickle_is_named_as_such(tmp_path: Path) -> None:
    torch.save(make_model().module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=r"not a safetensors file.*pickle file, which can run code"):
        load_model(tmp_path / "m.pt")


def test_a_header_beyond_all_bounds(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ModelFileError, match="is not a safetensors file"):
        load_model(tmp_path / "m")


def test_another_program_s_safetensors(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "m", metadata={"format": "pt"})
    with pytest.raises(
        ModelFileError, match="is not a Convscope model: it has no readable entry 'convscope'"
    ):
        load_model(tmp_path / "m")


def test_a_checkpoint_is_no_model(file: Path) -> None:
    rewritten(file, lambda document: document.update(kind="convscope checkpoint"))
    with pytest.raises(ModelFileError, match=r"is a 'convscope checkpoint'. Expected a 'convscope model'"):
        load_model(file)


def test_a_newer_version(file: Path) -> None:
    rewritten(file, lambda document: document.update(format_version=2), sign=False)
    with pytest.raises(
        ModelFileError, match=r"file format version 2. Expected at most 1.*pip install --upgrade"
    ):
        load_model(file)


def test_a_newer_network_text(file: Path) -> None:
    rewritten(file, lambda document: document["net"].update(format_version=99))
    with pytest.raises(ModelFileError, match="network text format version 99"):
        load_model(file)


@pytest.mark.parametrize("key", ["class_names", "card", "net", "preprocessing", "input_shape"])
def test_changed_metadata(file: Path, key: str) -> None:
    def change(document: dict[str, Any]) -> None:
        document[key] = (
            list(reversed(document[key])) if isinstance(document[key], list) else {**document[key], "x": 1}
        )

    rewritten(file, change, sign=False)
    for read in (load_model, read_card):
        with pytest.raises(ModelFileError, match="was changed after it was written"):
            read(file)


def test_changed_tensors(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFileError, match="was changed after it was written"):
        load_model(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv(4, 3), batchnorm, relu, flatten, dense(3)", r"the tensor 'conv1.weight' as F32 \(3, 1, 3, 3\)."
                                                           r" Expected F32 \(4, 1, 3, 3\), as its network has it"),
        ("conv(3, 3), relu, flatten, dense(3)", "the tensor 'batchnorm1.*', which its network does not have"),
        ("conv(3, 3), batchnorm, relu, flatten, dense(3), dense(3)", "no tensor 'dense2.weight'"),
        ("conv(3, 3), batchnorm, relu, flatten, dense(99999), dense(3)", "numbers for a network with"),
        ("conv(3, 3), batchnorm, relu, flatten, dense(4)", "3 class names for a network with 4 scores"),
        ("conv(3, 3), batchnorm, relu", "a network that cannot be built: the net ends in maps"),
        ("conv(3, 9), flatten, dense(3)", "a network that cannot be built"),
        ("__import__('os')", "a network text that cannot be read"),
    ],
)  # fmt: skip
def test_a_network_that_disagrees_with_its_tensors(file: Path, text: str, message: str) -> None:
    rewritten(file, lambda document: document["net"].update(text=text))
    with pytest.raises(ModelFileError, match=message):
        load_model(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ["a", "b"]}, "2 class names for a network with 3 scores"),
        ({"class_names": ["a", "b", "b"]}, "class names that cannot be used"),
        ({"class_names": [1, 2, 3]}, "class names that cannot be used"),
        ({"class_names": []}, "class names that cannot be used"),
        ({"class_names": None}, "no usable 'class_names'"),
        (
            {"input_shape": [1, 6, 7]},
            r"the input shape \(1, 6, 7\). Expected \(1, 6, 6\), which its preprocessing makes",
        ),
        ({"input_shape": [True, 6, 6]}, "the input shape"),
        ({"input_shape": "166"}, "no usable 'input_shape'"),
        ({"preprocessing": {}}, "a preprocessing that cannot be used"),
        ({"card": 3}, "no usable 'card'"),
        ({"net": {"text": 3}}, "no usable network text"),
    ],
)
def test_fields_that_cannot_be_used(file: Path, change: dict[str, Any], message: str) -> None:
    rewritten(file, lambda document: document.update(change))
    with pytest.raises(ModelFileError, match=message):
        load_model(file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{" * 100_000, "its header cannot be read"),
        (b'{"a":' + b"[" * 100_000, "its header cannot be read"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "its header cannot be read"),
        (b'{"a":1,"a":2}', "its header cannot be read"),
        (b'{"w":3}', "the entry of tensor 'w'"),
        (b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,9]}}', "the entry of tensor 'w'"),
        (b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}', "the entry of tensor 'w'"),
        (b'{"w":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}', "the entry of tensor 'w'"),
        (b'{"w":{"dtype":"F32","shape":[1e99],"data_offsets":[0,4]}}', "the entry of tensor 'w'"),
        (b'{"__metadata__":{"convscope":"[]"}}', "is not a Convscope model"),
        (b'{"__metadata__":{"convscope":"{\\"format_version\\":NaN}"}}', "is not a Convscope model"),
        (b'{"__metadata__":3}', "is not a Convscope model"),
    ],
)
def test_headers_that_are_no_headers(tmp_path: Path, header: bytes, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_model(with_header(tmp_path / "m", header))


def test_tensors_that_share_bytes_are_refused(tmp_path: Path) -> None:
    document = canonical_json({"kind": model_file.KIND, "format_version": 1})
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"__metadata__": {"convscope": document}, "a": entry, "b": entry}).encode()
    with pytest.raises(ModelFileError, match="overlap or leave gaps"):
        load_model(with_header(tmp_path / "m", header, bytes(8)))


def test_a_small_file_cannot_ask_for_much_memory(file: Path) -> None:
    """The network's size is compared with the file's before anything is built."""
    rewritten(
        file, lambda document: document["net"].update(text="flatten, dense(50000), dense(30000), dense(3)")
    )
    with pytest.raises(ModelFileError, match=r"numbers for a network with 1,5\d\d,"):
        load_model(file)


@pytest.mark.parametrize("sign", [False, True])
def test_mutated_files_raise_nothing_but_model_file_errors(file: Path, sign: bool) -> None:
    """A few thousand mutations: bytes anywhere in the file, and document fields signed again."""
    random_numbers = random.Random(0)
    content = file.read_bytes()
    for _ in range(150 if sign else 3000):
        if sign:
            file.write_bytes(content)
            rewritten(file, lambda document: _scramble(document, random_numbers))
        else:
            mutated = bytearray(content)
            for _ in range(random_numbers.choice([1, 1, 2, 8])):
                place = random_numbers.randrange(random_numbers.choice([12, 1200, len(content)]))
                mutated[place] = random_numbers.randrange(256)
            file.write_bytes(mutated)
        with suppress(ModelFileError):
            load_model(file)


def _scramble(document: dict[str, Any], numbers: random.Random) -> None:
    """Put something unexpected somewhere."""
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        2**70,
        1e300,
        "",
        "x",
        "\ud800",
        [],
        {},
        [[]],
        {"a": {}},
        "conv(1, 1)",
    ]
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = numbers.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and numbers.random() < 0.7:
            place = place[key]
            continue
        place[key] = numbers.choice(odd)
        return


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_card(path)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(st.recursive(SCALARS, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=20))
def test_canonical_json_comes_back(value: object) -> None:
    assert parse_json(canonical_json(value)) == value


def test_a_crash_while_writing_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        save_model(make_model("flatten, dense(classes)"), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_model_file_errors_are_convscope_errors() -> None:
    assert issubclass(ModelFileError, ConvscopeError)
