"""What every command promises: an example, results on stdout and all else on stderr, no torch without need."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest

import ensemble_ad as ea
from ensemble_ad import cli
from ensemble_ad.cli import main
from ensemble_ad.results import comparison as tables


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


def test_the_help_of_a_group_has_an_example_too(run_ensad):
    groups = [name for name, command in main.commands.items() if isinstance(command, click.Group)]
    assert groups
    for name in groups:
        assert f"Example:\n    ensad {name} " in run_ensad(name, "--help").stdout
    assert "ensad submit" in run_ensad("--help").stdout


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


# What is imported, and how long it takes

_HEAVY = ("torch", "torchvision", "optuna")
_RUN = """
import sys
from ensemble_ad.cli import main
heavy, *arguments = sys.argv[1:]
main(arguments, standalone_mode=False)
sys.exit(", ".join(sorted({*heavy.split()} & sys.modules.keys())) or 0)
"""


def _in_a_process(folder, *arguments: str, heavy=_HEAVY) -> subprocess.CompletedProcess[str]:
    """Run `ensad`; it fails, with their names on stderr, if it has imported some of `heavy`."""
    command = [sys.executable, "-c", _RUN, " ".join(heavy), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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


def test_the_table_in_the_terminal_needs_neither_numpy_nor_pandas(tmp_path, run_ensad, data, studies):
    run_ensad("evaluate")
    for options, imported in (((), ""), (("--format", "csv"), "numpy, pandas\n")):
        result = _in_a_process(tmp_path, "compare", "-q", *options, heavy=("numpy", "pandas", "scipy"))
        assert result.stderr == imported
        assert "both" in result.stdout


@pytest.mark.slow
def test_the_probe_for_torch_finds_it_where_it_is(tmp_path):
    result = _in_a_process(tmp_path, "families", "-q")
    assert "torch" in result.stderr


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
