"""No command but those that a user points at labels opens a file of labels, though one lies in the data folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python tells an audit hook of every file it opens, by `open`, `os.open`, pathlib or numpy, and no code can take the
# hook away. A hook that raises would be hidden by code that catches what it raises, so it ends the process.
_WATCHED = """
import os, sys

def watch(event, arguments):
    if event in ("open", "os.listxattr", "shutil.copyfile", "os.rename", "os.link") and arguments:
        for path in arguments[:2]:
            if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).endswith("labels.csv"):
                os.write(2, b"opened " + os.fsencode(path))
                os._exit(99)

sys.addaudithook(watch)
from ensemble_ad.cli import main
main()
"""
TRIPPED = 99


def _watched(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENSAD_")}
    return subprocess.run(
        [sys.executable, "-c", _WATCHED, *command.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["", " --objective loss"])
def test_from_tuning_to_handing_in_no_label_is_opened(tmp_path, data, objective):
    assert (data / "labels.csv").exists()
    commands = (
        "tune --family fcn --trials 2 --epochs 1 --max-width 128 --device cpu" + objective,
        "blend --members fcn",
        "compare",
        "compare --format csv",
        "submit",
    )
    for command in commands:
        result = _watched(tmp_path, command)
        assert result.returncode == 0, (command, result.stderr)
    assert (tmp_path / "studies" / "members").is_dir()
    assert len(list((tmp_path / "submissions").glob("*.csv"))) == 1


def test_no_label_is_opened_right_of_the_cache(tmp_path, data, studies):
    assert (data / "labels.csv").exists()
    for command in (
        "blend --members fcn,resnet --name again --anomaly-share 0.5",
        "compare",
        "report --pictures 0",
        "submit",
    ):
        result = _watched(tmp_path, command)
        assert result.returncode == 0, (command, result.stderr)


@pytest.mark.parametrize("command", ["evaluate", "evaluate --labels data/labels.csv", "audit"])
def test_the_watch_trips_where_labels_are_read(tmp_path, data, studies, command):
    result = _watched(tmp_path, command)
    assert result.returncode == TRIPPED
    assert result.stderr.endswith("labels.csv")


@pytest.mark.parametrize(
    "code",
    [
        "open(p)",
        "os.close(os.open(p, os.O_RDONLY))",
        "pathlib.Path(p).read_bytes()",
        "numpy.fromfile(p)",
        "__import__('pandas').read_csv(p)",
        "__import__('shutil').copy(p, 'other')",
    ],
)
def test_the_watch_sees_every_way_to_open_a_file(tmp_path, data, code):
    hook = _WATCHED.partition("from ensemble_ad")[0]
    program = f"{hook}\nimport pathlib, numpy\np = 'data/labels.csv'\ntry:\n    {code}\nexcept BaseException:\n    pass"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == TRIPPED
