"""The tutorial and the library's page: every command and every example on them runs, and prints what they say."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd
import pytest
from click.testing import CliRunner

import ensemble_ad as ea
from ensemble_ad.blend.alarm import false_alarm_rate
from ensemble_ad.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_BLOCK = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
# What differs from run to run: hashes, times, numbers after the decimal point; spaces are how wide a terminal is.
_CHANGING = (
    (r"-[0-9a-f]{12}\b", "-KEY"),
    (r"\b(\w+)-auto-[0-9a-f]{8}", r"\1-auto-STUDY"),
    (r"\d{8}-\d{6}-", "TIME-"),
    (r"[\d,]+ (alarms|images/s|images stand)", r"# \1"),
    (r"\d[\d,.]*e-\d+|\d+[.,]\d+|\b1e-\d+", "#"),
    (r"(linear|forest|mean)\S*( of \d+| \.\.)?", "METHOD"),
    (r"^\d+ s:", "# s:"),
    (r"\s+", " "),
)


class Step(NamedTuple):
    command: str
    shown: list[str]


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    for _, kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield kind.strip(), text


def _steps(page: Path) -> Iterator[Step | str]:
    """Commands with what the page shows of their output, and examples in Python, in the page's order."""
    for kind, text in _blocks(page):
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, *shown = part.splitlines()
                yield Step(command, shown)
        elif kind == "python":
            yield text


def _shape(line: str) -> str:
    for pattern, instead in _CHANGING:
        line = re.sub(pattern, instead, line)
    return line.strip()


def _run(step: Step, environment: dict[str, str]) -> str:
    """Both streams of a command: of a pipe by a shell, of another in this process, where torch is loaded already."""
    words = shlex.split(step.command)
    if words[0] == "ensad" and not {"|", ">"} & set(words):
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, f"{step.command}\n{result.output}"
        return result.output
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", step.command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, f"{step.command}\n{done.stderr}"
    return done.stderr + done.stdout


def _walk(name: str, tmp_path: Path) -> dict[str, object]:
    """Run a page's commands and examples in the working folder; what its examples have named."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ensad"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ensemble_ad "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    names: dict[str, object] = {}
    for step in _steps(ROOT / "docs" / name):
        if isinstance(step, str):
            exec(compile(step, name, "exec"), names)
            continue
        printed = [_shape(line) for line in _run(step, environment).splitlines()]
        for line in step.shown:
            # Dots stand for lines, or for the rest of one, that the page leaves out.
            wanted = _shape(line.removesuffix("..."))
            same = any(found.startswith(wanted) if line.endswith("...") else found == wanted for found in printed)
            assert same, f"$ {step.command}\nlacks {wanted!r} in\n" + "\n".join(printed)
    return names


@pytest.mark.slow
def test_the_labs_commands_run_and_print_what_the_page_says(tmp_path, run_ensad):
    _walk("lab.md", tmp_path)
    scored = pd.read_csv(tmp_path / "scores.csv")
    good = scored["ID"].str.startswith("good/")
    # What the page says of the numbers.
    assert (good.sum(), (~good).sum()) == (309, 359)
    assert 0.005 < scored.loc[good, "alarm"].mean() < 0.085
    assert scored.loc[~good, "alarm"].mean() > 0.6
    lot = pd.read_csv(tmp_path / "lot.csv")
    assert lot.loc[lot["discovery"] == 1, "ID"].str.startswith("good/").mean() < 0.1
    text = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    for held_out in (100, 1000):
        rate = false_alarm_rate(held_out, 0.05)
        assert f"{100 * rate.low:.2g}% to {100 * rate.high:.2g}%" in text


@pytest.mark.slow
def test_the_tutorials_commands_run_and_print_what_the_page_says(tmp_path, run_ensad):
    names = _walk("tutorial.md", tmp_path)
    # What the page says of the numbers.
    table = ea.comparison()
    assert table.loc["first", "auc"] > 0.95  # type: ignore[operator, arg-type]
    assert table.loc["first", "auc"] > table.loc[table["kind"] == "member", "auc"].median()  # type: ignore[operator, arg-type]
    for page in ("library.md", "report.md"):
        for text in _examples(page):
            exec(compile(text, page, "exec"), names)


def _examples(page: str) -> list[str]:
    return [text for kind, text in _blocks(ROOT / "docs" / page) if kind == "python"]


def test_the_pages_have_what_the_test_looks_for():
    steps = list(_steps(ROOT / "docs" / "tutorial.md"))
    commands = [step.command for step in steps if isinstance(step, Step)]
    assert len(commands) >= 15
    for word in (
        "demo",
        "data check",
        "run",
        "tune",
        "train",
        "blend",
        "compare",
        "submit",
        "evaluate",
        "audit",
        "score",
    ):
        assert any(command.startswith(f"ensad {word}") for command in commands), word
    assert sum(isinstance(step, str) for step in steps) == 1
    assert (len(_examples("library.md")), len(_examples("report.md"))) == (4, 1)


def _commands(page: Path) -> Iterator[str]:
    """Lines of code blocks that call ensad, without a prompt, a comment and what a shell adds."""
    for kind, text in _blocks(page):
        if kind in ("", "console", "sh", "bash"):
            for line in text.splitlines():
                found = re.match(r"(?:\$ )?(?:.*\$\()?(?:\.venv/bin/)?(ensad [^#|>;)]*)", line.strip())
                if found:
                    yield found[1].strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_every_page_exists_with_its_flags(page, monkeypatch):
    monkeypatch.setenv("ENSAD_STORAGE", "postgresql://host/database")  # as docs/scaling.md has it exported
    for command in _commands(page):
        arguments = shlex.split(command)[1:]
        with main.make_context("ensad", arguments, resilient_parsing=True) as context:
            name, found, rest = main.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, command
            if isinstance(found, click.Group):
                name, found, rest = found.resolve_command(context, rest)
                assert found is not None, command
            try:
                found.make_context(name, rest, parent=context)
            except click.UsageError as error:
                pytest.fail(f"{page.name}: {command}: {error.format_message()}")


def test_the_search_for_commands_finds_them():
    found = [command for page in PAGES for command in _commands(page)]
    assert "ensad tune --family fcn --trials 50 --workers 2" in found
    assert len(found) > 40
