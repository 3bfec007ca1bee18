"""A flag beats an environment variable beats ensad.toml beats the default."""

import pytest

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
    with pytest.raises(UsageError, match=r"ensad.toml must be TOML"):
        read_defaults(path, OPTIONS)


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
    quick = ("tune", "--family", "none", "--trials", 1)
    assert "unknown family" in run_ensad(*quick, ENSAD_LABELS="none.csv").stderr
    assert "none.csv does not exist" in run_ensad(*quick, "--labels", "none.csv").stderr
    (tmp_path / "ensad.toml").write_text('[tune]\nlabels = "none.csv"')
    assert "none.csv does not exist" in run_ensad(*quick).stderr
