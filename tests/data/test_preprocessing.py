"""Preprocessing: its JSON, its bounds, and every kind of picture it is given."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convscope.data import Preprocessing
from convscope.errors import DataError

numbers = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-5, 1e6)


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    channels = draw(st.integers(1, 4))
    return Preprocessing(
        size_px=(draw(st.integers(1, 8192)), draw(st.integers(1, 8192))),
        channels=channels,
        fit=draw(st.sampled_from(["squash", "crop", "pad"])),
        resampling=draw(st.sampled_from(["bilinear", "bicubic", "nearest"])),
        antialias=draw(st.booleans()),
        mean=tuple(draw(st.lists(numbers, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(positive, min_size=channels, max_size=channels))),
        views=draw(st.sampled_from(["one", "mirror", "shift", "mirror_shift"])),
    )


@settings(deadline=None)  # machines differ
@given(preprocessings())
def test_json_and_back_is_the_identity(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


GOOD = Preprocessing((28, 28), 1, mean=(0.1,), std=(0.3,)).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": [0, 28]}, "size_px 0. Expected a whole number from 1 to 8192"),
        ({"size_px": [28]}, "Expected two whole numbers"),
        ({"size_px": [28, 10**9]}, "from 1 to 8192"),
        ({"size_px": [28.0, 28]}, "size_px 28.0"),
        ({"size_px": "28"}, "two whole numbers"),
        ({"channels": True}, "channels True"),
        ({"channels": 65}, "from 1 to 64"),
        ({"fit": "squish"}, "Did you mean 'squash'"),
        ({"fit": ["crop"]}, "preprocessing fit"),
        ({"resampling": "lanczos"}, "bilinear, bicubic, nearest"),
        ({"antialias": 1}, "true or false"),
        ({"mean": [0.1, 0.2]}, "1 numbers, one a channel"),
        ({"mean": [float("nan")]}, "finite numbers"),
        ({"mean": [10**400]}, "finite numbers"),
        ({"mean": ["0.1"]}, "finite numbers"),
        ({"mean": [True]}, "finite numbers"),
        ({"mean": []}, "1 numbers, one a channel"),
        ({"std": [0.0]}, "std [0.0]. Expected numbers above"),
        ({"std": [-1.0]}, "std [-1.0]"),
        ({"std": [float("inf")]}, "finite numbers"),
        ({"meen": [0.1]}, "unknown preprocessing key 'meen'"),
    ],
)
def test_json_out_of_bounds_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Preprocessing.from_json(GOOD | change)
    assert message in str(caught.value)


def test_json_must_be_complete_and_an_object() -> None:
    with pytest.raises(DataError, match="without std"):
        Preprocessing.from_json({key: value for key, value in GOOD.items() if key != "std"})
    with pytest.raises(DataError, match="Expected a JSON object"):
        Preprocessing.from_json([1])


def test_same_size_keeps_every_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    for fit in ("squash", "crop", "pad"):
        assert (Preprocessing((28, 28), 1, fit=fit).pixels(Image.fromarray(pixels))[0] == pixels).all()  # type: ignore[arg-type]


def test_crop_takes_the_centre() -> None:
    picture = np.zeros((4, 8), dtype=np.uint8)
    picture[:, 2:6] = 200
    assert (Preprocessing((4, 4), 1, fit="crop").pixels(Image.fromarray(picture)) == 200).all()


def test_pad_adds_black_bars() -> None:
    pixels = Preprocessing((8, 8), 1, fit="pad").pixels(Image.new("L", (8, 4), 200))[0]
    assert (pixels[2:6] == 200).all()
    assert (pixels[[0, 1, 6, 7]] == 0).all()


def test_squash_keeps_the_whole_picture() -> None:
    pixels = Preprocessing((4, 4), 1).pixels(
        Image.fromarray(np.tile(np.arange(8, dtype=np.uint8) * 30, (2, 1)))
    )
    assert pixels.shape == (1, 4, 4)
    assert (np.diff(pixels[0, 0].astype(int)) > 0).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (400, 1), (1, 400), (7, 3)])
def test_any_shape_becomes_the_size(fit: str, size: tuple[int, int]) -> None:
    preprocessing = Preprocessing((9, 5), 3, fit=fit)  # type: ignore[arg-type]
    assert preprocessing.pixels(Image.new("RGB", size)).shape == (3, 9, 5)


@pytest.mark.parametrize("antialias", [True, False])
def test_resizing_agrees_with_torch(antialias: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60), dtype=np.uint8)
    ours = Preprocessing((16, 16), 1, antialias=antialias).pixels(Image.fromarray(pixels))
    batch = torch.from_numpy(pixels)[None, None].float()
    theirs = torch.nn.functional.interpolate(
        batch, (16, 16), mode="bilinear", antialias=antialias, align_corners=False
    )
    assert np.abs(ours[0] - theirs[0, 0].numpy()).max() <= 1.5


def gray(picture: Image.Image) -> list[int]:
    return Preprocessing((1, picture.width), 1).pixels(picture)[0, 0].tolist()


def test_sixteen_bits_are_scaled() -> None:
    deep = np.array([[0, 257, 65535]], dtype=np.uint16)
    assert gray(Image.fromarray(deep)) == [0, 1, 255]
    assert gray(Image.fromarray(deep.astype(np.int32))) == [0, 1, 255]


def test_floats_are_scaled() -> None:
    assert gray(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))) == [0, 128, 255]
    assert gray(Image.fromarray(np.array([[0.0, 7.0, 255.0]], dtype=np.float32))) == [0, 7, 255]


def test_nan_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="NaN or infinite pixels"):
        gray(Image.fromarray(np.array([[np.nan]], dtype=np.float32)))


def test_transparent_is_white() -> None:
    for mode, value in (("RGBA", (10, 20, 30, 0)), ("LA", (10, 0))):
        assert gray(Image.new(mode, (2, 1), value)) == [255, 255]
    picture = Image.new("P", (2, 1), 3)
    picture.info["transparency"] = 3
    assert gray(picture) == [255, 255]


def test_opaque_alpha_changes_nothing() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.putalpha(255)
    assert (Preprocessing((5, 5), 3).pixels(picture) == pixels.transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    "mode", ["1", "CMYK", "YCbCr", "HSV", "P", "L", "RGB", "RGBA", "LA", "I;16", "I", "F"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read(mode: str, channels: int) -> None:
    assert Preprocessing((3, 2), channels).pixels(Image.new(mode, (2, 3))).shape == (channels, 3, 2)


def test_one_bit_and_cmyk() -> None:
    assert gray(Image.new("1", (2, 1), 1)) == [255, 255]
    assert Preprocessing((1, 1), 3).pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).ravel().tolist() == [
        255,
        0,
        0,
    ]


def test_pictures_have_one_or_three_channels() -> None:
    with pytest.raises(DataError, match=r"1 \(gray\) or 3"):
        Preprocessing((2, 2), 2).pixels(Image.new("L", (2, 2)))


def test_scale_and_unscaled() -> None:
    preprocessing = Preprocessing((1, 2), 1, mean=(0.5,), std=(0.25,))
    images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert preprocessing.scale(images).tolist() == [[[[-2.0, 2.0]]]]
    assert preprocessing.unscaled().scale(images).tolist() == [[[[0.0, 1.0]]]]
    assert images.tolist() == [[[[0, 255]]]]


def test_one_view_is_the_images_and_has_no_place_in_the_file() -> None:
    images = torch.zeros(1, 1, 2, 2)
    one = Preprocessing((2, 2), 1)
    [(share, view)] = one.seen(images)
    assert (share, view is images) == (1.0, True)
    assert "views" not in one.to_json()
    assert Preprocessing((2, 2), 1, views="mirror").to_json()["views"] == "mirror"


def test_views_are_the_picture_mirrored_and_moved() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mirror = Preprocessing((4, 5), 3, views="mirror")
    shares, views = zip(*mirror.seen(images), strict=True)
    assert shares == (0.5, 0.5)
    assert torch.equal(views[0], images)
    assert torch.equal(views[1], images.flip(3))

    shift = Preprocessing((4, 5), 3, views="mirror_shift")
    shares, views = zip(*shift.seen(images), strict=True)
    assert shares == (0.25, 0.25, 0.125, 0.125, 0.125, 0.125)
    bordered = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect"))
    up_left, down_right = bordered[:, :, :4, :5], bordered[:, :, 2:, 2:]
    for found, wanted in zip(views[::2], (images, up_left, down_right), strict=True):
        assert torch.equal(found, wanted)
    for found, wanted in zip(views[1::2], views[::2], strict=True):
        assert torch.equal(found, wanted.flip(3))


def test_shifts_alone_are_the_views_that_are_not_mirrored() -> None:
    images = torch.randint(0, 256, (2, 1, 4, 5), dtype=torch.uint8)
    with_mirrors = list(Preprocessing((4, 5), 1, views="mirror_shift").seen(images))
    alone = list(Preprocessing((4, 5), 1, views="shift").seen(images))
    assert [share for share, _ in alone] == [0.5, 0.25, 0.25]
    for (_, found), (_, wanted) in zip(alone, with_mirrors[::2], strict=True):
        assert torch.equal(found, wanted)


def test_a_picture_of_one_pixel_has_views_too() -> None:
    images = torch.full((1, 1, 1, 1), 9, dtype=torch.uint8)
    assert {view.item() for _, view in Preprocessing((1, 1), 1, views="mirror_shift").seen(images)} == {9}


def test_unknown_views_get_a_suggestion() -> None:
    with pytest.raises(
        DataError, match=r"views 'miror'. Expected one, mirror, shift, mirror_shift. Did you mean 'mirror'"
    ):
        Preprocessing((2, 2), 1, views="miror")
