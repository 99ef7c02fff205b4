"""Where labelled pictures may lie: the same pictures from every kind of place are the same data."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.data import ImageData, check_data, idx, load_data
from convscope.data.left_out import Skipped
from convscope.errors import DataError, MissingExtraError

Files = dict[str, bytes]
ARCHIVES = ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz"]


def png(seed: int, size: tuple[int, int] = (5, 6)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(
        stream, "PNG"
    )
    return stream.getvalue()


@pytest.fixture(scope="module")
def files() -> Files:
    """Pictures by their paths: two classes in two splits, one name with letters of its own."""
    names = [
        f"{split}/{name}/{k}.png" for split in ("test", "train") for name in ("Käse", "b") for k in range(3)
    ]
    return {name: png(seed) for seed, name in enumerate(sorted(names))}


@pytest.fixture(scope="module")
def wanted(files: Files, tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """The same as class folders on the disk."""
    return load_data(unpacked(tmp_path_factory.mktemp("wanted") / "photos", files))


def unpacked(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(path: Path, files: Files, *links: tarfile.TarInfo) -> Path:
    """An archive of the files, by its ending."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    ending = path.name.split(".")[-1].replace("tgz", "gz").replace("tar", "")
    with tarfile.open(path, f"w:{ending}") as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for link in links:
            tar.addfile(link)
    return path


def split_of(name: str) -> tuple[str, str]:
    split, label, _ = name.split("/")
    return split, label


def flat(files: Files) -> Files:
    return {name.replace("/", "-"): content for name, content in files.items()}


def csv_of(files: Files, separator: str = ",", newline: str = "\n") -> str:
    rows = [["File Name", "Class", "Split"]]
    rows += [[name.replace("/", "-"), split_of(name)[1], split_of(name)[0]] for name in files]
    return "".join(
        separator.join(f'"{cell}"' if "K" in cell else cell for cell in row) + newline for row in rows
    )


# ---- every kind of place --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_class_folders(files: Files, wanted: ImageData, tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / name, {f"./top/{key}": value for key, value in files.items()})
    data = load_data(archive)
    assert (data.digest, data.class_names, data.notes, data.name) == (wanted.digest, ("Käse", "b"), (), "x")
    assert data.origin == f"the archive {archive}: 12 pictures in 2 classes"
    report = check_data(archive)
    assert (report.read, report.skipped, report.splits) == (12, (), {"train": 6, "test": 6})
    assert report.source.items[0].path == f"{archive}/top/train/Käse/0.png"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing was unpacked beside it


def make_csv(text: Callable[[Files], bytes], name: str = "labels.csv") -> Callable[[Path, Files], Path]:
    def make(folder: Path, files: Files) -> Path:
        return unpacked(folder, {**flat(files), name: text(files)})

    return make


def json_lines(files: Files) -> bytes:
    rows = [
        {
            "file_name": name.replace("/", "-"),
            "label": split_of(name)[1],
            "split": split_of(name)[0],
            "more": [1],
        }
        for name in files
    ]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def by_split(folder: Path, files: Files) -> Path:
    tables = {
        f"{split}.csv": "\n".join(
            [
                "image,label",
                *(f"{n.replace('/', '-')},{split_of(n)[1]}" for n in files if n.startswith(split)),
            ]
        ).encode()
        for split in ("train", "test")
    }
    return unpacked(folder, {**flat(files), **tables})


def in_subfolder(folder: Path, files: Files) -> Path:
    inside = {f"images/{name}": content for name, content in flat(files).items()}
    return unpacked(folder, {**inside, "labels.csv": csv_of(files).encode()})


def parquet(folder: Path, files: Files, **how: Any) -> Path:
    arrow, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["Käse", "b"]}}
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        names = sorted(name for name in files if name.startswith(split))
        table = arrow.table(
            {
                "image": [{"bytes": files[name], "path": name} for name in names],
                "label": [int(split_of(name)[1] == "b") for name in names],
            }
        )
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        half = len(names) // 2
        for part, rows in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(
                rows, folder / "data" / f"{split}-0000{part}-of-00002.parquet", row_group_size=2, **how
            )
    return folder


def npz(folder: Path, files: Files) -> Path:
    folder.mkdir()
    pictures = {name: np.asarray(Image.open(io.BytesIO(content))) for name, content in files.items()}
    arrays: dict[str, Any] = {"class_names": np.array(["Käse", "b"])}
    for split in ("train", "test"):
        names = sorted(name for name in files if name.startswith(split))
        arrays[f"{split}_images"] = np.stack([pictures[name] for name in names])
        arrays[f"{split}_labels"] = np.array([[int(split_of(name)[1] == "b")] for name in names])
    np.savez_compressed(folder / "photos.npz", **arrays)
    return folder / "photos.npz"


def table_in_tar(folder: Path, files: Files) -> Path:
    folder.mkdir()
    return packed(folder / "x.tar.gz", {**flat(files), "labels.csv": csv_of(files).encode()})


PLACES: dict[str, Callable[[Path, Files], Path]] = {
    "csv": make_csv(lambda files: csv_of(files).encode()),
    "a mark, semicolons, CRLF": make_csv(lambda files: b"\xef\xbb\xbf" + csv_of(files, ";", "\r\n").encode()),
    "Latin-1": make_csv(lambda files: csv_of(files).encode("latin-1")),
    "UTF-16": make_csv(lambda files: csv_of(files).encode("utf-16")),
    "tsv": make_csv(lambda files: csv_of(files, "\t").encode(), "labels.tsv"),
    "headless": make_csv(lambda files: csv_of(files).encode().partition(b"\n")[2]),
    "JSON lines": make_csv(json_lines, "metadata.jsonl"),
    "a table a split": by_split,
    "pictures in a folder beside": in_subfolder,
    "table in a tar": table_in_tar,
    "parquet": parquet,
    "npz": npz,
}


@pytest.mark.parametrize("kind", PLACES)
def test_tables_and_arrays(files: Files, wanted: ImageData, tmp_path: Path, kind: str) -> None:
    place = PLACES[kind](tmp_path / "photos", files)
    data = load_data(place)
    assert (data.digest, data.class_names, data.skipped) == (wanted.digest, ("Käse", "b"), ())
    assert load_data(place, size_px=3, channels=1).input_shape == (1, 3, 3)
    report = check_data(place)
    assert (report.read, report.skipped, report.splits) == (12, (), {"train": 6, "test": 6})
    assert [found for found in report.source.ignored if found.reason.startswith("a picture")] == []


def test_a_table_that_is_named(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    folder = PLACES["csv"](tmp_path / "photos", files)
    (folder / "other.csv").write_text("path,label\n")
    data = load_data(folder / "labels.csv")
    assert data.digest == wanted.digest
    assert data.origin == f"the table {folder / 'labels.csv'}: 12 pictures in 2 classes"


def test_letters_that_look_the_same_are_the_same(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    import unicodedata

    table = unicodedata.normalize("NFD", csv_of(files)).encode()
    assert load_data(make_csv(lambda _: table)(tmp_path / "photos", files)).digest == wanted.digest


def test_class_folders_win_over_a_table_and_it_is_said(
    files: Files, wanted: ImageData, tmp_path: Path
) -> None:
    folder = unpacked(tmp_path / "photos", {**files, "labels.csv": b"path,label\nnowhere.png,a\n"})
    data = load_data(folder)
    assert data.digest == wanted.digest
    assert data.notes == (
        "The class folders say what the pictures show; not used: labels.csv. Name it to use it instead.",
    )


def test_flat_split_folders_and_a_table(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    """Folders called train and test that hold pictures are no classes where a table says what is what."""
    inside = {f"{name.split('/')[0]}/{name.replace('/', '-')}": content for name, content in files.items()}
    rows = [f"{name},{name.split('-')[1]},{name.split('/')[0]}" for name in inside]
    table = "\n".join(["path,label,split", *rows]).encode()
    assert load_data(unpacked(tmp_path / "photos", {**inside, "a.csv": table})).digest == wanted.digest


def idx_folder(folder: Path, *, packs: bool) -> tuple[Path, np.ndarray[Any, Any]]:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    labels = np.array([3, 7, 3, 7, 3, 7], dtype=np.uint8)
    for split in ("train", "t10k"):
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx.serialise(array)
            name = f"{split}-{what}-ubyte" + (".gz" if packs else "")
            (folder / name).write_bytes(gzip.compress(content) if packs else content)
    return folder, images


@pytest.mark.parametrize("packs", [True, False])
def test_idx_files(tmp_path: Path, packs: bool) -> None:
    folder, images = idx_folder(tmp_path / "digits", packs=packs)
    data = load_data(folder)
    assert (data.class_names, len(data.train), data.input_shape) == (("3", "7"), 6, (1, 4, 5))
    assert (data.train.images[:, 0] == images).all()
    assert data.test is not None
    one = load_data(next(path for path in folder.iterdir() if path.name.startswith("t10k-images")))
    assert (one.digest, one.test) == (load_data(one).digest, None)
    assert (
        load_data(packed(tmp_path / "x.zip", {p.name: p.read_bytes() for p in folder.iterdir()})).digest
        == data.digest
    )


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar_batches(tmp_path: Path, kind: int) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 3072), dtype=np.uint8)
    fine = np.array([[0], [1], [0], [1]], dtype=np.uint8)
    labels = fine if kind == 10 else np.concatenate([fine + 5, fine], axis=1)
    content = np.concatenate([labels, images], axis=1).tobytes()
    names = (
        ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin")
        if kind == 10
        else ("train.bin", "test.bin")
    )
    for name in names:
        (tmp_path / name).write_bytes(content)
    meta = "batches.meta.txt" if kind == 10 else "fine_label_names.txt"
    (tmp_path / meta).write_text("plane\ncar\n\n")
    data = load_data(tmp_path)
    assert (data.class_names, len(data.train)) == (("plane", "car"), 8 if kind == 10 else 4)
    assert (data.train.images[:4] == images.reshape(4, 3, 32, 32)).all()
    (tmp_path / names[0]).write_bytes(content[:-1])
    with pytest.raises(DataError, match="bytes. Expected records of 3,07"):
        load_data(tmp_path)


# ---- what is left out, and why --------------------------------------------------------------------------------------


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_a_tar_with_links_and_devices(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    links = [
        link("train/b/soft.png", tarfile.SYMTYPE),
        link("train/b/hard.png", tarfile.LNKTYPE, "train/b/0.png"),
        link("train/b/null.png", tarfile.CHRTYPE),
        link("train/b/pipe.png", tarfile.FIFOTYPE),
    ]
    evil = {"../evil.png": b"x", "/tmp/evil.png": b"x", "train/../../evil.png": b"x", "C:\\evil.png": b"x"}
    data = load_data(packed(tmp_path / "x.tar", {**files, **evil}, *links))
    assert data.digest == wanted.digest
    assert data.skipped == tuple(
        sorted(
            [
                Skipped("../evil.png", "its name leads out of it (..)"),
                Skipped("/tmp/evil.png", "its name begins at the root of a disk"),
                Skipped("C:\\evil.png", "its name begins at the root of a disk"),
                Skipped("train/../../evil.png", "its name leads out of it (..)"),
                Skipped("train/b/soft.png", "a link, not followed"),
                Skipped("train/b/hard.png", "a link, not followed"),
                Skipped("train/b/null.png", "a device or a pipe, no file"),
                Skipped("train/b/pipe.png", "a device or a pipe, no file"),
            ]
        )
    )
    assert not Path("/tmp/evil.png").exists()


def test_a_zip_with_bad_members(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", {**files, "train/b/9.png": png(99), "__MACOSX/train/b/._1.png": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        soft = zipfile.ZipInfo("train/b/soft.png")
        soft.external_attr = 0o120777 << 16
        archive.writestr(soft, "/etc/passwd")
        archive.writestr("train\\b\\back.txt", "no picture")
        archive.writestr("deep/archive.zip", packed(tmp_path / "y.zip", files).read_bytes())
        bomb = zipfile.ZipInfo("train/b/bomb.bmp")
        bomb.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(bomb, b"BM" + bytes(20 * 2**20))
        place = archive.getinfo("train/b/9.png").header_offset + 60
    content = bytearray(path.read_bytes())
    content[place] ^= 255
    path.write_bytes(content)
    data = load_data(path, most_unreadable=0.9)
    assert data.digest == wanted.digest
    reasons = {skip.path: skip.reason for skip in data.skipped}
    assert reasons["train/b/9.png"].startswith("damaged in the archive: ")
    assert reasons["train/b/soft.png"] == "a link, not followed"
    assert reasons["train/b/bomb.bmp"] == "packed more than 200 to 1, as if it was made to exhaust memory"
    assert len(reasons) == 3
    ignored = {Path(found.path).name: found.reason for found in check_data(path).source.ignored}
    assert ignored == {
        "__MACOSX": "left by a program, no data",
        "archive.zip": "no picture by name or content",
        "back.txt": "no picture by name or content",
    }


def test_rows_without_a_picture_are_skipped(files: Files, wanted: ImageData, tmp_path: Path) -> None:
    table = csv_of(files) + "gone.png,b,train\nnote.txt,b,train\n" + f"{next(iter(flat(files)))},Käse,test\n"
    folder = make_csv(lambda _: table.encode())(tmp_path / "photos", files)
    (folder / "note.txt").write_text("hello")
    (folder / "more.png").write_bytes(png(77))
    data = load_data(folder)
    assert data.digest == wanted.digest
    assert [(skip.path, skip.reason) for skip in data.skipped] == [
        ("gone.png", "the file does not exist (line 14 of labels.csv)"),
        ("note.txt", "not a picture in a format that is read here: text"),
    ]
    assert "1 rows say again what an earlier one says; they are not used." in data.notes
    report = check_data(folder)
    assert [(Path(f.path).name, f.reason) for f in report.source.ignored] == [
        ("more.png", "a picture that the table does not name")
    ]
    assert "1 picture that the table does not name: more.png." in report.warnings


def test_parquet_with_rows_that_hold_nothing(files: Files, tmp_path: Path) -> None:
    arrow, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures = list(files.values())
    images = [{"bytes": content, "path": None} for content in pictures[:6]]
    images += [None, {"bytes": None, "path": "x.png"}, {"bytes": b"text", "path": "no.png"}]
    table = arrow.table({"image": images, "label": ["a", "b"] * 3 + ["a", "a", None]})
    pq.write_table(table, tmp_path / "x.parquet")
    data = load_data(tmp_path / "x.parquet")
    assert [(skip.path, skip.reason) for skip in data.skipped] == [
        ("x.parquet/6", "the row holds no picture"),
        ("x.parquet/7.png", "the row holds no picture"),
        ("x.parquet/8.png", "it has no label"),
    ]
    assert len(data.train) == 6


def test_the_second_time_nothing_is_unpacked_of_parquet(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import time

    from convscope.data import parquet as module

    folder = parquet(tmp_path / "photos", files)
    for path in folder.rglob("*.parquet"):
        os.utime(path, ns=(0, time.time_ns() - 10**10))
    monkeypatch.setattr("convscope.data.prepared.SETTLED_NS", -(10**18))
    first = load_data(folder)
    monkeypatch.setattr(module, "spooled", lambda *_: pytest.fail("unpacked"))
    assert load_data(folder).digest == first.digest


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"pip install 'convscope\[parquet\]'"):
        load_data(tmp_path / "x.parquet")


# ---- what is refused, in words --------------------------------------------------------------------------------------


def with_table(
    text: str, name: str = "labels.csv", more: Files | None = None
) -> Callable[[Path, Files], Path]:
    return lambda folder, files: unpacked(folder, {**flat(files), name: text.encode(), **(more or {})})


def with_file(name: str, content: bytes) -> Callable[[Path, Files], Path]:
    return lambda folder, files: unpacked(folder, {name: content}) / name


def with_npz(**arrays: Any) -> Callable[[Path, Files], Path]:
    def make(folder: Path, files: Files) -> Path:
        folder.mkdir()
        np.savez(folder / "x.npz", **arrays)
        return folder / "x.npz"

    return make


def cut(name: str, share: float) -> Callable[[Path, Files], Path]:
    def make(folder: Path, files: Files) -> Path:
        folder.mkdir()
        path = packed(folder / name, files)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def encrypted(folder: Path, files: Files) -> Path:
    folder.mkdir()
    path = packed(folder / "x.zip", files)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 4)
    path.write_bytes(content)
    return path


def middle_of_tar(folder: Path, files: Files) -> Path:
    folder.mkdir()
    path = packed(folder / "x.tar", files)
    content = bytearray(path.read_bytes())
    content[1024 : 1024 + 300] = b"\xff" * 300
    path.write_bytes(content)
    return path


def bomb(folder: Path, files: Files) -> Path:
    folder.mkdir()
    head = tarfile.TarInfo("zeros.bin")
    head.size = 300 * 2**20
    content = gzip.compress(head.tobuf() + bytes(300 * 2**20), 1)
    (folder / "x.tar.gz").write_bytes(content)
    return folder / "x.tar.gz"


def pax_bomb(folder: Path, files: Files) -> Path:
    folder.mkdir()
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 8 * 2**20
    (folder / "x.tar").write_bytes(head.tobuf() + bytes(8 * 2**20))
    return folder / "x.tar"


def lzma_zip(folder: Path, files: Files) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return folder / "x.zip"


def nameless(folder: Path, files: Files) -> Path:
    path = packed(folder.parent / "x.zip", {"?": b""})
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")  # the name's length in the list of members, and the name, go
    entry = content[start : start + 28] + bytes(2) + content[start + 30 : start + 46]
    end = bytearray(content[start + 47 :])
    end[12:16] = (46).to_bytes(4, "little")
    path.write_bytes(content[:start] + entry + bytes(end))
    return path


IMAGES = np.zeros((4, 5, 5), np.uint8)
NAN = np.full((4, 5, 5), np.nan)
REFUSED: dict[str, tuple[Callable[[Path, Files], Path], str]] = {
    "no label column": (
        with_table("path,colour\n1.png,red\n"),
        "has no column of labels: its columns are path, colour. Expected a column called label",
    ),
    "no path column": (with_table("id,label\n1,red\n"), "has no column of picture files: its columns are id, label"),
    "near column": (with_table("path,lable\n1.png,red\n"), "Rename the column 'lable' to label"),
    "two tables": (
        with_table("path,label\n", more={"b.csv": b"path,label\n"}),
        "has 2 tables: b.csv, labels.csv. Expected one, or train.csv, val.csv and test.csv. Name the one that counts",
    ),
    "unknown split": (
        with_table("path,label,split\ntest-b-0.png,b,trian\n"),
        "line 2 of labels.csv has the split 'trian'. Expected train, val or test. Did you mean 'train'?",
    ),
    "leads out": (
        with_table("path,label\n../secret.png,b\n"),
        "line 2 of labels.csv names '../secret.png': its name leads out of it (..). Expected a path relative to",
    ),
    "absolute": (with_table("path,label\n/etc/1.png,b\n"), "line 2 of labels.csv names '/etc/1.png': its name begins"),
    "two labels": (
        with_table("path,label\ntest-b-0.png,b\ntest-b-1.png,c\ntest-b-0.png,c\n"),
        "line 2 of labels.csv and line 4 of labels.csv give 'test-b-0.png' two labels, 'b' and 'c'",
    ),
    "two splits": (
        with_table("path,label,split\ntest-b-0.png,b,train\ntest-b-0.png,b,test\n"),
        "give 'test-b-0.png' two splits, 'train' and 'test'",
    ),
    "no label": (with_table("path,label\ntest-b-0.png,\n"), "line 2 of labels.csv has no label"),
    "nothing exists": (with_table("path,label\nq.png,a\nr.png,b\n"), "none of the 2 pictures that labels.csv names"),
    "one label": (with_table("path,label\ntest-b-0.png,b\n"), "labels.csv has only the label 'b' to train on"),
    "label only in test": (
        with_table("path,label,split\ntest-b-0.png,b,\ntest-b-1.png,c,\ntest-b-2.png,d,test\n"),
        "label 'd' is in test of labels.csv but not in train. Expected the labels of train (b, c)",
    ),
    "no rows": (with_table("path,label\n"), "labels.csv has no rows"),
    "empty table": (with_table(" \n"), "labels.csv is empty"),
    "no text": (with_table("path,label\0\n"), "labels.csv is no text"),
    "huge cell": (with_table("path,label\n" + "x" * 200_000 + ",a\n"), "line 2 of labels.csv cannot be read"),
    "no JSON": (with_table('{"file": "a", "label": "b"}\n[1]\n', "a.jsonl"), "line 2 of a.jsonl is no JSON object"),
    "deep JSON": (with_table("[" * 100_000, "a.jsonl"), "line 1 of a.jsonl is no JSON object"),
    "empty file": (with_file("x.csv", b""), "the file is empty"),
    "other file": (with_file("x.pdf", b"%PDF"), "x.pdf is a file of another kind. Expected a zip or tar archive"),
    "7z": (with_file("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600)), "is a 7z archive. Expected a zip or tar archive"),
    "no zip": (with_file("x.zip", b"PK\x03\x04" + bytes(600)), "x.zip is damaged: the list of its members, at its end"),
    "text as zip": (with_file("x.zip", b"hello"), "x.zip is damaged: the list of its members"),
    "text as tar": (with_file("x.tar", b"hello" * 300), "x.tar is damaged: it is no tar archive, or a part is not"),
    "packed text": (with_file("x.tar.gz", gzip.compress(b"hello" * 300)), "is packed, but no tar archive is in it"),
    "empty gzip": (with_file("x.tar.gz", gzip.compress(b"")), "x.tar.gz is empty"),
    "cut zip": (cut("x.zip", 0.7), "x.zip is damaged: the list of its members, at its end, is missing"),
    "cut tar": (cut("x.tar", 0.3), "x.tar is damaged: it ends"),
    "cut tar.gz": (cut("x.tar.gz", 0.7), "x.tar.gz is damaged: it cannot be unpacked to its end"),
    "cut tar.bz2": (cut("x.tar.bz2", 0.7), "x.tar.bz2 is damaged: it cannot be unpacked to its end"),
    "cut tar.xz": (cut("x.tar.xz", 0.7), "x.tar.xz is damaged: it cannot be unpacked to its end"),
    "encrypted": (encrypted, "x.zip is encrypted. Expected an archive without a password. Unpack it with its password"),
    "middle of a tar": (middle_of_tar, "is damaged: it is no tar archive, or a part is not"),
    "bomb": (bomb, "unpacked, as if it was made to fill disks. Expected at most 200 times its size"),
    "pax bomb": (pax_bomb, "x.tar is damaged: it is no tar archive, or a part is not"),
    "LZMA": (lzma_zip, "none of the 12 pictures in"),
    "member without a name": (nameless, "x.zip has no class folder with pictures"),
    "cut IDX": (
        lambda folder, files: unpacked(
            folder,
            {"train-images-idx3-ubyte": b"\0\0\x08\3\0\0", "train-labels-idx1-ubyte": b"\0\0\x08\1" + bytes(4)},
        ),
        "ends within its header. Expected a whole IDX file",
    ),
    "empty zip": (with_file("x.zip", b"PK\x05\x06" + bytes(18)), "has no class folder with pictures"),
    "no Parquet": (with_file("x.parquet", b"PAR1" + bytes(60)), "x.parquet is damaged: "),
    "no npz": (with_file("x.npz", b"PK\x03\x04" + bytes(60)), "x.npz is damaged: "),
    "no arrays": (with_npz(weights=IMAGES), "x.npz has the arrays 'weights'. Expected images and labels, or x_train"),
    "zero arrays": (with_npz(), "x.npz is empty"),
    "objects": (
        with_npz(images=np.array([None, 1], dtype=object), labels=[0, 1]),
        "the array 'images' in",
    ),
    "no labels": (with_npz(images=IMAGES), "has 'images' without labels"),
    "lengths": (with_npz(images=IMAGES, labels=[0, 1]), "4 training images and 2 labels"),
    "NaN": (with_npz(images=NAN, labels=[0, 1, 0, 1]), "training images with NaN or infinite pixels"),
    "out of range": (
        with_npz(images=IMAGES, labels=[0, 1, 2, 3], class_names=["a", "b"]),
        "label 3 in the train labels. Expected 0 to 1",
    ),
    "unknown in test": (
        with_npz(x_train=IMAGES, y_train=list("abab"), x_test=IMAGES, y_test=list("abac")),
        "label 'c' in the test labels, which is none of the classes. Expected a, b",
    ),
    "negative": (with_npz(images=IMAGES, labels=[0, 1, 0, -1]), "training label -1"),
    "float labels": (with_npz(images=IMAGES, labels=[0.5, 1, 0, 1]), "training labels of type float64"),
    "no train": (with_npz(x_test=IMAGES, y_test=[0, 1, 0, 1]), "x.npz has test but no train"),
    "twice": (with_npz(x=IMAGES, images=IMAGES, y=[0, 1, 0, 1]), "has both 'x' and 'images'"),
    "lone IDX": (with_file("train-images-idx3-ubyte", idx.serialise(IMAGES)), "has no file of labels beside it"),
    "lying IDX": (
        lambda folder, files: unpacked(
            folder,
            {"train-images-idx3-ubyte": b"\0\0\x08\3" + b"\x7f" * 12, "train-labels-idx1-ubyte": b"\0\0\x08\1\0\0\0\0"},
        ),
        "more than it can hold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_words(files: Files, tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    place = make(tmp_path / "photos", files)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError) as caught:
        load_data(place)
    assert message in str(caught.value)
    assert caught.value.expected
    with pytest.raises(DataError):
        check_data(place)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_lying_array_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 99, 99)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", stream.getvalue())
        archive.writestr("labels.npy", stream.getvalue())
    with pytest.raises(DataError, match=r"'images' in .* promises 9,801,000,000 bytes and holds 128"):
        load_data(tmp_path / "x.npz")


def test_limits(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope.data import archives

    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DataError, match="has more than 5 members. Expected at most 5"):
            load_data(packed(tmp_path / name, files))
    monkeypatch.setattr(archives, "MAX_MEMBERS", 500)
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 1000)
    for name in ("x.zip", "x.tar.xz"):
        with pytest.raises(DataError, match="GiB unpacked"):
            load_data(packed(tmp_path / name, files))


def test_no_room_to_unpack(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope.data import inside

    monkeypatch.setattr(inside, "_KEPT_FREE_BYTES", 2**62)
    with pytest.raises(
        DataError, match=r"unpacking takes more than .* has no room \(No space left on device\)"
    ):
        load_data(packed(tmp_path / "x.tar.gz", files))


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(DataError, match="a named pipe, no file"):
        load_data(tmp_path / "x.csv")


def test_what_may_not_be_read_is_said(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "x.zip", files)

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        DataError, match=r"cannot read .*x.zip: Permission denied. Expected data that may be read"
    ):
        load_data(archive)


def test_a_picture_that_may_not_be_read_is_skipped(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpacked(tmp_path / "photos", files)
    opened = Path.open

    def refusing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "1.png" and path.parent.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    data = load_data(folder)
    assert data.skipped == (
        Skipped("test/b/1.png", "permission denied"),
        Skipped("train/b/1.png", "permission denied"),
    )


def test_a_well_of_folders_is_refused(tmp_path: Path) -> None:
    wells = [tmp_path / "photos" / "a"]
    (tmp_path / "photos" / "b").mkdir(parents=True)
    while len(str(wells[-1])) < 3000:
        wells[-1].mkdir()
        wells.append(wells[-1] / "d")
    try:
        with pytest.raises(DataError, match="has hundreds of folders, one in another"):
            load_data(tmp_path / "photos")
    finally:
        for well in reversed(wells[:-1]):  # what clears up after tests would itself go too deep
            well.rmdir()
