"""Folders of pictures: every kind of file that is passed over or not used as it is, and that each is said once."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data.folders import no_pictures, pictures_below
from ensemble_ad.data.picture_folder import PictureFolder
from ensemble_ad.data.pictures import read_picture
from ensemble_ad.data.remarks import MEANINGS, Remarks
from ensemble_ad.errors import DataError


def open_folder(folder, cache):
    """The images of a folder of pictures that are images as they are."""
    return PictureFolder(folder, cache).images(None, cache)


@pytest.fixture
def pixels(photos):
    """Eight colour photographs, uint8 (8, 24, 24, 3)."""
    return photos(8, 24, 3)


@pytest.fixture
def folder(tmp_path, pixels):
    """`some/` with a.png and below/b.png."""
    (tmp_path / "some" / "below").mkdir(parents=True)
    Image.fromarray(pixels[0]).save(tmp_path / "some" / "a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "some" / "below" / "b.png")
    return tmp_path / "some"


def found(folder: Path) -> tuple[list[str], dict[str, int]]:
    """The names of the pictures, and what is remarked."""
    remarks = Remarks()
    return [path.relative_to(folder).as_posix() for path in pictures_below(folder, remarks)], remarks.counts


# What is passed over


@pytest.mark.parametrize(
    "hidden", ["._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png", "@eaDir/a.png/SYNO_M.jpg"]
)
def test_hidden_files_are_no_pictures(folder, hidden):
    (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
    (folder / hidden).write_bytes((folder / "a.png").read_bytes())
    assert found(folder) == (["a.png", "below/b.png"], {"hidden": 1})
    assert found(folder / "below")[1] == {}


def test_a_folder_may_lie_in_a_hidden_one(folder, tmp_path):
    (tmp_path / ".cache").mkdir()
    moved = folder.rename(tmp_path / ".cache" / "some")
    assert found(moved) == (["a.png", "below/b.png"], {})


def test_links_to_other_folders_and_files_are_followed(folder, tmp_path, pixels):
    (tmp_path / "else" / "deep").mkdir(parents=True)
    Image.fromarray(pixels[2]).save(tmp_path / "else" / "deep" / "c.png")
    Image.fromarray(pixels[3]).save(tmp_path / "d.png")
    (folder / "linked").symlink_to(tmp_path / "else")
    (folder / "d.png").symlink_to("../d.png")
    (folder / "blob.png").symlink_to(".store/blob")
    (folder / ".store").mkdir()
    (folder / ".store" / "blob").write_bytes((folder / "a.png").read_bytes())
    names, counts = found(folder)
    assert names == ["a.png", "blob.png", "d.png", "below/b.png", "linked/deep/c.png"]
    assert counts == {"hidden": 1}
    images = open_folder(folder, tmp_path / "cache")
    assert images.ids == ("a.png", "below/b.png", "blob.png", "d.png", "linked/deep/c.png")
    np.testing.assert_array_equal(images.images[3], pixels[3])


@pytest.mark.parametrize(
    ("links", "names"),
    [
        ({"self": "."}, []),
        ({"up": ".."}, []),
        ({"root": "/"}, []),
        ({"again": "below"}, []),
        ({"z.png": "a.png"}, []),
        ({"0.png": "below/b.png"}, []),
        ({"x": "/tmp/../ELSE", "y": "ELSE"}, ["x/c.png"]),
        ({"x": "ELSE/inner", "y": "ELSE"}, ["x/e.png", "y/c.png"]),
        ({"p.png": "ELSE/c.png", "q.png": "ELSE/c.png", "y": "ELSE"}, ["p.png", "y/inner/e.png"]),
    ],
    ids=["itself", "a folder around", "the root", "a folder", "a file", "a file below", "twice", "inside", "files"],
)
def test_no_file_is_given_twice_whatever_links_there_are(folder, tmp_path, links, names):
    (tmp_path / "else" / "inner").mkdir(parents=True)
    for name in ("c.png", "inner/e.png"):
        (tmp_path / "else" / name).write_bytes((folder / "a.png").read_bytes())
    names = [*names, "x/inner/e.png"] if "x/c.png" in names else names
    for name, target in links.items():
        where = target.replace("/tmp/../ELSE", f"{tmp_path}/../{tmp_path.name}/else")
        (folder / name).symlink_to(where.replace("ELSE", str(tmp_path / "else")))
    given, counts = found(folder)
    assert sorted(given) == sorted(["a.png", "below/b.png", *names])
    assert list(counts) == ["repeated"]


def test_hard_links_are_files_of_their_own(folder):
    os.link(folder / "a.png", folder / "c.png")
    assert found(folder) == (["a.png", "c.png", "below/b.png"], {})


def test_links_that_lead_nowhere_or_in_a_circle_are_counted(folder):
    (folder / "gone.png").symlink_to("/nowhere/a.png")
    (folder / "x").symlink_to("y")
    (folder / "y").symlink_to("x")
    assert found(folder) == (["a.png", "below/b.png"], {"dangling": 3})


def test_files_of_other_formats_are_counted_by_their_endings(folder):
    for name in ("1.PSD", "2.psd", "c.xcf", "notes.txt", "README", "d.eps", "scan.2024-11-25"):
        (folder / name).write_bytes(b"this is no picture of any format")
    remarks = Remarks()
    assert len(list(pictures_below(folder, remarks))) == 2
    assert list(remarks.lines("train")) == [
        (
            "warning",
            "train: 7 files are of no format that is read, and are passed over: 2 .psd, 2 without an ending, 1 .xcf, "
            "1 .eps, 1 .txt; convert pictures among them to PNG",
        )
    ]


def test_many_endings_are_one_line(folder):
    for row in range(3000):
        (folder / f"frame.x{row}").touch()
    remarks = Remarks()
    assert len(list(pictures_below(folder, remarks))) == 2
    ((_, text),) = remarks.lines()
    assert "2992 others; convert" in text
    assert len(text) < 300


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("name", ["IMG_0001", "scan.2024-11-25"])
def test_a_picture_without_an_ending_is_told_by_its_content(folder, pixels, kind, name):
    Image.fromarray(pixels[2]).save(folder / name, kind)
    assert found(folder) == ([*sorted(["a.png", name]), "below/b.png"], {})
    assert read_picture(folder / name).shape == (24, 24, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_pipes_are_passed_over_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe")
    assert found(folder) == (["a.png", "below/b.png"], {"special": 2})


def test_a_folder_that_cannot_be_opened_is_counted(folder, monkeypatch):
    # Root opens every folder, so that permissions would show nothing here.
    real = os.scandir

    def scandir(place):
        if Path(place).name == "below":
            raise PermissionError(13, "Permission denied")
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(folder) == (["a.png"], {"closed": 1})


def test_where_there_is_no_picture_it_is_said_what_else_is_there(folder, tmp_path):
    (folder / "a.png").rename(folder / "a.psd")
    (folder / "below" / "b.png").rename(folder / ".b.png")
    with pytest.raises(DataError, match=r"none that Pillow reads; 1 hidden files .*; 1 files .* 1 \.psd; convert"):
        open_folder(folder, tmp_path / "cache")
    assert "\n" not in str(no_pictures(folder, Remarks()))


# What is not used as it is


def _with_alpha(pixels: np.ndarray, alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], alpha, np.uint8)]))


def _indexed(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).quantize(8)


KINDS = {
    "a PNG that moves": ("c.png", lambda p, x: _save(p, x, save_all=True, append_images=[Image.fromarray(x[::-1])])),
    "an icon": ("c.ico", lambda p, x: _save(p, x, sizes=[(16, 16), (24, 24)])),
    "transparent": ("c.png", lambda p, x: _with_alpha(x, 0).save(p)),
    "partly transparent": ("c.webp", lambda p, x: _with_alpha(x, 200).save(p)),
    "a transparent colour": ("c.png", lambda p, x: _indexed(x).save(p, transparency=_indexed(x).getpixel((0, 0)))),
    "grey and transparent": ("c.png", lambda p, x: _with_alpha(x, 9).convert("LA").save(p)),
    "16 bits in digits": (
        "c.ppm", lambda p, x: p.write_text(f"P3 24 24 65535 {' '.join(map(str, (x.astype(int) * 257).ravel()))}"),
    ),
    "damaged": ("c.jpg", lambda p, x: _save_with_broken_exif(p, x)),
}  # fmt: skip
EXPECTED = ["pages"] * 2 + ["transparent"] * 4 + ["deep", "damaged"]


def _save(path: Path, pixels: np.ndarray, **more: object) -> None:
    Image.fromarray(pixels).save(path, **more)  # type: ignore[arg-type]


def _save_with_broken_exif(path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(path, exif=exif.tobytes()[:-8])


@pytest.mark.parametrize(("kind", "expected"), list(zip(KINDS, EXPECTED, strict=True)))
def test_a_picture_that_holds_more_than_its_image_is_remarked(folder, tmp_path, pixels, kind, expected, recwarn):
    name, save = KINDS[kind]
    save(folder / name, pixels[2])
    first = open_folder(folder, tmp_path / "cache").remarks
    assert first.counts == {expected: 1}
    assert first.first[expected][0] == name
    ((level, text),) = first.lines("train")
    assert (level, text.startswith(f"train: 1 {MEANINGS[expected]}; the first is {name!r}")) == ("warning", True)
    again = open_folder(folder, tmp_path / "cache").remarks  # decoded before, and said again
    assert list(again.lines("train")) == [(level, text)]
    assert not list(recwarn), "a warning of Pillow's reaches the terminal"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_ordinary_pictures_are_not_remarked(folder, tmp_path, pixels, mode):
    picture = _with_alpha(pixels[2], 255) if mode.endswith("A") else Image.fromarray(pixels[2])
    picture.convert(mode).save(folder / ("c.tif" if mode == "CMYK" else "c.png"))
    assert open_folder(folder, tmp_path / "cache").remarks.counts == {}


def test_remarks_follow_the_names_that_the_pictures_have_now(folder, tmp_path, pixels):
    _with_alpha(pixels[2], 0).save(folder / "c.png")
    open_folder(folder, tmp_path / "cache")
    (folder / "c.png").rename(folder / "d.png")
    assert open_folder(folder, tmp_path / "cache").remarks.first["transparent"] == ("d.png", "")


@pytest.mark.parametrize(
    "content",
    [
        "[]", "{", '{"pages": 1}', '{"hidden": {"count": 1, "row": 0, "more": ""}}',
        '{"pages": {"count": 1, "row": 99, "more": ""}}', '{"pages": {"count": -1, "row": 0, "more": ""}}',
    ],
)  # fmt: skip
def test_a_damaged_file_of_remarks_is_as_none(folder, tmp_path, pixels, content):
    _with_alpha(pixels[2], 0).save(folder / "c.png")
    open_folder(folder, tmp_path / "cache")
    (beside,) = (path for path in (tmp_path / "cache").glob("*.json") if not path.stem.endswith("headers"))
    beside.write_text(content)
    assert open_folder(folder, tmp_path / "cache").remarks.counts == {}


def test_no_picture_is_opened_for_remarks_alone(folder, tmp_path, pixels, monkeypatch):
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, **more: opened.append(1) or real(file, **more))
    open_folder(folder, tmp_path / "cache")
    assert len(opened) == 4  # each once for its header, and once for its pixels
    opened.clear()
    open_folder(folder, tmp_path / "cache")
    assert opened == []
