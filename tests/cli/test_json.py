"""`--json`: one document on stdout, whatever happens, of the fields that docs/json.md lists; hints that can be run."""

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

import ensemble_ad as ea
from ensemble_ad.cli import main
from ensemble_ad.cli._output import plain
from ensemble_ad.results import comparison as tables

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
ENVELOPE = ["format", "version", "command", "result", "ok", "error", "warnings", "next"]
# What is served or opened rather than printed.
WITHOUT_JSON = {"dashboard"}
RUNS = {
    "audit": "audit",
    "blend": "blend --members fcn,resnet --name again",
    "compare": "compare",
    "data check": "data check",
    "evaluate": "evaluate",
    "export": "export both",
    "families": "families",
    "import --template": "import --template held_out.csv",
    "report": "report --pictures 0",
    "run": "run --trials 1 --families pca --device cpu",
    "score": "score data/testingset.npy --alarm-rate 0.1 --device cpu",
    "submissions": "submissions",
    "submit": "submit",
}


def _documented(command: str) -> list[str]:
    """The fields that the page lists, in its order; what stands in brackets are fields of these."""
    rows = {
        re.sub("`", "", cells[1]).strip(): cells[2]
        for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| `"))
    }
    return re.findall("`([a-z_]+)`", re.sub(r"\(.*?\)", "", rows[command]))


def _checks(document: dict) -> None:
    """That its hints can be run: the words in capitals aside, every command and flag in them exists."""
    for hint in document["next"]:
        program, *arguments = shlex.split(hint)
        assert program == "ensad"
        with main.make_context("ensad", arguments) as context:
            name, command, rest = main.resolve_command(context, [*context._protected_args, *context.args])
            if isinstance(command, click.Group) and rest:
                name, command, rest = command.resolve_command(context, rest)
            command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("command", RUNS)
def test_stdout_holds_one_document_with_the_fields_that_the_page_lists(run_ensad, data, studies, command):
    result = run_ensad(*RUNS[command].split(), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert sorted(document) == sorted(ENVELOPE)
    assert list(document["result"]) == _documented(command)
    assert (document["format"], document["version"], document["ok"], document["error"]) == (
        1, ea.__version__, True, None,
    )  # fmt: skip
    assert document["command"] == command.partition(" --")[0]
    assert document["next"], "every command hints at the next one"
    assert all(hint in result.stderr for hint in document["next"])
    _checks(document)


@pytest.mark.slow
def test_training_commands_have_their_documents_too(run_ensad, data, tmp_path):
    for command in ("tune --family pca --trials 1", "train --preset pca-10"):
        result = run_ensad(*command.split(), "--json")
        document = json.loads(result.stdout)
        assert list(document["result"]) == _documented(command.split()[0])
        assert (tmp_path / "studies" / "members" / document["result"]["key"]).is_dir()
        assert document["result"]["objective"]["name"]
        assert document["warnings"] == [
            line.removeprefix("warning: ") for line in result.stderr.splitlines() if line.startswith("warning: ")
        ]
        _checks(document)


def test_a_blend_and_scores_that_come_in_have_theirs(run_ensad, data, studies, tmp_path):
    run_ensad("export", "both", "-q")
    document = json.loads(run_ensad("import", "both.zip", "--studies", "there", "--json").stdout)
    assert list(document["result"]) == _documented("import of a blend")
    assert document["next"] == ["ensad score IMAGES --blend both --studies there"], "the folder goes along"
    _checks(document)
    run_ensad("import", "--template", "held_out.csv", "-q")
    rng = np.random.default_rng(0)
    for name, ids in (("reference.csv", pd.read_csv("held_out.csv")["ID"]), ("scores.csv", range(120))):
        pd.DataFrame({"ID": ids, "score": rng.normal(size=len(ids))}).to_csv(name, index=False)
    document = json.loads(
        run_ensad("import", "scores.csv", "--reference", "reference.csv", "--name", "own", "--json").stdout
    )
    assert list(document["result"]) == _documented("import of scores")
    assert document["next"] == ["ensad blend --members fcn,own,resnet"]
    _checks(document)


def test_a_latent_tells_its_pictures_path_and_its_elements(run_ensad, data, studies, tmp_path):
    key = next(folder.name for folder in (studies / "members").iterdir() if folder.name.startswith("fcn"))
    document = json.loads(run_ensad("latent", "--member", key, "--image", 3, "--device", "cpu", "--json").stdout)
    assert list(document["result"]) == _documented("latent")
    assert (tmp_path / document["result"]["path"]).is_file()
    assert document["result"]["elements"] > 0
    _checks(document)


def test_the_numbers_are_those_of_the_text(run_ensad, data, studies):
    evaluated = json.loads(run_ensad("evaluate", "--json").stdout)["result"]["rows"]
    table = ea.comparison("studies")
    assert {row["name"]: row["auc"] for row in evaluated} == pytest.approx(table["auc"].to_dict(), abs=1e-12)
    rows = json.loads(run_ensad("compare", "--json").stdout)["result"]["rows"]
    assert [row["name"] for row in rows] == table.index.tolist()
    assert list(rows[0]) == ["name", *tables.COLUMNS]
    weights = json.loads(run_ensad("blend", "--members", "fcn", "--name", "f", "--json").stdout)["result"]["weights"]
    assert sum(weights.values()) == pytest.approx(1)
    scored = json.loads(run_ensad("score", data / "testingset.npy", "--blend", "both", "--json").stdout)["result"]
    assert (len(scored["images"]), scored["image_count"]) == (120, 120)
    assert sum(image["alarm"] for image in scored["images"]) == scored["alarm_count"]


def test_a_file_is_written_as_ever_and_the_document_says_where(run_ensad, data, studies, tmp_path):
    document = json.loads(run_ensad("score", data / "testingset.npy", "-o", "out.csv", "--json").stdout)
    assert document["result"]["output"] == "out.csv"
    assert "images" not in document["result"]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 121
    document = json.loads(run_ensad("compare", "--format", "parquet", "-o", "t.parquet", "--json").stdout)
    assert len(pd.read_parquet(tmp_path / "t.parquet")) == len(document["result"]["rows"])


@pytest.mark.parametrize(
    ("arguments", "command", "kind", "code"),
    [
        (("blend", "--members", "nothing"), "blend", "usage", 2),
        (("evaluate", "--labels", "none.csv"), "evaluate", "data", 3),
        (("tune", "--nothing"), "tune", "usage", 2),
        (("tune",), "tune", "usage", 2),
        (("data", "nothing"), "data", "usage", 2),
        (("nothing",), "", "usage", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_a_document_too_and_the_line_on_stderr_stays(run_ensad, studies, arguments, command, kind, code):
    result = run_ensad(*arguments, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == code
    assert sorted(document) == sorted(ENVELOPE)
    assert (document["command"], document["ok"], document["result"]) == (command, False, {})
    assert (document["error"]["kind"], document["error"]["exit_code"]) == (kind, code)
    assert f"Error: {document['error']['message']}" in result.stderr
    assert run_ensad(*arguments).stdout == ""


def test_what_was_found_before_an_error_stands_in_the_document(run_ensad, data, tmp_path):
    shutil.copy(data / "trainingset.npy", data / "testingset.npy")
    document = json.loads(run_ensad("data", "check", "--json").stdout)
    assert document["error"]["exit_code"] == 3
    assert any(finding["level"] == "error" for finding in document["result"]["findings"])


def test_ctrl_c_and_damage_have_their_kinds(run_ensad, studies, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt  # as Python does when the key is pressed

    with monkeypatch.context() as patch:
        patch.setattr(tables, "table_rows", interrupted)
        assert json.loads(run_ensad("compare", "--json").stdout)["error"] == {
            "kind": "interrupted", "message": "interrupted", "exit_code": 130,
        }  # fmt: skip
    (studies / "blends" / "both" / "blend.json").write_text("{")
    assert json.loads(run_ensad("submit", "--json").stdout)["error"]["kind"] == "storage"


def test_a_stream_that_meets_a_bad_image_ends_as_a_document_that_says_so(run_ensad, data, studies, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = run_ensad("score", data / "testingset.npy", "broken.png", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (document["ok"], document["error"]["kind"]) == (False, "data")
    assert len(document["result"]["images"]) == 120


def test_ensad_toml_can_ask_for_it(run_ensad, studies, tmp_path):
    (tmp_path / "ensad.toml").write_text("[compare]\njson = true\n")
    assert json.loads(run_ensad("compare").stdout)["ok"] is True


def test_every_command_that_gives_a_result_takes_it():
    for name, command in main.commands.items():
        for each in command.commands.values() if isinstance(command, click.Group) else [command]:
            has = "--json" in {flag for param in each.params for flag in param.opts}
            assert has != (name in WITHOUT_JSON), name


def test_values_are_what_json_knows():
    values = {"a": np.float32(0.5), "b": float("nan"), "c": Path("x"), "d": (1, np.int64(2)), "e": np.array([np.inf])}
    assert plain(values) == {"a": 0.5, "b": None, "c": "x", "d": [1, 2], "e": [None]}
    times = pd.to_datetime(["2026-01-01", None], utc=True)  # type: ignore[arg-type]
    table = pd.DataFrame({"v": [1.5, None], "t": times}, index=["r", "s"])
    assert plain(table.rename_axis("name")) == [
        {"name": "r", "v": 1.5, "t": "2026-01-01T00:00:00.000000Z"},
        {"name": "s", "v": None, "t": None},
    ]
