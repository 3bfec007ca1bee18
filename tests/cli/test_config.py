"""A flag beats an environment variable beats ensad.toml beats the default."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.core import ParameterSource

import ensemble_ad as ea
from ensemble_ad.cli import main
from ensemble_ad.cli._config import read_defaults
from ensemble_ad.errors import UsageError

OPTIONS = {
    "tune": {"data": "data", "max-width": "max_width", "labels": "labels", "quiet": "quiet"},
    "evaluate": {"data": "data", "labels": "labels"},
    "compare": {"format": "kind", "quiet": "quiet"},
    "data check": {"data": "data"},
}


@pytest.fixture
def read(tmp_path):
    """What `ensad.toml` of that text gives."""

    def call(text: str):
        (tmp_path / "ensad.toml").write_text(text)
        return read_defaults(tmp_path / "ensad.toml", OPTIONS)

    return call


def test_a_missing_file_gives_no_defaults(tmp_path):
    assert read_defaults(tmp_path / "ensad.toml", OPTIONS) == {}


def test_a_key_at_the_top_holds_for_every_command_that_has_it(read):
    assert read('data = "faces"\nquiet = true') == {
        "tune": {"data": "faces", "quiet": "True"},
        "evaluate": {"data": "faces"},
        "compare": {"quiet": "True"},
        "data": {"check": {"data": "faces"}},
    }


def test_a_key_in_a_table_holds_for_that_command_and_beats_the_top(read):
    found = read('data = "faces"\n[tune]\nmax-width = 512\ndata = "others"\n["data check"]\ndata = "more"')
    assert found["tune"] == {"data": "others", "max_width": "512"}
    assert found["evaluate"] == {"data": "faces"}
    assert found["data"] == {"check": {"data": "more"}}


def test_a_key_is_the_flag_even_where_the_parameter_has_another_name(read):
    assert read('[compare]\nformat = "csv"')["compare"] == {"kind": "csv"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data = faces", "ensad.toml must be TOML: Invalid value"),
        ("a = 1\na = 2", "ensad.toml must be TOML: Cannot overwrite a value"),
        ('dat = "faces"', "sets 'dat', which no command has; the keys are data, format, max-width, quiet"),
        ("max_width = 5", "sets 'max_width', which no command has"),
        ("[tun]\n", r"has a table \[tun\], but the commands are compare, data check, evaluate, tune"),
        ("[evaluate]\nmax-width = 5", r"sets 'max-width' in \[evaluate\]; its keys are data, labels"),
        ("data = ['a', 'b']", r"must set 'data' to text, a number or true/false, not \['a', 'b'\]"),
        ("data = 2026-01-02", "must set 'data' to text, a number or true/false"),
        ("[tune]\ndata = {a = 1}", "must set 'data' to text, a number or true/false"),
        ("labels = 'labels.csv'", r"sets 'labels' for every command; set it in \[evaluate\]"),
    ],
)
def test_what_cannot_be_meant_is_refused(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["not UTF-8", "a folder"])
def test_what_cannot_be_read_is_refused(tmp_path, content):
    path = tmp_path / "ensad.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UsageError, match=r"ensad.toml must be TOML" + (" in UTF-8, .* save it" if content else "")):
        read_defaults(path, OPTIONS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_a_pipe_in_the_place_of_the_settings_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "ensad.toml")
    with pytest.raises(UsageError, match="Not a regular file"):
        read_defaults(tmp_path / "ensad.toml", OPTIONS)


def _named(run_ensad, *arguments, **environment) -> str:
    """The data folder that `data check` looks for; none of them exists."""
    result = run_ensad("data", "check", *arguments, **environment)
    assert result.exit_code == 3
    return result.stderr.removeprefix("Error: the data folder ").split()[0]


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(run_ensad, tmp_path):
    assert _named(run_ensad) == "data"
    (tmp_path / "ensad.toml").write_text('data = "file"')
    assert _named(run_ensad) == "file"
    assert _named(run_ensad, ENSAD_DATA="environment") == "environment"
    assert _named(run_ensad, "--data", "flag", ENSAD_DATA="environment") == "flag"


@pytest.mark.parametrize(
    ("text", "shown"), [("trials = 2.5", "'2.5'"), ("trials = true", "'True'"), ("[tune]\nprune = 3", "'3'")]
)
def test_a_value_that_does_not_fit_is_refused_as_a_flags_is(run_ensad, tmp_path, text, shown):
    (tmp_path / "ensad.toml").write_text(text)
    result = run_ensad("tune", "--family", "fcn")
    assert result.exit_code == 2
    assert f"{shown} is not a valid" in result.stderr


def test_every_flag_of_every_command_is_a_key(tmp_path):
    keys = main._options()
    assert {"tune", "data check", "compare", "submit"} <= keys.keys()
    for command, names in keys.items():
        text = f'["{command}"]\n' + "".join(f"{key} = 1\n" for key in names)
        (tmp_path / "ensad.toml").write_text(text)
        defaults = read_defaults(tmp_path / "ensad.toml", keys)
        for part in command.split():
            defaults = defaults[part]
        assert set(defaults) == set(names.values())


def test_a_study_takes_labels_from_its_flag_or_its_table_alone(run_ensad, tmp_path, data):
    # Labels that do not exist show who would read them: they are refused before anything is trained.
    quick = ("tune", "--family", "contrast", "--trials", 1)
    assert "say so with --transductive" in run_ensad(*quick, ENSAD_LABELS="none.csv").stderr
    assert "none.csv does not exist" in run_ensad(*quick, "--labels", "none.csv").stderr
    (tmp_path / "ensad.toml").write_text('[tune]\nlabels = "none.csv"')
    assert "none.csv does not exist" in run_ensad(*quick).stderr


# Variables


def _commands() -> Iterator[tuple[str, click.Command]]:
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())
        else:
            yield name, command


OPTIONS_OF_ALL = [
    (name, option) for name, command in _commands() for option in command.params if isinstance(option, click.Option)
]


def _upper(*words: str) -> str:
    return "_".join(["ENSAD", *words]).upper().replace(" ", "_").replace("-", "_")


def _key(option: click.Option) -> str:
    return next(flag for flag in option.opts if flag.startswith("--")).removeprefix("--")


def _sample(option: click.Option) -> str:
    """A value that is not the option's default."""
    if option.is_flag:
        return "false" if option.default else "true"
    if isinstance(option.type, click.Choice):
        return next(choice for choice in option.type.choices if choice != option.default)
    return "7" if isinstance(option.type, click.types.IntParamType) else "0.5"


def _parsed(name: str, leaving_out: str) -> click.Context:
    """A command's context where all that it requires is typed, except one option."""
    command = dict(_commands())[name]
    typed = []
    for param in command.params:
        if param.required and param.name != leaving_out:
            typed += [param.opts[0], "x"] if isinstance(param, click.Option) else ["x"]
    return command.make_context(name, typed)


@pytest.mark.parametrize(("name", "option"), OPTIONS_OF_ALL, ids=[f"{n} {o.opts[0]}" for n, o in OPTIONS_OF_ALL])
def test_every_option_of_every_command_has_its_variables(run_ensad, monkeypatch, name, option):
    key, value = _key(option), _sample(option)
    variables = [_upper(name, key)] + [_upper(key)] * ((name, key) != ("tune", "labels"))
    for variable in variables:
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            context = _parsed(name, option.name)
            assert context.get_parameter_source(option.name) == ParameterSource.ENVIRONMENT
            assert str(context.params[option.name]).lower() == value
            patch.setenv(variable, "")
            if not option.required:
                assert _parsed(name, option.name).get_parameter_source(option.name) == ParameterSource.DEFAULT


def test_no_variable_means_two_things():
    alone = [_upper(name, _key(option)) for name, option in OPTIONS_OF_ALL]
    assert len(set(alone)) == len(alone)
    assert not set(alone) & {_upper(_key(option)) for _, option in OPTIONS_OF_ALL}


def test_a_commands_own_variable_beats_the_one_for_all(run_ensad):
    assert _named(run_ensad, ENSAD_DATA="all") == "all"
    assert _named(run_ensad, ENSAD_DATA="all", ENSAD_DATA_CHECK_DATA="own") == "own"
    assert _named(run_ensad, ENSAD_DATA="all", ENSAD_DATA_CHECK_DATA="") == "all"


def test_a_variable_that_no_option_reads_is_named(run_ensad, studies):
    result = run_ensad("compare", "-q", ENSAD_STUDEIS="x", ENSAD_TUNE_TRIALS="3", ENSAD_DEVICE="cpu", ENSAD_ZZZ="1")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: no option reads ENSAD_STUDEIS; did you mean ENSAD_STUDIES?\n"
        "warning: no option reads ENSAD_ZZZ; unset it\n"
    )
    document = json.loads(run_ensad("compare", ENSAD_JSON="1", ENSAD_ZZZ="1").stdout)
    assert document["warnings"] == ["no option reads ENSAD_ZZZ; unset it"]


def test_a_value_that_does_not_fit_is_refused_with_where_it_was_set(run_ensad, tmp_path):
    assert (
        "'x' is not a valid integer (set by ENSAD_TRIALS)."
        in run_ensad("tune", ENSAD_FAMILY="fcn", ENSAD_TRIALS="x").stderr
    )
    result = run_ensad("tune", ENSAD_FAMILY="fcn", ENSAD_TUNE_TRIALS="x", ENSAD_TUNE_JSON="true")
    assert "(set by ENSAD_TUNE_TRIALS)." in json.loads(result.stdout)["error"]["message"]
    (tmp_path / "ensad.toml").write_text("[tune]\nfamily = 'fcn'\njson = true\ntrials = 'x'\n")
    assert "(set by ensad.toml)." in json.loads(run_ensad("tune").stdout)["error"]["message"]


# Empty values, the home folder, a byte-order mark


@pytest.mark.parametrize(
    "arguments",
    [
        ("blend", "--members", ""), ("blend", "--studies", ""), ("blend", "--name", ""), ("blend", "--dataset", ""),
        ("blend", "--weights", ""), ("submit", "--blend", ""), ("submit", "--sample", ""), ("tune", "--family", ""),
        ("tune", "--family", "fcn", "--objective", ""), ("tune", "--family", "fcn", "--storage", ""),
        ("tune", "--family", "fcn", "--labels", ""), ("score", ""), ("score", "data/testingset.npy", "-o", ""),
        ("export", ""), ("import", ""), ("evaluate", "--labels", ""), ("demo", "--out", ""),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_value_is_refused_and_never_taken_for_the_default(run_ensad, data, studies, tmp_path, arguments):
    result = run_ensad(*arguments)
    assert result.exit_code == 2, result.output
    assert "is empty; leave" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "studies"}


@pytest.mark.parametrize("key", ["studies", "data"])
def test_an_empty_value_in_the_file_is_refused(run_ensad, tmp_path, key):
    (tmp_path / "ensad.toml").write_text(f"{key} = ''\n")
    result = run_ensad("data", "check")
    assert result.exit_code == 2
    assert "it is empty; leave the option out, or name a path (set by ensad.toml)." in result.stderr


def test_a_tilde_is_the_home_folder_wherever_it_is_written(run_ensad, data, studies, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "mine").mkdir(parents=True)
    studies.rename(home / "mine" / "studies")
    data.rename(home / "mine" / "data")
    monkeypatch.setenv("HOME", str(home))
    assert "both" in run_ensad("compare", "--studies=~/mine/studies").stdout
    assert "both" in run_ensad("compare", ENSAD_STUDIES="~/mine/studies").stdout
    (tmp_path / "ensad.toml").write_text(
        "studies = '~/mine/studies'\ndata = '~/mine/data'\nstorage = 'sqlite:///~/mine/a.db'\n"
    )
    assert "both" in run_ensad("compare").stdout
    assert run_ensad("evaluate", "--labels=~/mine/data/labels.csv").exit_code == 0
    assert run_ensad("compare", "-o", "~/mine/table").exit_code == 0
    assert run_ensad("tune", "--family", "pca", "--trials", 1, "--device", "cpu").exit_code == 0
    assert run_ensad("score", "~/mine/data/testingset.npy", "--alarm-rate", "0.1").exit_code == 0
    assert "both" in ea.comparison("~/mine/studies").index
    assert "both" in ea.comparison(Path("~/mine/studies")).index
    assert ea.load_blend(studies="~/mine/studies", device="cpu").blend.name == "both"
    assert (home / "mine" / "a.db").exists()
    assert (home / "mine" / "table").exists()
    assert not (tmp_path / "~").exists()


def test_a_tilde_that_is_nobodys_home_stays_a_name(run_ensad, studies, tmp_path):
    studies.rename(tmp_path / "~nobody at all")
    assert "both" in run_ensad("compare", "--studies", "~nobody at all").stdout


def test_a_file_with_a_byte_order_mark_is_read(run_ensad, tmp_path):
    (tmp_path / "ensad.toml").write_text("data = 'marked'\n", encoding="utf-8-sig")
    assert _named(run_ensad) == "marked"
