"""What every command promises: an example, results on stdout and all else on stderr, no torch without need."""

import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import ensemble_ad as ea
from ensemble_ad import cli
from ensemble_ad.cli import main
from ensemble_ad.results import comparison as tables
from ensemble_ad.results.comparison import COLUMNS


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(main))
EVERY_COMMAND = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
# What can run on the studies of the fixture without training anything.
LIGHT = [
    ("data", "check"),
    ("families",),
    ("blend", "--members", "fcn,resnet", "--name", "again"),
    ("evaluate", "--labels", "data/labels.csv"),
    ("submit",),
    ("compare",),
]
EVERY_LIGHT_COMMAND = pytest.mark.parametrize("command", LIGHT, ids=lambda c: c[0])


@EVERY_COMMAND
def test_help_says_what_a_command_does_with_an_example_that_is_one(run_ensad, path):
    result = run_ensad(*path, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    _, found, example = result.stdout.partition("Example:\n")
    assert found
    first = example.splitlines()[0].split()
    assert first[: len(path) + 1] == ["ensad", *path]
    flags = {flag for param in COMMANDS[path].params for flag in param.opts}
    assert {word for word in example.partition("\n\n")[0].split() if word.startswith("--")} <= flags


@EVERY_COMMAND
def test_every_command_and_every_option_has_a_help_text(path):
    command = COMMANDS[path]
    assert command.short_help
    assert {"--quiet", "--verbose"} <= {flag for param in command.params for flag in param.opts}


def test_the_group_lists_every_command_and_the_exit_codes(run_ensad):
    result = run_ensad("--help")
    assert result.exit_code == 0
    for name, command in main.commands.items():
        assert f"  {name} " in result.stdout
        assert command.short_help
        assert command.short_help in " ".join(result.stdout.split())
        assert command.name == name
        assert command.short_help == cli.COMMANDS[name]
    assert "Exit codes: 0 done, 2 wrong usage, 3 unusable data, 4 storage trouble, 130 interrupted" in " ".join(
        result.stdout.split()
    )


def test_the_version_is_the_packages(run_ensad):
    assert run_ensad("--version").stdout == f"ensad, version {ea.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("tun",), ("tune",), ("compare", "--format", "xml"), ("blend", "--anomaly-share", 2)]
)
def test_wrong_usage_is_exit_code_2_and_says_nothing_on_stdout(run_ensad, arguments):
    result = run_ensad(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_ctrl_c_is_one_line_and_exit_code_130(run_ensad, studies, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt  # as Python does when the key is pressed

    monkeypatch.setattr(tables, "table_rows", interrupted)
    result = run_ensad("compare")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Error: interrupted\n")


def test_a_refusal_of_the_system_that_nobody_foresaw_is_one_line_too(run_ensad, studies, monkeypatch):
    def refused(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", "studies/members")  # root is never refused, so it is said for it

    monkeypatch.setattr(tables, "table_rows", refused)
    result = run_ensad("compare")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "Error: cannot use studies/members: Permission denied; look at that path\n"


@pytest.mark.slow
def test_a_pipe_that_is_closed_early_ends_a_command_without_a_word(run_ensad, studies, tmp_path):
    run_ensad("blend", "--name", "long", "--columns", "all")
    ensad = f"'{sys.executable}' -c 'from ensemble_ad.cli import main; main()'"
    command = f"{ensad} compare --format json -q | head -c 10"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert len(result.stdout) == 10


# Streams


@EVERY_LIGHT_COMMAND
def test_quiet_leaves_the_results_and_nothing_else(run_ensad, data, studies, command):
    result = run_ensad(*command, "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout
    if command[0] != "submit":  # whose result is a new path each time
        assert run_ensad(*command).stdout == result.stdout


@EVERY_LIGHT_COMMAND
def test_human_text_is_on_stderr_and_says_what_comes_next(run_ensad, data, studies, command):
    result = run_ensad(*command)
    following = {"submit": "kaggle competitions submit -c ml2022spring-hw8 -f submissions/", "compare": ""}
    assert following.get(command[0], "next: ensad ") in result.stderr
    assert "next: " not in result.stdout


def test_blend_prints_the_weight_of_each_column_that_sums_to_1(run_ensad, studies):
    result = run_ensad("blend", "--members", "fcn:1,resnet:1", "--weights", "3,1", "-q")
    table = pd.read_csv(io.StringIO(result.stdout), sep="\t")
    assert list(table.columns) == ["column", "weight"]
    families = table["column"].str.partition("-")[0]
    assert table["weight"].groupby(families).sum().to_dict() == pytest.approx({"fcn": 0.75, "resnet": 0.25}, abs=2e-4)
    assert "logit" in set(table["column"].str.partition("/")[2])


def test_the_submission_has_the_auc_that_evaluate_tells(run_ensad, data, studies):
    path = run_ensad("submit", "-q").stdout.strip()
    told = pd.read_csv(io.StringIO(run_ensad("evaluate", "-q").stdout), sep="\t", index_col="name")
    handed_in = pd.read_csv(path).merge(pd.read_csv(data / "labels.csv"), on="ID", validate="one_to_one")
    assert len(handed_in) == 120
    assert told.loc["both", "AUC"] == pytest.approx(roc_auc_score(handed_in["label"], handed_in["score"]), abs=5e-5)
    assert told["AUC"].is_monotonic_decreasing
    assert ((told["low"] <= told["AUC"]) & (told["AUC"] <= told["high"])).all()
    assert set(told.index) == {"both", *(folder.name for folder in (studies / "members").iterdir())}


def test_the_line_to_paste_quotes_what_a_shell_would_split(run_ensad, studies, tmp_path):
    result = run_ensad("submit", "--submissions", "my files")
    path = result.stdout.strip()
    assert f"-f '{path}' -m both\n" in result.stderr
    assert (tmp_path / path).exists()


def test_a_copied_studies_folder_is_enough_to_blend_and_hand_in(run_ensad, studies, tmp_path):
    assert not (tmp_path / "data").exists()
    assert run_ensad("blend", "--members", "resnet").exit_code == 0
    result = run_ensad("submit")
    assert "ids from the test images" in result.stderr
    assert pd.read_csv(result.stdout.strip())["ID"].tolist() == list(range(120))


def test_the_sample_submission_of_the_data_folder_decides_ids_and_order(run_ensad, data, studies):
    rows = (data / "sample_submission.csv").read_text().splitlines()
    (data / "sample_submission.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    result = run_ensad("submit")
    assert "ids from data/sample_submission.csv" in result.stderr
    assert pd.read_csv(result.stdout.strip())["ID"].tolist() == list(range(119, -1, -1))


def test_two_submissions_are_two_files(run_ensad, studies, tmp_path):
    paths = {run_ensad("submit", "-q").stdout for _ in range(3)}
    assert len(paths) == len(list((tmp_path / "submissions").iterdir())) == 3


# The comparison table


@pytest.fixture
def compared(run_ensad, data, studies) -> pd.DataFrame:
    """The table in Python, after an evaluation."""
    run_ensad("evaluate")
    return ea.comparison("studies")


def test_the_table_has_a_row_for_everything_best_first_in_its_dtypes(compared, studies):
    assert compared.dtypes.astype(str).to_dict() == {
        name: str(pd.Series(dtype=kind).dtype) for name, kind in COLUMNS.items()
    }
    assert compared.index.name == "name"
    assert set(compared.index) == {"both", *(folder.name for folder in (studies / "members").iterdir())}
    assert compared["auc"].is_monotonic_decreasing
    assert compared["auc"].notna().all()
    assert compared["labels_used"].eq("none").all()
    members = compared[compared["kind"] == "member"]
    assert members["weight"].sum() == pytest.approx(1)
    assert members["seconds"].gt(0).all()
    assert compared.loc["both", "kind"] == "blend"


def test_the_table_of_nothing_has_the_same_columns_and_dtypes(run_ensad, compared):
    empty = ea.comparison("nothing")
    assert empty.empty
    pd.testing.assert_series_equal(empty.dtypes, compared.dtypes)
    result = run_ensad("compare", "--studies", "nothing")
    assert result.exit_code == 0
    assert "nothing was tried yet in nothing; run `ensad tune --family fcn --trials 50`" in result.stderr


def test_before_an_evaluation_the_table_is_ordered_by_separation(run_ensad, studies):
    table = ea.comparison("studies")
    assert table["auc"].isna().all()
    assert table["separation"].is_monotonic_decreasing


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table.set_index("name").astype({name: "Float64" for name, kind in COLUMNS.items() if kind == "Int64"})
    table = table.astype(COLUMNS)
    table.index = table.index.astype("string")
    return table


def test_csv_is_the_same_table(run_ensad, compared):
    text = run_ensad("compare", "--format", "csv").stdout
    read = _typed(pd.read_csv(io.StringIO(text), dtype={"data": "string"}, parse_dates=["created"]))
    pd.testing.assert_frame_equal(read, compared.astype({"source": "string"}), rtol=1e-12)


def test_json_is_the_same_table(run_ensad, compared):
    text = run_ensad("compare", "--format", "json").stdout
    read = _typed(pd.DataFrame(json.loads(text)))
    pd.testing.assert_frame_equal(read, compared, rtol=1e-12)


def test_parquet_is_the_same_table(run_ensad, compared, tmp_path):
    result = run_ensad("compare", "--format", "parquet", "-o", "out/table.parquet")
    assert result.stdout == ""
    read = pd.read_parquet(tmp_path / "out" / "table.parquet")
    read.index = read.index.astype("string")  # the one dtype that pandas does not bring back
    pd.testing.assert_frame_equal(read, compared)


@pytest.mark.parametrize("kind", ["text", "markdown"])
def test_text_and_markdown_show_every_row_in_order(run_ensad, compared, kind):
    text = run_ensad("compare", "--format", kind).stdout
    lines = text.splitlines()
    if kind == "markdown":
        assert len({line.count("|") for line in lines}) == 1
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    else:
        assert max(map(len, lines[: 1 + len(compared)])) <= 100
        rows = [line.split("  ") for line in lines[1 : 1 + len(compared)]]
        rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[0] for row in rows] == compared.index.tolist()
    for row, (_, expected) in zip(rows, compared.iterrows(), strict=True):
        assert row[2] == f"{expected['auc']:.3f}" + "*" * bool(expected["ties_best"])
        assert row[3] == f"{expected['auc_low']:.3f}-{expected['auc_high']:.3f}"


def test_a_star_marks_what_cannot_be_told_from_the_best(run_ensad, compared):
    assert compared["ties_best"].any()
    text = run_ensad("compare").stdout
    assert text.count("*") == compared["ties_best"].sum() + 1
    assert text.endswith("* cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)\n")


@pytest.mark.parametrize("kind", ["text", "csv", "json", "markdown"])
def test_a_table_in_a_file_is_the_one_on_stdout(run_ensad, compared, tmp_path, kind):
    shown = run_ensad("compare", "--format", kind)
    written = run_ensad("compare", "--format", kind, "-o", "table")
    assert written.stdout == ""
    assert (tmp_path / "table").read_text() == shown.stdout


def test_weights_are_those_of_the_blend_that_is_asked_for(run_ensad, studies):
    run_ensad("blend", "--members", "fcn", "--name", "only")
    for blend, families in (("only", {"fcn"}), ("both", {"fcn", "resnet"})):
        text = run_ensad("compare", "--format", "csv", "--blend", blend).stdout
        table = pd.read_csv(io.StringIO(text))
        assert set(table.loc[table["weight"].gt(0), "family"]) == families
    weights = ea.comparison("studies")["weight"]
    assert np.isfinite(weights.astype(float)).sum() == 2, "the latest blend is the default"


@pytest.mark.slow
def test_a_study_that_reads_labels_says_so_in_every_row_that_used_them(run_ensad, data, studies):
    command = "tune --family fcn --trials 1 --epochs 1 --max-width 128 --labels data/labels.csv -q"
    key = run_ensad(*command.split()).stdout.strip()
    run_ensad("blend", "--members", key, "--name", "informed")
    labels = ea.comparison("studies")["labels_used"]
    assert labels[key].startswith("labels.csv:")
    assert labels["informed"] == labels[key]
    assert labels.drop([key, "informed"]).eq("none").all()


# What is imported, and how long it takes

_RUN = """
import sys
from ensemble_ad.cli import main
main(sys.argv[1:], standalone_mode=False)
sys.exit(", ".join(sorted({"torch", "torchvision", "optuna"} & sys.modules.keys())) or 0)
"""


def _in_a_process(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_groups_help_imports_no_command_and_a_command_only_its_own(tmp_path):
    code = """
import sys
from ensemble_ad.cli import COMMANDS, main
main(sys.argv[1:], standalone_mode=False)
print(*(name for name in COMMANDS if {f"ensemble_ad.cli.{name}", f"ensemble_ad.cli.{name}_"} & sys.modules.keys()))
"""
    for arguments, loaded in ((("--help",), ""), (("import", "--help"), "import"), (("blend", "--help"), "blend")):
        command = [sys.executable, "-c", code, *arguments]
        assert subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()[-1] == loaded


@pytest.mark.parametrize("command", [(), ("blend",), ("evaluate",), ("compare",), ("submit",)], ids=" ".join)
def test_help_does_not_import_torch(tmp_path, command):
    result = _in_a_process(tmp_path, *command, "--help")
    assert result.stderr == ""
    assert result.returncode == 0
    assert "Usage:" in result.stdout


@pytest.mark.slow
def test_nothing_right_of_the_cache_imports_torch(tmp_path, data, studies):
    for command in (*LIGHT[2:], ("data", "check")):
        result = _in_a_process(tmp_path, *command, "-q")
        assert result.stderr == "", command
        assert result.returncode == 0
        assert result.stdout


@pytest.mark.slow
def test_the_probe_for_torch_finds_it_where_it_is(tmp_path):
    result = _in_a_process(tmp_path, "families", "-q")
    assert "torch" in result.stderr


@pytest.mark.slow
def test_a_study_is_silent_too_if_asked_to(tmp_path, data, studies):
    command = "tune --family fcn --trials 1 --epochs 1 --max-width 128 --device cpu -q"
    code = "from ensemble_ad.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *command.split()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # Warnings are said all the same.
    assert "warning: only 100 images could be held out, and 150 are advised: " in result.stderr
    assert all(line.startswith("warning: ") for line in result.stderr.splitlines())
    assert result.stdout.startswith("fcn-")


@pytest.mark.slow
def test_help_takes_at_most_three_times_as_long_as_importing_click(tmp_path):
    def seconds(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, "--help"], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    # Interleaved, so that both meet the same load of the machine.
    pairs = [(seconds("import click"), seconds("from ensemble_ad.cli import main; main()")) for _ in range(9)]
    bare, help_text = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert help_text <= 3 * bare


def test_evaluating_one_blend_keeps_what_was_found_of_the_others(run_ensad, data, studies):
    run_ensad("evaluate", "-q")
    before = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")["auc"]
    run_ensad("blend", "-q", "--members", "fcn:1", "--name", "other")
    run_ensad("evaluate", "-q", "--blend", "other")
    after = pd.read_csv(io.StringIO(run_ensad("compare", "--format", "csv").stdout), index_col="name")["auc"]
    assert before.notna().all()
    pd.testing.assert_series_equal(after.drop("other").sort_index(), before.sort_index())
    assert 0 <= after["other"] <= 1


def test_a_study_needs_no_test_images_and_the_blend_says_that_it_does(data, run_ensad):
    (data / "testingset.npy").unlink()
    result = run_ensad("tune", "--family", "fcn", "--trials", 2, "--epochs", 2, "--max-width", 128)
    assert result.exit_code == 0, result.output
    assert "judged by synthetic: there are no test images" in result.stderr
    assert "no test images to blend" in result.stderr
    result = run_ensad("blend", "--members", "fcn")
    assert result.exit_code == 3
    assert "made without test images" in result.stderr
    result = run_ensad("compare")
    assert result.exit_code == 0
    assert result.stdout.count("fcn-") == 2
