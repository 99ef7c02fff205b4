"""check_data: planted duplicates and oddities are found, good pictures are left alone, the report says it all."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from convscope.data import check_data, from_arrays, load_data
from convscope.data.checking import DataReport
from convscope.data.checking.looking import _MIRROR, _waves, sharpness, wave_bits
from convscope.errors import DataError

CLASSES = ("cat", "dog")


def scene(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """A picture like no other: soft colours with sharp boxes on them."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    for _ in range(6):
        left, top = random.integers(0, size[0] - 30), random.integers(0, size[1] - 30)
        width, height = random.integers(8, 60, 2)
        soft.paste(tuple(random.integers(0, 256, 3).tolist()), (left, top, left + width, top + height))
    return soft


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight different pictures in two splits and two classes, and one of each thing that can be wrong."""
    root = tmp_path_factory.mktemp("photos")
    seeds = itertools.count()
    for split, name in itertools.product(("train", "val"), CLASSES):
        (root / split / name).mkdir(parents=True)
        for number in range(12):
            scene(next(seeds)).save(root / split / name / f"{number}.jpg", quality=92)
    cat, dog, val = root / "train/cat", root / "train/dog", root / "val/cat"
    (cat / "exact.jpg").write_bytes((cat / "0.jpg").read_bytes())
    Image.open(cat / "1.jpg").save(cat / "pixels.png")
    Image.open(cat / "2.jpg").save(cat / "encoded.jpg", quality=60)
    Image.open(cat / "3.jpg").resize((120, 90)).save(cat / "resized.jpg")
    Image.open(cat / "5.jpg").convert("L").save(cat / "gray.png")
    ImageOps.mirror(Image.open(cat / "4.jpg")).save(cat / "mirrored.jpg", quality=90)
    Image.open(cat / "6.jpg").save(val / "leak.jpg", quality=75)
    Image.open(dog / "7.jpg").save(cat / "label.jpg", quality=80)
    Image.new("RGB", (100, 80), (9, 9, 9)).save(dog / "black.png")
    Image.new("RGB", (90, 80), "white").save(dog / "white.png")
    scene(900).filter(ImageFilter.GaussianBlur(4)).save(dog / "soft.jpg")
    scene(901).resize((25, 20)).save(dog / "tiny.png")
    scene(902, (400, 60)).save(dog / "wide.jpg")
    (dog / "cut.jpg").write_bytes((dog / "0.jpg").read_bytes()[:2000])
    (dog / "notes.txt").write_text("no picture")
    (dog / ".hidden.jpg").write_bytes((dog / "0.jpg").read_bytes())
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.jpg").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    scene(903).save(root / "stray.png")
    (dog / "GIF in disguise.dat").write_bytes(b"")
    scene(904).save(dog / "GIF in disguise.dat", "GIF")
    return root


@pytest.fixture(scope="module")
def report(planted: Path) -> DataReport:
    return check_data(planted, mirrored=True)


def names(report: DataReport) -> dict[str, set[str]]:
    """Kind and the file names of each group."""
    return {
        "/".join(sorted(Path(item.path).name for item in group.items)): {group.kind}
        for group in report.duplicates
    }


def test_planted_duplicates_are_found_and_nothing_else(report: DataReport) -> None:
    assert names(report) == {
        "0.jpg/exact.jpg": {"same bytes"},
        "1.jpg/pixels.png": {"same pixels"},
        "2.jpg/encoded.jpg": {"near"},
        "3.jpg/resized.jpg": {"near"},
        "5.jpg/gray.png": {"near"},
        "6.jpg/leak.jpg": {"near"},
        "7.jpg/label.jpg": {"near"},
        "4.jpg/mirrored.jpg": {"mirrored"},
    }


def test_mirror_images_only_where_asked(planted: Path) -> None:
    assert "4.jpg/mirrored.jpg" not in names(check_data(planted))


def test_leaks_and_label_conflicts_are_named(report: DataReport) -> None:
    assert [(Path(leak.item.path).name, leak.item.split, leak.twin.split) for leak in report.leakage] == [
        ("leak.jpg", "validation", "train")
    ]
    conflicts = [group for group in report.duplicates if group.is_label_conflict]
    assert [{item.class_name for item in group.items} for group in conflicts] == [{"cat", "dog"}]
    assert any("with more than one label" in line for line in report.warnings)
    assert any(
        "1 picture of 25 in validation (4.0%) can be learned by heart" in line for line in report.warnings
    )


def test_odd_pictures_are_named(report: DataReport) -> None:
    found = {key: [Path(item.path).name for item in items] for key, items in report.oddities.items()}
    assert found == {
        "tiny": ["tiny.png"],
        "blank": ["black.png", "white.png"],
        "blurred": ["soft.jpg"],
        "several_pictures": [],
    }
    assert [Path(item.path).name for item in report.stretched] == ["wide.jpg"]


def test_every_file_is_read_skipped_or_ignored(planted: Path, report: DataReport) -> None:
    document = report.to_json()
    assert [(Path(skip["path"]).name, skip["reason"]) for skip in document["skipped"]] == [
        ("cut.jpg", "damaged: the file ends before the picture does")
    ]
    assert {Path(found["path"]).name: found["reason"] for found in document["ignored"]} == {
        "notes.txt": "no picture by name or content",
        ".hidden.jpg": "hidden",
        "__MACOSX": "left by a program, no data",
        "Thumbs.db": "left by a program, no data",
        "stray.png": "a picture outside the class folders",
    }
    files = sum(1 for path in planted.rglob("*") if path.is_file())
    assert document["read"] + len(document["skipped"]) + len(document["ignored"]) == files
    assert document["read"] == sum(document["splits"].values())


def test_the_json_contract(report: DataReport) -> None:
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert {
        "classes",
        "splits",
        "read",
        "skipped",
        "ignored",
        "duplicates",
        "leakage",
        "warnings",
    } <= document.keys()
    assert document["classes"] == [
        {"name": "cat", "train": 19, "validation": 13},
        {"name": "dog", "train": 18, "validation": 12},
    ]
    assert document["splits"] == {"train": 37, "validation": 25}
    assert document["network_sees"] == {"height_px": 64, "width_px": 64, "channels": 3, "fit": "squash"}
    assert document["sizes"]["width_px"] == {"min": 25, "median": 200, "max": 400}


def test_the_text_says_what_matters(report: DataReport) -> None:
    text = report.render()
    for words in (
        "can be read (37 in train, 25 in validation)",
        "cut.jpg: damaged: the file ends before the picture does",
        "near, across splits:",
        "near, different labels:",
        "Leakage: 1 of 25 pictures in validation",
        "fitted by 'squash'",
    ):
        assert words in text


def test_the_page_needs_nothing_else(planted: Path, report: DataReport) -> None:
    page = report.page("Accuracy <1>")
    assert "Accuracy &lt;1&gt;" in page
    assert "{{" not in page
    assert not {"http:", "https:", "<script", "file:"} & set(page.replace('"', " ").replace("'", " ").split())
    assert page.count("data:image/") > 50
    for words in ("wide.jpg", "squash", "crop", "pad", "across splits", "Blurred (1)", "Cannot be read (1)"):
        assert words in page


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    for name in ("<img src=x onerror=1>", "b"):
        (tmp_path / name).mkdir()
        scene(1).save(tmp_path / name / "{{SEEN}}'.png")
    raw = os.fsencode(tmp_path / "b") + b"/\xff\n.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"no picture")
    report = check_data(tmp_path)
    page = report.page()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=1&gt;" in page
    report.write_skip_list(tmp_path / "skip.tsv")
    lines = (tmp_path / "skip.tsv").read_bytes().splitlines()
    assert lines == [
        os.fsencode(tmp_path / "b") + b"/\xff\\n.jpg\tnot a picture in a format that is read here: text"
    ]


def test_the_sheet_shows_what_the_network_gets(planted: Path) -> None:
    report = check_data(planted, size_px=32, fit="pad")
    position = next(k for k, item in enumerate(report.source.items) if item.path.endswith("wide.jpg"))
    pixels = report.pixels(position, report.preprocessing)
    assert pixels.shape == (3, 32, 32)
    assert not pixels[:, :10].any()  # the bar above
    assert pixels[:, 14:18].any()


def test_salvage_reads_the_damaged_file(planted: Path) -> None:
    report = check_data(planted, salvage=True)
    assert report.skipped == ()
    assert report.to_json()["salvaged"] is True


def test_nothing_is_changed(planted: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in planted.rglob("*")}
    check_data(planted, salvage=True).page()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in planted.rglob("*")} == before


def test_equal_at_reduced_scale_is_not_equal(tmp_path: Path) -> None:
    """Two large JPEGs that differ in one pixel are decoded smaller, and must still be told apart."""
    picture = scene(7, (1200, 900))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    picture.save(tmp_path / "a/1.jpg", quality=95)
    picture.putpixel((601, 401), (255, 0, 0))
    picture.save(tmp_path / "b/1.jpg", quality=95)
    picture.save(tmp_path / "b/2.jpg", quality=95, comment=b"other bytes, same pixels")
    kinds = [group.kind for group in check_data(tmp_path).duplicates]
    assert kinds == ["near"]


def test_arrays_are_checked_too() -> None:
    images = np.stack([np.asarray(scene(k, (32, 32))) for k in range(20)])
    images[13] = images[4]
    data = from_arrays(images, np.arange(20) % 2, test=(images[:3], [0, 1, 0]))
    report = check_data(data)
    assert [
        [item.path for item in group.items] for group in report.duplicates if "train/4" in group.items[0].path
    ] == [["train/4", "train/13"]]
    assert sorted(leak.item.path for leak in report.leakage) == ["test/0", "test/1", "test/2"]


@pytest.mark.slow
def test_digits_are_no_copies_of_each_other() -> None:
    assert len(check_data("mnist-10k").duplicates) <= 2


@pytest.mark.slow
def test_photos_raise_no_false_alarm(real_data: Path) -> None:
    folder = real_data / "photos" / "trashnet"
    if not folder.is_dir():
        pytest.skip("CONVSCOPE_DATA has no photos/trashnet")
    report = check_data(folder, mirrored=True)
    # One pair, looked at: the same newspaper on the same table, photographed twice.
    assert [[Path(item.path).name for item in group.items] for group in report.duplicates] == [
        ["paper135.jpg", "paper496.jpg"]
    ]
    # One picture, looked at: cardboard, shaken.
    assert [Path(item.path).name for item in report.blurred] == ["cardboard236.jpg"]
    assert (report.tiny, report.blank, report.leakage) == ((), (), ())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no class folder with pictures"),
        (["a/1.jpg", "b/2.jpg"], "none of 2 pictures in"),
    ],
)
def test_unusable_folders_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=message):
        check_data(tmp_path)


def test_unknown_data_are_refused() -> None:
    with pytest.raises(DataError, match="unknown data set 'fotos'"):
        check_data("fotos")


# ---- the numbers behind it -------------------------------------------------------------------------------------------

pixels = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 256, (32, 32)).astype(np.float32)
)


@given(pixels)
@settings(max_examples=20, deadline=None)
def test_waves_are_the_cosine_transform(grays: np.ndarray) -> None:
    amounts = _waves(grays)
    for row, column in ((0, 0), (1, 0), (0, 7), (5, 3)):
        total = sum(
            float(grays[y, x])
            * math.cos(math.pi * (2 * y + 1) * row / 64)
            * math.cos(math.pi * (2 * x + 1) * column / 64)
            for y in range(32)
            for x in range(32)
        )
        assert abs(amounts[row, column] - total) < 1


@given(pixels)
@settings(max_examples=20, deadline=None)
def test_the_mirror_image_needs_no_second_look(grays: np.ndarray) -> None:
    assert np.allclose(_waves(grays[:, ::-1].copy()), _waves(grays) * _MIRROR, atol=0.5)


@given(pixels, st.floats(0.3, 1.0), st.floats(0, 40))
@settings(max_examples=20, deadline=None)
def test_bits_do_not_follow_the_contrast(grays: np.ndarray, contrast: float, light: float) -> None:
    before, after = wave_bits(_waves(grays)), wave_bits(_waves(grays * contrast + light))
    assert (
        np.unpackbits(before) != np.unpackbits(after)
    ).sum() <= 2  # rounding; and the mean is one of the waves


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    picture = scene(3, (256, 192)).convert("L")
    values = [
        sharpness(np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4)
    ]
    assert values == sorted(values, reverse=True)
    pale = picture.point(lambda value: 100 + value // 3)
    assert abs(sharpness(np.asarray(pale)) - values[0]) < 0.1 * values[0]
    assert sharpness(np.zeros((20, 20), np.uint8)) == 1.0  # too small to say


def test_load_data_and_check_agree_on_the_size(planted: Path) -> None:
    assert check_data(planted).preprocessing.input_shape == load_data(planted).input_shape
