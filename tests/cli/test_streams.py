"""The standard streams: closed, full or of an encoding that lacks the files' names; no traceback, no half a result."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

STORAGE = 4
COMMANDS = (
    "--help",
    "--version",
    "families",
    "data check",
    "tune --family pca --trials 1 --device cpu",
    "train --preset pca-10 --device cpu",
    "blend --name again --columns all",
    "evaluate --labels data/labels.csv",
    "audit --labels data/labels.csv",
    "compare",
    "compare --format csv",
    "submit",
    "report --pictures 0",
    "export both -o blend.zip",
    "import blend.zip --studies there",
    "latent --member {key} --device cpu",
    "demo --only-data --out demo",
    "score data/testingset.npy --alarm-rate 0.1 --device cpu",
    "score data/testingset.npy --alarm-rate 0.1 --device cpu --format json",
    "import --template held_out.csv",
)
# Of those that are tried in every way, some are enough for the ways that differ by the stream alone.
SOME = (
    "--help",
    "data check",
    "train --preset pca-10 --device cpu",
    "blend --name again",
    "compare --format csv",
    "submit",
)
# Runs commands in one process, each with standard streams of its own: a path, or nothing for a closed one.
_RUN = """
import io, json, os, sys, traceback
from ensemble_ad.cli import main
results, encoding, out, err, *lines = sys.argv[1:]

def opened(number, path):
    os.close(number)
    if not path:
        return None
    other = os.open(path, os.O_WRONLY | (0 if path.startswith("/dev") else os.O_CREAT | os.O_TRUNC))
    if other != number:
        os.dup2(other, number)
        os.close(other)
    errors = "strict" if number == 1 else "backslashreplace"
    return io.TextIOWrapper(open(number, "wb", closefd=False), encoding, errors)

os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
found = []
for line in lines:
    sys.stdout = sys.__stdout__ = opened(1, out)
    sys.stderr = sys.__stderr__ = opened(2, err)
    try:
        main(line.split("\\t"), prog_name="ensad")
        code, trace = None, "it did not end by an exit"
    except SystemExit as end:
        code, trace = end.code, ""
    except BaseException:
        code, trace = None, traceback.format_exc()
    said = [open(path, "rb").read().decode("utf-8") if os.path.isfile(path) else "" for path in (out, err)]
    found.append([line, code, trace, *said])
with open(results, "w", encoding="utf-8") as file:
    json.dump(found, file)
os._exit(0)
"""


class Ran(NamedTuple):
    """What came of a command."""

    line: str
    code: int | None
    trace: str
    out: str
    err: str


@pytest.fixture
def run_with(tmp_path):
    """Runs commands in one process in `tmp_path` with these standard streams."""

    def run(*lines: str, out: str = "out.txt", err: str = "err.txt", encoding: str = "utf-8") -> list[Ran]:
        # Words have tabs between them where one of them holds a space.
        some = [line if "\t" in line else line.replace(" ", "\t") for line in lines]
        key = next((path.name for path in tmp_path.glob("studies/members/fcn-*")), "")
        lines = tuple(line.format(key=key) for line in some)
        command = [sys.executable, "-c", _RUN, "results.json", encoding, out, err, *lines]
        subprocess.run(command, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
        ran = [Ran(*each) for each in json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))]
        assert [each for each in ran if each.trace or "Traceback" in each.err] == []
        return ran

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "more", "commands"),
    [("", " --json", COMMANDS), ("/dev/full", "", COMMANDS), ("", "", SOME), ("/dev/full", " --json", SOME)],
    ids=["document closed", "text full", "text closed", "document full"],
)
def test_a_result_that_cannot_be_written_is_a_line_and_an_exit_code(run_with, data, studies, out, more, commands):
    why = "No space left on device" if out else "it is closed"
    lines = [line + more for line in commands if not more or not line.startswith("--")]
    for ran in run_with(*lines, out=out):
        assert ran.code == STORAGE, ran
        assert ran.err.endswith(
            f"Error: cannot write the result to standard output: {why}; send it elsewhere, as with > FILE\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize(("err", "commands"), [("", COMMANDS), ("/dev/full", SOME)], ids=["closed", "full"])
def test_work_goes_on_where_nobody_can_be_told_of_it(run_with, data, studies, err, commands):
    assert [ran for ran in run_with(*commands, err=err) if ran.code != 0 or not ran.out] == []
    failed = run_with("nothing", "blend --members nothing", "data check --data nothing", err=err)
    assert [ran.code for ran in failed] == [2, 2, 3]


def test_the_first_error_is_told_and_not_that_of_writing_its_document(run_with, studies):
    (ran,) = run_with("blend --members nothing --json", out="/dev/full")
    assert ran.code == 2
    assert ran.err.startswith("Error: no member or family 'nothing'")


def test_nothing_else_gets_the_number_of_a_closed_stream(tmp_path, data, studies):
    code = (
        "import os; from ensemble_ad.cli import main\n"
        "try: main(['compare', '-q', '-o', 'table'])\n"
        "finally: print([os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)], file=open('streams', 'w'))"
    )
    command = f"'{sys.executable}' -c \"$0\" <&- >&- 2>&-"
    subprocess.run(["bash", "-c", command, code], cwd=tmp_path, check=True)
    assert (tmp_path / "streams").read_text() == "['/dev/null', '/dev/null', '/dev/null']\n"
    assert "both" in (tmp_path / "table").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["compare", "compare -o -", "families", "nothing", "--help"])
@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_pipe_that_is_closed_early_is_left_without_a_word(tmp_path, studies, command, streams):
    line = f"'{sys.executable}' -m ensemble_ad {command} -q {streams} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


# Encodings


@pytest.mark.slow
def test_every_command_prints_where_the_encoding_is_the_poorest(run_with, data, studies):
    assert [ran for ran in run_with(*COMMANDS, encoding="ascii") if ran.code != 0 or not ran.out] == []


NAMES = ("猫.png", "ä b.png", "\N{GRINNING FACE}.png", "plain.png")


@pytest.fixture
def pictures(tmp_path, photos) -> Path:
    """A data folder of pictures, both it and the test pictures with names that no old encoding has all of."""
    folder = tmp_path / "数据 é"
    for name, some in (("train", photos(84, 32, 3)[:80]), ("test", photos(84, 32, 3)[80:])):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(some):
            Image.fromarray(pixels).save(folder / name / (NAMES[number] if name == "test" else f"{number}.png"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp950", "cp1252"])
def test_names_that_the_encoding_does_not_have_are_printed_whole(run_with, pictures, encoding):
    data, studies = f"--data\t{pictures.name}", "--studies\tétudes-猫"
    lines = (
        f"data\tcheck\t{data}\t{studies}",
        f"train\t--preset\tpca-10\t--device\tcpu\t{data}\t{studies}",
        f"blend\t{studies}\t--name\tone",
        f"compare\t{studies}",
        f"submit\t{data}\t{studies}\t--submissions\tméin-猫",
        f"report\t{data}\t{studies}\t-o\tréport-猫.html\t--pictures\t1",
        f"export\t{studies}\t-o\tblend-猫.zip",
        "import\tblend-猫.zip\t--studies\tthere-猫",
        f"import\t--template\theld-猫.csv\t{data}\t{studies}",
        f"latent\t--member\tnothing-猫\t{studies}",
        f"score\t{pictures.name}/test\t{studies}\t--alarm-rate\t0.1\t--device\tcpu",
    )
    ran = run_with(*lines, encoding=encoding)
    assert [each.code for each in ran] == [0] * 9 + [2, 0], ran
    scored = list(csv.DictReader(io.StringIO(ran[-1].out)))
    assert sorted(row["ID"] for row in scored) == sorted(NAMES)
    assert "数据" in ran[0].out
    assert ran[6].out == "blend-猫.zip\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp950", "utf-8"])
def test_a_name_that_is_no_text_at_all_is_left_out_of_a_table_alone(run_with, studies, photos, tmp_path, encoding):
    folder = tmp_path / "new"
    folder.mkdir()
    for name in (b"a.png", b"\xff\xfe.png"):
        Image.fromarray(photos(1, 32, 3)[0][..., 0]).save(folder / os.fsdecode(name))
    score = "score new --alarm-rate 0.1 --device cpu -q"
    table, document = run_with(score, f"{score} --format json", encoding=encoding)
    assert table.code == 3
    assert "an id must be text" in table.err
    assert [line.split(",")[0] for line in table.out.splitlines()] == ["ID", "a.png"]
    assert document.code == 0
    assert [os.fsencode(image["ID"]) for image in json.loads(document.out)["images"]] == [b"a.png", b"\xff\xfe.png"]


def test_a_folder_whose_name_is_no_text_is_shown_escaped(run_with, data, tmp_path):
    name = os.fsdecode(b"data\xff")
    data.rename(tmp_path / name)
    (ran,) = run_with(f"data check --data {name}")
    assert ran.code == 0
    assert r"data\udcff/trainingset.npy" in ran.out
