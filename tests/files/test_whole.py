"""Files are whole or not there, whatever goes wrong while they are written."""

import errno
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from ensemble_ad.errors import StorageError
from ensemble_ad.files.json_file import json_hash, write_json
from ensemble_ad.files.whole import file_hash, hidden_folder, make_folder, whole_file, whole_folder


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_written_file_has_its_contents_and_everybody_may_read_it(tmp_path):
    path = tmp_path / "below" / "a.txt"
    with whole_file(path) as part:
        part.write_text("new")
    assert _files(tmp_path) == {"below/a.txt": b"new"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_nothing_is_at_the_path_before_the_file_is_whole(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert _files(tmp_path) == {"a.txt": b"new"}


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_an_exception_inside_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def write_half() -> None:
        with whole_file(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert _files(tmp_path) == {"a.txt": b"old"}


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=repr)
def test_an_exception_inside_leaves_no_folder(tmp_path, error):
    def write_half() -> None:
        with whole_folder(tmp_path / "a") as part:
            (part / "x").write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_with_everything_in_it(tmp_path):
    with whole_folder(tmp_path / "below" / "a") as part:
        (part / "x").write_text("1")
        assert not (tmp_path / "below" / "a").exists()
        (part / "y").write_text("2")
    assert _files(tmp_path) == {"below/a/x": b"1", "below/a/y": b"2"}
    assert stat.S_IMODE((tmp_path / "below" / "a").stat().st_mode) == 0o755


def test_of_two_that_write_one_folder_the_first_stays(tmp_path):
    with whole_folder(tmp_path / "a") as late:
        (late / "x").write_text("late")
        with whole_folder(tmp_path / "a") as early:
            (early / "x").write_text("early")
    assert _files(tmp_path) == {"a/x": b"early"}


def test_without_overwriting_an_existing_file_stays(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "a.txt", overwrite=False) as part:
        part.write_text("new")
    assert _files(tmp_path) == {"a.txt": b"old"}


def test_of_many_that_race_without_overwriting_exactly_one_wins(tmp_path):
    start, lost = threading.Barrier(8), []

    def write(number: int) -> None:
        try:
            with whole_file(tmp_path / "a.txt", overwrite=False) as part:
                part.write_text(str(number))
                start.wait()
        except FileExistsError:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = set(range(8)) - set(lost)
    assert _files(tmp_path) == {"a.txt": str(winner).encode()}


def test_a_file_system_without_hard_links_is_not_overwritten_either(tmp_path, monkeypatch):
    # Stands in for exFAT and some network drives, where link(2) fails with EPERM.
    def link(source: object, target: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with whole_file(tmp_path / "a.txt", overwrite=False) as part:
        part.write_text("new")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "a.txt", overwrite=False) as part:
        part.write_text("newer")
    assert _files(tmp_path) == {"a.txt": b"new"}


def _failing(number: int):
    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# A disk is not filled and root is not refused for real here: the call that would meet it fails with the system's errno.
FAULTS = pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space is left; free some space and run the same command again"),
        (errno.EDQUOT, "no space is left"),
        (errno.EACCES, "permission denied; make it writable or name another folder"),
        (errno.EROFS, "permission denied"),
        (errno.EIO, "Input/output error; look at that path"),
    ],
    ids=["full", "quota", "permission", "read-only", "broken"],
)


@FAULTS
@pytest.mark.parametrize("call", ["os.fsync", "os.open", "pathlib.Path.replace"])
def test_a_fault_while_writing_keeps_the_old_file_and_says_what_to_do(tmp_path, monkeypatch, call, number, message):
    write_json(tmp_path / "a.json", 1)
    monkeypatch.setattr(call, _failing(number))
    with pytest.raises(StorageError, match=f"^cannot write .*a.json: {message}"):
        write_json(tmp_path / "a.json", 2)
    assert _files(tmp_path) == {"a.json": b"1\n"}


@FAULTS
@pytest.mark.parametrize("call", ["os.fsync", "os.mkdir", "pathlib.Path.rename"])
def test_a_fault_while_writing_a_folder_leaves_none_and_says_what_to_do(tmp_path, monkeypatch, call, number, message):
    monkeypatch.setattr(call, _failing(number))
    with (
        pytest.raises(StorageError, match=f"^cannot write .*a: {message}"),
        whole_folder(tmp_path / "a") as part,
    ):
        (part / "x").write_text("1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_truly_full_device_is_no_space_left(tmp_path):
    with (
        pytest.raises(StorageError, match=r"cannot write .*a.txt: no space is left"),
        whole_file(tmp_path / "a.txt"),
    ):
        Path("/dev/full").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, monkeypatch):
    # Root may write everywhere, so what the system says of another user is put in its mouth.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match=r"cannot write to .*a: permission denied; make it writable"):
        make_folder(tmp_path / "a")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux's sysfs, where even root makes no folders")
def test_a_truly_forbidden_place_is_permission_denied():
    with pytest.raises(StorageError, match="cannot write to /sys/kernel/ensad: permission denied"):
        make_folder(Path("/sys/kernel/ensad"))


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_file_where_a_folder_should_be_is_refused(tmp_path, path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        StorageError, match=f"cannot write to .*{path}: (File exists|Not a directory); look at that path"
    ):
        make_folder(tmp_path / path)
    assert _files(tmp_path) == {"file": b"mine"}


def test_a_json_hash_goes_by_value_and_a_file_hash_by_content(tmp_path, monkeypatch):
    assert json_hash({"a": 1, "b": [2.5]}) == json_hash(json.loads('{"b":[2.5],"a":1}'))
    assert json_hash({"a": 1}) != json_hash({"a": 2})
    for name, content in (("a", b"12345"), ("b", b"12345"), ("c", b"12346")):
        (tmp_path / name).write_bytes(content)
    whole = file_hash(tmp_path / "a")
    assert whole == file_hash(tmp_path / "b") != file_hash(tmp_path / "c")
    monkeypatch.setattr("ensemble_ad.files.whole._HASH_BLOCK", 2)
    assert file_hash(tmp_path / "a") == whole


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_umask_says_who_may_use_what_is_written(tmp_path, umask):
    with whole_file(tmp_path / "new" / "a.txt") as part:
        part.write_text("1")
    with whole_folder(tmp_path / "new" / "folder") as folder:
        (folder / "x").write_text("2")
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert found == {"a.txt": 0o666 & ~umask, "folder": 0o777 & ~umask, "x": 0o666 & ~umask}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder to another group")
def test_what_is_written_into_a_setgid_folder_belongs_to_its_group(tmp_path):
    os.chown(tmp_path, -1, 65_001)
    tmp_path.chmod(0o2775)
    with whole_folder(tmp_path / "new" / "folder") as folder:
        (folder / "x").write_text("1")
    with whole_file(tmp_path / "new" / "a.txt") as part:
        part.write_text("2")
    for path in tmp_path.rglob("*"):
        assert path.stat().st_gid == 65_001
        assert not path.is_dir() or path.stat().st_mode & stat.S_ISGID


def test_a_hidden_folder_that_was_left_is_removed_when_it_is_old(tmp_path):
    for name, age in (("old", 200_000), ("young", 1_000)):
        (tmp_path / f".import-{name}.part").mkdir()
        (tmp_path / f".import-{name}.part" / "x").write_text("half")
        os.utime(tmp_path / f".import-{name}.part", (time.time() - age,) * 2)
    with hidden_folder(tmp_path, "import") as folder:
        assert {path.name for path in tmp_path.iterdir()} == {".import-young.part", folder.name}
    assert {path.name for path in tmp_path.iterdir()} == {".import-young.part"}
