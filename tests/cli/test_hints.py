"""Every command that is printed, as the next one or in an error, runs as it stands on what is there."""

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import cast

import click
import numpy as np
import pytest
from PIL import Image

from ensemble_ad.cli import main

# What is trained is trained for a moment only; the last of two options is the one that counts.
_QUICKER = {
    "tune": "--trials 1 --epochs 1 --max-width 128 --device cpu",
    "train": "--epochs 1 --device cpu",
    "report": "--pictures 0",
    "run": "--time 4s --families pca --device cpu",
}
_FILLED_IN = re.compile(r"(?<![\w/.])[A-Z]{2,}(?:\.csv)?\b")
_SERVES = "dashboard"
# Where the fixture's images lay when its members were made.
_DATA = re.compile(r" ?--data /\S+")
_NAMED = " --blend both --data d --studies 'my studies'"
PLACES = {"data": "--data 'my data'", "studies": "--studies 'my studies'"}


def hints(said: str) -> list[str]:
    """The commands that a text names: behind `next:` and in backticks, without those that have words to fill in."""
    found = [
        command for line in said.splitlines() if re.match("next[:,]", line)
        for command in line.partition(": ")[2].split(", or ")
    ]  # fmt: skip
    found += re.findall(r"`(ensad [^`]+)`", said)
    return [command for command in dict.fromkeys(found) if not _FILLED_IN.search(command)]


@pytest.fixture
def follow(run_ensad):
    """Runs a command, then what it hints at, then what that hints at; returns each command with what it said."""

    def run(command: str, *, code: int = 0, depth: int = 3) -> dict[str, str]:
        words = shlex.split(command)
        result = run_ensad(*words[1:], *shlex.split(_QUICKER.get(words[1], "")))
        assert result.exit_code == code, f"{command}\n{result.output}"
        seen = {command: result.stderr}
        for hint in hints(result.stderr) if depth else []:
            if hint not in seen and _SERVES not in hint:
                seen |= run(hint, depth=depth - 1)
        return seen

    return run


@pytest.mark.slow
def test_what_the_demo_advises_runs(follow):
    ran = follow("ensad demo --out 'my demo'", depth=1)
    assert {"ensad report --data 'my demo/data' --studies 'my demo/studies'"} <= ran.keys()


def test_hints_are_found_in_text():
    text = "next: ensad submit, or ensad evaluate --labels FILE\nError: none; run `ensad blend --studies x` first\n"
    assert hints(text) == ["ensad submit", "ensad blend --studies x"]
    assert hints("next, on the other machine: ensad import a.zip\n") == ["ensad import a.zip"]


def _texts(path: Path) -> Iterator[str]:
    """The texts of a module but for docstrings, X where values are filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed |= set(map(id, node.values))
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.value


def test_every_command_in_the_packages_texts_can_be_typed():
    """One that is only a name is a mention; the others have options that there are, with values, and lack none."""
    typed = 0
    for path in Path(str(files("ensemble_ad"))).rglob("*.py"):
        for text in _texts(path):
            for command in [*re.findall(r"`(ensad [^`]+)`", text), *re.findall(r"^ensad (?!X$).+", text)]:
                found, words = _named(command.partition(" ")[2])
                given = found.make_parser(click.Context(found)).parse_args(list(words))[0] if words else {}
                lacking = [param.name for param in found.params if param.required and isinstance(param, click.Option)]
                assert not words or set(lacking) <= set(given), f"{path.name}: {command}"
                typed += bool(words)
    assert typed > 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("data check", 0), ("families", 0), ("compare", 0), ("blend", 2), ("evaluate", 2), ("audit", 2),
        ("submit", 2), ("report", 2), ("export", 2), ("score data/testingset.npy", 2), ("submit --blend mine", 2),
        ("dashboard", 2), ("train --preset pca-10", 0),
    ],
)  # fmt: skip
def test_what_is_advised_where_nothing_was_made_leads_to_a_submission(follow, data, command, code):
    ran = follow(f"ensad {command}", code=code, depth=5)
    assert any(each.startswith("ensad submit") for each in ran), list(ran)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "data check", "blend", "blend --members resnet", "evaluate", "evaluate --blend both", "audit", "compare",
        "compare --blend both", "compare --failed", "submit", "submit --blend both", "report", "export",
        "score data/testingset.npy --alarm-rate 0.1", "import --template held_out.csv",
    ],
)  # fmt: skip
@pytest.mark.parametrize("named", [False, True], ids=["default folders", "named folders"])
def test_what_is_advised_after_a_command_runs(follow, data, studies, tmp_path, command, named):
    if named:
        data.rename(tmp_path / "my data")
        studies.rename(tmp_path / "my studies")
        known = {param.name for param in _named(command)[0].params}
        places = [place for name, place in PLACES.items() if name in known]
        command = " ".join([command.replace("data/testingset.npy", "'my data/testingset.npy'"), *places])
    follow(f"ensad {command}")


def _named(command: str) -> tuple[click.Command, list[str]]:
    """What a command's words call, and the words after that."""
    found, words = cast("click.Command", main), shlex.split(command)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        found = found.commands[words.pop(0)]
    return found, words


@pytest.mark.parametrize(
    ("command", "code", "wanted"),
    [
        ("blend --members vae", 2, ["compare --studies 'my studies'"]),
        ("submit --blend none", 2, []),
        ("latent --member fcn-0123456789ab", 2, ["compare --studies 'my studies'"]),
        ("submit --blend both", 0, ["compare --blend both --studies 'my studies'", "submissions"]),
        ("compare --blend both", 0, ["report" + _NAMED, "submit" + _NAMED]),
        ("export both", 0, ["import both.zip"]),
        ("import both.zip", 3, ["export --studies 'my studies'"]),
    ],
)
def test_a_hint_keeps_the_folders_and_the_blend_that_were_named(run_ensad, studies, tmp_path, command, code, wanted):
    studies.rename(tmp_path / "my studies")
    result = run_ensad(*command.split(), "--studies", "my studies")
    assert result.exit_code == code
    assert [_DATA.sub(" --data d", hint) for hint in hints(result.stderr)] == [f"ensad {each}" for each in wanted]


def test_where_only_one_family_was_tuned_no_other_is_advised(follow, data, studies):
    for folder in (studies / "members").glob("resnet-*"):
        shutil.rmtree(folder)
    shutil.rmtree(studies / "blends")
    ran = follow("ensad submit", code=2)
    assert list(ran)[:2] == ["ensad submit", "ensad blend"]
    assert not any("resnet" in command for command in ran)


def test_a_study_without_a_trial_is_advised_again_as_it_was_asked_for(run_ensad, data, tmp_path):
    command = (
        "tune --family fcn --epochs 1 --max-width 128 --no-prune --flips --timeout 0 --trials 2 --seed 3 --device cpu "
        "--storage sqlite:///my.db --studies 'my studies' -v"
    )
    result = run_ensad(*shlex.split(command))
    assert "no trial was completed; raise --trials or --timeout" in result.stderr
    (hint,) = hints(result.stderr)
    words = shlex.split(hint)
    assert "--timeout" not in words
    assert {"--no-prune", "--flips", "my studies", "sqlite:///my.db", "--max-width", "cpu"} <= set(words)
    assert words[words.index("--trials") + 1] == "2"
    done = run_ensad(*words[1:])
    assert "2 finished trials" in done.stderr
    assert hints(done.stderr) == ["ensad blend --members fcn --studies 'my studies'"]


def test_a_text_that_only_looks_like_a_command_stays_as_it_is(run_ensad, studies, tmp_path):
    (studies / "blends" / "both" / "blend.json").write_text("`ensad 'x`")
    result = run_ensad("submit", "--studies", "studies")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1


def test_a_password_is_not_repeated(run_ensad, data):
    result = run_ensad(
        "tune", "--family", "fcn", "--timeout", "0", "--trials", "1", "--artifacts", "file:///tmp?password=secret",
        "--storage", "sqlite:///my.db",
    )  # fmt: skip
    assert "secret" not in result.output


def test_without_test_images_nothing_is_handed_in_by_advice(follow, run_ensad, data):
    (data / "testingset.npy").unlink()
    ran = follow("ensad tune --family fcn --trials 1", depth=2)
    assert any(command.startswith("ensad report") for command in ran)
    assert not any(command.startswith("ensad submit") for command in ran)


def test_the_hint_names_its_data_set_where_another_was_the_last(follow, run_ensad, data, tmp_path):
    tune = "ensad tune --family pca --trials 1 --device cpu"
    follow(tune, depth=0)
    other = Path(shutil.copytree(data, tmp_path / "other"))
    np.save(other / "testingset.npy", np.load(other / "testingset.npy")[::-1])
    follow(f"{tune} --data other", depth=0)
    ran = follow(tune, depth=1)
    (blend,) = (command for command in ran if command.startswith("ensad blend"))
    assert "--members pca --dataset " in blend
    ran = follow(f"{tune} --data other", depth=1)
    assert "ensad blend --members pca --data other" in ran


def test_beside_a_damaged_blend_a_sound_one_is_named(follow, run_ensad, data, studies):
    run_ensad("blend", "--members", "fcn", "--name", "other")
    (studies / "blends" / "other" / "blend.json").write_text("{")
    ran = follow("ensad compare", depth=1)
    assert {"ensad report --blend both", "ensad submit --blend both"} <= {_DATA.sub("", hint) for hint in ran}


@pytest.fixture
def pictures(tmp_path, photos) -> Path:
    """Folders of pictures in `some data`."""
    for name, some in (("train", photos(84, 32, 3)[:80]), ("test", photos(84, 32, 3)[80:])):
        folder = tmp_path / "some data" / name
        folder.mkdir(parents=True)
        for number, pixels in enumerate(some):
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "some data"


@pytest.mark.slow
def test_a_folder_of_pictures_gets_no_kaggle_line_and_needs_no_id(follow, run_ensad, pictures):
    ran = follow("ensad data check --data 'some data'", depth=5)
    submitted = [command for command in ran if command.startswith("ensad submit")]
    assert submitted == ["ensad submit --data 'some data'"], "the blend knows where its data lies"
    assert "kaggle" not in "".join(ran.values())
    assert "kaggle competitions submit -c mine" in run_ensad("submit", "--competition", "mine").stderr
    key = next(Path("studies/members").iterdir()).name
    result = run_ensad("latent", "--member", key, "--data", "some data", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert np.asarray(Image.open("latent.png")).ndim == 3


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readmes_three_commands_work_on_ones_own_data(run_ensad, data, tmp_path):
    block = README.partition("Step by step")[2].partition("```\nensad")[2].partition("```")[0]
    commands = [line.partition("#")[0].strip() for line in f"ensad{block}".splitlines()]
    assert [command.split()[1] for command in commands] == ["tune", "blend", "submit"]
    for command in commands:
        words = command.split()
        result = run_ensad(*words[1:], *shlex.split(_QUICKER.get(words[1], "")))
        assert result.exit_code == 0, f"{command}\n{result.output}"
    assert len(list((tmp_path / "submissions").glob("*.csv"))) == 1
