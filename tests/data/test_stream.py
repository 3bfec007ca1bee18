"""Pictures to score are read by threads: in their order, with their own errors, and few of them ahead."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble_ad.data import pool, stream
from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.pool import in_order
from ensemble_ad.data.remarks import Remarks
from ensemble_ad.errors import DataError

SHAPE = (24, 24, 3)


@pytest.fixture(scope="module")
def pixels(photos):
    """uint8 (70, 24, 24, 3)."""
    return photos(70, 24, 3)


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """As on a larger machine."""
    monkeypatch.setattr(pool, "_thread_count", lambda: 4)


def save(folder: Path, pixels: np.ndarray) -> list[Path]:
    """Pictures 00.png, 01.png, ..."""
    folder.mkdir()
    paths = [folder / f"{row:02}.png" for row in range(len(pixels))]
    for path, each in zip(paths, pixels, strict=True):
        Image.fromarray(each).save(path)
    return paths


def read(sources, **more):
    """The blocks, the names and errors of what was skipped, and what was remarked."""
    skipped, remarks = list[tuple[str, DataError]](), Remarks()
    skip = more.pop("skip", lambda name, error: skipped.append((name, error)))
    blocks = list(stream.stream(sources, SHAPE, skip=skip, remarks=remarks, **more))
    return blocks, skipped, remarks


def test_a_folder_is_read_in_order_whatever_goes_wrong(tmp_path, pixels):
    paths = save(tmp_path / "new", pixels)
    for row in (0, 13, 14, 69):
        paths[row].write_bytes(b"no picture")
    Image.fromarray(pixels[20]).convert("RGBA").save(paths[20])
    Image.fromarray(np.dstack([pixels[21], np.full((24, 24), 9, np.uint8)])).save(paths[21])
    blocks, skipped, remarks = read([tmp_path / "new"], block=32)
    kept = [row for row in range(70) if row not in (0, 13, 14, 69, 21)]
    names = [name for block in blocks for name in block.ids]
    assert names == [f"{row:02}.png" for row in sorted([*kept, 21])]
    images = {name: image for block in blocks for name, image in zip(block.ids, block.images, strict=True)}
    np.testing.assert_array_equal([images[f"{row:02}.png"] for row in kept], pixels[kept])
    assert [len(block.ids) for block in blocks] == [32, 32, 2]
    assert [name for name, _ in skipped] == ["00.png", "13.png", "14.png", "69.png"]
    assert remarks.counts == {"transparent": 1}
    assert remarks.first["transparent"][0] == "21.png"


def test_the_first_error_ends_it_where_nothing_is_skipped(tmp_path, pixels):
    paths = save(tmp_path / "new", pixels[:40])
    for row in (17, 18):
        paths[row].write_bytes(b"no picture")
    blocks = stream.stream([tmp_path / "new"], SHAPE, block=8)
    assert [next(blocks).ids[0] for _ in range(2)] == ["00.png", "08.png"]
    with pytest.raises(DataError, match=r"17\.png cannot be read"):
        next(blocks)


def test_a_file_of_many_pages_arrives_whole_between_others(tmp_path, pixels):
    save(tmp_path / "new", pixels[:3])
    pages = [Image.fromarray(each) for each in pixels[3:30]]
    pages[0].save(tmp_path / "new" / "01.tif", save_all=True, append_images=pages[1:])
    (block,), skipped, _ = read([tmp_path / "new"])
    assert block.ids == ["00.png", "01.png", *(f"01.tif#{number}" for number in range(1, 28)), "02.png"]
    np.testing.assert_array_equal(block.images, pixels[[0, 1, *range(3, 30), 2]])
    assert not skipped


def test_pages_before_a_damaged_one_are_kept(tmp_path, pixels):
    pages = [Image.fromarray(each) for each in pixels[:20]]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as file:
        file.seek(12)
        entry = content.index(b"\x11\x01\x04\x00\x01\x00\x00\x00", file._frame_pos[12])  # type: ignore[attr-defined]
    content[entry + 8 : entry + 12] = b"\xff\xff\xff\x0f"  # where its pixels are: beyond the end
    (tmp_path / "a.tif").write_bytes(content)
    (block,), skipped, _ = read([tmp_path / "a.tif"])
    assert block.ids == [f"a.tif#{number}" for number in range(1, 13)]
    assert [name for name, _ in skipped] == ["a.tif"]


def test_pictures_named_in_a_row_are_read_together(tmp_path, pixels):
    paths = save(tmp_path / "new", pixels[:20])
    np.save(tmp_path / "a.npy", pixels[20:23])
    missing = tmp_path / "missing.png"
    told: list[int] = []
    blocks, skipped, _ = read([*paths[:9], missing, *paths[9:], tmp_path / "a.npy", paths[0]], tell=told.append)
    assert [len(block.ids) for block in blocks] == [20, 3, 1]
    assert blocks[0].ids == list(map(str, paths))
    np.testing.assert_array_equal(blocks[0].images, pixels[:20])
    ((name, error),) = skipped
    assert name == str(missing)
    assert str(error).startswith(f"the images {missing} do not exist")
    with pytest.raises(DataError, match="do not exist"):
        read([paths[0], missing], skip=None)


def test_an_array_is_converted_by_threads_in_order(tmp_path, pixels):
    np.save(tmp_path / "a.npy", pixels)
    conversion = Conversion(fit="pad", side=48)
    told: list[int] = []
    blocks = list(stream.stream([tmp_path / "a.npy"], (48, 48, 3), conversion=conversion, tell=told.append))
    assert blocks[0].ids == list(map(str, range(70)))
    np.testing.assert_array_equal(blocks[0].images, [conversion.image(each, "") for each in pixels])
    assert told == [64]


def test_little_is_begun_ahead_and_nothing_after_the_end():
    begun, lock, before = list[int](), threading.Lock(), set(threading.enumerate())

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        return item

    results = in_order(work, iter(range(10**9)))
    assert [next(results) for _ in range(20)] == list(range(20))
    assert len(begun) <= 20 + 4 * 2 * 8
    results.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 64, 65])
def test_each_item_is_given_once(count):
    names = list(in_order(lambda item: (item, threading.current_thread().name), range(count)))
    assert [item for item, _ in names] == list(range(count))
    assert all((name == threading.main_thread().name) == (count < 2) for _, name in names)
