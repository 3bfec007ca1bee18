"""`-o`: nothing that a command reads is written over, and what is no regular file is written into."""

import os
import stat

import numpy as np
import pytest

from ensemble_ad.cli import _options, main
from ensemble_ad.members.store import list_members


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def key(studies):
    return list_members(studies)[0][0].key


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("score data/testingset.npy -o {}", "data/testingset.npy"),
        ("score data/testingset.npy -o {}", "./data/../data/testingset.npy"),
        ("score data/testingset.npy -o {}", "link"),
        ("score data/testingset.npy --format json -o {}", "link"),
        ("score pictures data/testingset.npy -o {}", "pictures/a.png"),
        ("score data/testingset.npy -o {}", "studies/blends/both/scores.npz"),
        ("score data/testingset.npy -o {}", "ensad.toml"),
        ("compare --format csv -o {}", "studies/blends/both/blend.json"),
        ("compare -o {}", "studies/studies.db"),
        ("compare -o {}", "data/trainingset.npy"),
        ("compare -o {}", "link"),
        ("score pictures -o {}", "data/labels.csv"),
        ("score pictures -o {}", "data/sample_submission.csv"),
        ("compare --failed --storage sqlite:///other.db -o {}", "other.db"),
        ("report --pictures 0 -o {}", "data/trainingset.npy"),
        ("report --pictures 0 -o {}", "data/sample_submission.csv"),
        ("report --pictures 0 --labels mine.csv -o {}", "mine.csv"),
        ("report --pictures 0 -o {}", "evaluated.csv"),
        ("latent --member {key} -o {}", "data/testingset.npy"),
        ("latent --member {key} -o {}", "studies/members/{key}/vectors.npz"),
    ],
)
def test_an_input_is_never_an_output(run_ensad, data, studies, key, tmp_path, command, output):
    (tmp_path / "link").symlink_to("data/testingset.npy")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"no picture, and not looked at")
    (tmp_path / "ensad.toml").write_text("")
    (tmp_path / "other.db").write_bytes((studies / "studies.db").read_bytes())
    for name in ("mine.csv", "evaluated.csv"):
        (tmp_path / name).write_bytes((data / "labels.csv").read_bytes())
    assert run_ensad("evaluate", "--labels", "evaluated.csv").exit_code == 0
    before = _contents(tmp_path)
    output = output.replace("{key}", key)
    result = run_ensad(*command.replace("{key}", key).replace("{}", output).split())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.output
    assert output.removeprefix("./") in result.stderr
    assert "would be written over; name another file" in result.stderr
    assert _contents(tmp_path) == before


def test_what_a_command_wrote_beside_its_pictures_it_may_write_again(run_ensad, data, studies, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.load(data / "testingset.npy")[0, :, :, 0]).save(tmp_path / "pictures" / "a.png")
    for _ in range(2):
        assert run_ensad("score", "pictures", "-o", "pictures/scores.csv").exit_code == 0
    assert (tmp_path / "pictures" / "scores.csv").read_text().startswith("ID,score,alarm\na.png,")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a device")
def test_a_device_is_written_into_by_every_command(run_ensad, data, studies, key, tmp_path):
    os.mknod(tmp_path / "nul", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for command in (
        "score data/testingset.npy -o nul",
        "compare -o nul",
        "compare --format parquet -o nul",
        "report --pictures 0 -o nul",
        f"latent --member {key} -o nul",
        "export both -o nul",
        "import --template nul",
    ):
        result = run_ensad(*command.split())
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert stat.S_ISCHR((tmp_path / "nul").stat().st_mode), command
    assert {path.name for path in tmp_path.iterdir()} == {"data", "studies", "nul"}


def test_a_dash_is_standard_output(run_ensad, data, studies, key, tmp_path):
    for command, beginning in (
        ("score data/testingset.npy -o -", b"ID,score,alarm\n0,"),
        ("compare --format csv -o -", b"name,"),
        ("compare --format parquet -o -", b"PAR1"),
        ("report --pictures 0 -o -", b"<!doctype html>"),
        (f"latent --member {key} -o -", b"\x89PNG"),
        ("export both -o -", b"PK"),
        ("import --template -", b"ID,score\n"),
    ):
        result = run_ensad(*command.split())
        assert result.exit_code == 0, result.stderr
        assert result.stdout_bytes[: len(beginning)].lower() == beginning.lower(), command
        assert "next" in result.stderr
        assert "/dev/stdout" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "studies"}


def test_every_option_that_names_an_output_takes_a_dash():
    written = {
        (name, param.name): param.type
        for name, command in main.commands.items()
        for param in command.params
        if "-o" in param.opts or param.name in ("template", "maps", "out")
    }
    assert len(written) > 7
    known = (_options.OUTPUT, _options.OUTPUT_FILE, _options.OUTPUT_FOLDER)
    assert {place: kind for place, kind in written.items() if kind not in known} == {}


def test_a_dash_is_refused_where_it_cannot_be_standard_output(run_ensad, studies, tmp_path):
    for command in ("compare --json -o -", "export both --json -o -", "explain a.png -o -", "demo --out -"):
        result = run_ensad(*command.split())
        assert result.exit_code == 2, command
    assert {path.name for path in tmp_path.iterdir()} == {"studies"}
    assert run_ensad("compare", "-o", "./-").exit_code == 0
    assert "both" in (tmp_path / "-").read_text()


def test_an_exported_zip_goes_through_a_pipe(run_ensad, studies, tmp_path):
    import threading

    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    result = run_ensad("export", "both", "-o", "pipe")
    reader.join()
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    (tmp_path / "got.zip").write_bytes(got[0])
    assert run_ensad("import", "got.zip", "--studies", "away").stdout == "both\n"


def test_a_linked_output_is_replaced_where_it_lies(run_ensad, data, studies, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "scores.csv").symlink_to("far/scores.csv")
    for _ in range(2):
        assert run_ensad("score", "data/testingset.npy", "-o", "scores.csv").exit_code == 0
    assert (tmp_path / "scores.csv").is_symlink()
    assert (tmp_path / "far" / "scores.csv").read_text().startswith("ID,score,alarm\n")
