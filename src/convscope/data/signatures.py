"""What a file is by its first bytes, for telling people why it is no picture that can be read here."""

from __future__ import annotations

CAMERA_RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"}
)
FOREIGN_SUFFIXES = CAMERA_RAW_SUFFIXES | {
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".xcf", ".eps", ".exr", ".hdr", ".dds", ".wmf", ".emf",
}  # fmt: skip
"""Pictures to a person, but not read here: a folder that has them must hear of it."""

_NOT_READ = "not a picture in a format that is read here"

_STARTS = {
    b"\xff\xd8\xff": "damaged: it begins like a JPEG, but nothing more can be read",
    b"\x89PNG\r\n\x1a\n": "damaged: it begins like a PNG, but nothing more can be read",
    b"GIF8": "damaged: it begins like a GIF, but nothing more can be read",
    b"BM": "damaged: it begins like a BMP, but nothing more can be read",
    b"II*\0": "damaged, or a kind of TIFF that is not read here",
    b"MM\0*": "damaged, or a kind of TIFF that is not read here",
    b"8BPS": "a Photoshop document; export it as PNG",
    b"gimp xcf": "a GIMP document; export it as PNG",
    b"%PDF": "a PDF document; export its pages as PNG",
    b"%!PS": f"{_NOT_READ}: a PostScript program",
    b"\xff\x0a": "a JPEG XL picture, not read here; save it as JPEG or PNG",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture, not read here; save it as JPEG or PNG",
    b"version https://git-lfs": "a Git LFS pointer, not the picture itself; `git lfs pull` fetches it",
    b"PK\x03\x04": f"{_NOT_READ}: a ZIP archive",
    b"\x1f\x8b": f"{_NOT_READ}: packed by gzip",
}
_BRANDS = {
    b"avif": "damaged: it begins like an AVIF, but cannot be decoded",
    b"avis": "damaged: it begins like an AVIF, but cannot be decoded",
    b"crx ": "a camera's raw file; export it as JPEG",
} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
    "a HEIC picture (iPhone), not read here; save it as JPEG",
)
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def what_it_is(head: bytes) -> str:
    """Why a file that begins with these bytes (up to 512) is not read.

    >>> what_it_is(b"<!DOCTYPE html><html>")
    'not a picture in a format that is read here: a web page'
    """
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], f"{_NOT_READ}: a film")
    if head[:4] == b"RIFF":
        return "damaged: it begins like a WebP, but cannot be decoded" if head[8:12] == b"WEBP" else _NOT_READ
    found = next((words for start, words in _STARTS.items() if head.startswith(start)), None)
    return found or _text_kind(head) or _NOT_READ


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 suffice) is a picture, whatever its name.

    Only formats with a start that text cannot have: a name that says otherwise needs strong evidence.

    >>> is_picture(b"GIF89a..."), is_picture(b"BMW,Munich\\n")
    (True, False)
    """
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_avif = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1")
    return is_webp or is_avif or head.startswith(_PICTURES)


def _text_kind(head: bytes) -> str:
    try:
        text = head.decode("utf-8-sig", errors="strict" if len(head) < 512 else "ignore").lstrip().lower()
    except UnicodeDecodeError:
        return ""
    if not text or "\0" in text or "\ufffd" in text:
        return ""
    if "<svg" in text:
        return "an SVG drawing, not read here; export it as PNG"
    if text.startswith(("<!doctype html", "<html", "<head")):
        return f"{_NOT_READ}: a web page"
    return f"{_NOT_READ}: text" if text.isprintable() or "\n" in text else ""
