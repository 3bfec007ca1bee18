"""Files that the user named: links are followed, devices and pipes are written into, an input is never an output."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.output import check_output, is_stream
from ensemble_ad.files.whole import whole_file

LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


def _write(path: Path, text: str = "new", **how: bool) -> None:
    with whole_file(path, named_by_user=True, **how) as part:
        part.write_text(text)


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing yet"])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, hops, there):
    (tmp_path / "below").mkdir()
    target = tmp_path / "below" / "real.txt"
    if there:
        target.write_text("old")
    link = tmp_path / "link0"
    link.symlink_to(Path("below") / "real.txt")
    for hop in range(1, hops):
        link = tmp_path / f"link{hop}"
        link.symlink_to(f"link{hop - 1}")
    _write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["real.txt"]


def test_a_link_to_itself_is_one_clear_line_and_stays(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(StorageError, match=r"cannot write .*link: Too many levels of symbolic links"):
        _write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_a_link_that_the_user_did_not_name_leads_nowhere(tmp_path):
    (tmp_path / "victim").write_text("old")
    (tmp_path / "ours.json").symlink_to("victim")
    with whole_file(tmp_path / "ours.json") as part:
        part.write_text("new")
    assert not (tmp_path / "ours.json").is_symlink()
    assert (tmp_path / "victim").read_text() == "old"
    assert stat.S_IMODE((tmp_path / "ours.json").stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a device")
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_device_stays_a_device(tmp_path, overwrite):
    os.mknod(tmp_path / "nul", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (tmp_path / "link").symlink_to("nul")
    for name in ("nul", "link"):
        _write(tmp_path / name, overwrite=overwrite)
    assert stat.S_ISCHR((tmp_path / "nul").stat().st_mode)
    assert (tmp_path / "link").is_symlink()


@LINUX
def test_a_full_device_is_no_space_left():
    with pytest.raises(StorageError, match="cannot write /dev/full: no space is left"):
        _write(Path("/dev/full"))


def test_the_reader_of_a_pipe_gets_all_of_it_and_nothing_of_a_failure(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()

    def fail() -> None:
        with whole_file(tmp_path / "pipe", named_by_user=True) as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    _write(tmp_path / "pipe", "all\n" * 100_000)
    reader.join()
    assert got == ["all\n" * 100_000]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@LINUX
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("regular", [True, False], ids=["a file", "a pipe"])
def test_stdout_is_written_into_where_it_stands(tmp_path, name, regular):
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = (
        "from pathlib import Path\nfrom ensemble_ad.files.whole import whole_file\nprint('before')\n"
        f"with whole_file(Path({name!r}), named_by_user=True) as part: part.write_text('whole\\n')\nprint('after')\n"
    )
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if regular:
        with (tmp_path / "out").open("w") as out:
            out.write("first\n")
            out.flush()
            subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, check=True)
        assert (tmp_path / "out").read_text() == "first\nbefore\nwhole\nafter\n"
    else:
        text = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
        assert text == "before\nwhole\nafter\n"


def test_a_regular_file_and_a_folder_are_no_streams(tmp_path):
    (tmp_path / "a").write_text("")
    assert not any(map(is_stream, (tmp_path / "a", tmp_path, tmp_path / "none")))


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_who_may_read_the_old_file_may_read_the_new_one(tmp_path, mode):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(mode)
    _write(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, ".hidden"])
def test_every_name_that_a_file_can_have_can_be_written(tmp_path, name):
    _write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_input_is_no_output_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "t.npy"
    source.write_text("input")
    (tmp_path / "link.npy").symlink_to(source)
    (tmp_path / "alias").symlink_to("data")
    os.link(source, tmp_path / "hard.npy")
    monkeypatch.chdir(tmp_path)
    for name in ("data/t.npy", "data/../data/t.npy", "link.npy", "alias/t.npy", "hard.npy", str(source)):
        with pytest.raises(UsageError, match="is read by this command, and would be written over; name another file"):
            check_output(Path(name), [tmp_path / "none", source])
    check_output(tmp_path / "other", [source])


def test_a_picture_among_inputs_is_no_output_but_a_table_beside_it_is(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a.png", "b/c.PNG", "b/noname", "scores.csv"):
        (tmp_path / "a" / name).write_text("")
    for name in ("a.png", "b/c.PNG", "b/noname"):
        with pytest.raises(UsageError, match="is read by this command"):
            check_output(tmp_path / "a" / name, [tmp_path / "a"])
    check_output(tmp_path / "a" / "scores.csv", [tmp_path / "a"])
    check_output(tmp_path / "a" / "new.png", [tmp_path / "a"])
    check_output(tmp_path / "a" / "a.png", [tmp_path / "a" / "b"])
