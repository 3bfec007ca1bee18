"""`ensad run`: one command, one budget."""

import io
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from ensemble_ad.anytime.standing import Standing
from ensemble_ad.cli import main
from ensemble_ad.cli._output import Say
from ensemble_ad.cli._run_watcher import COLUMNS, _RunWatcher

CODE = "from ensemble_ad.cli import main; main()"
SMALL = ("--families", "pca,inpaint", "--device", "cpu")


def _command(*args):
    return [sys.executable, "-c", CODE, "run", *map(str, args)]


def test_a_run_of_trials_repeats(data, run_ensad):
    line = ("run", "--trials", 5, "--families", "pca,fcn", "--device", "cpu", "--name", "one", "--json")
    first = run_ensad(*line)
    assert first.exit_code == 0, first.output
    made = json.loads(first.stdout)["result"]
    families = [trial["family"] for trial in made["trials"]]
    assert (len(families), set(families)) == (5, {"fcn", "pca"})
    assert (data.parent / made["path"]).read_text().count("\n") == 121
    again = run_ensad(*line, "--studies", "others")
    other = json.loads(again.stdout)["result"]
    assert [trial["family"] for trial in other["trials"]] == families
    assert other["weights"] == made["weights"]
    assert [value for _, value in other["curve"]] == [value for _, value in made["curve"]]


def test_a_run_goes_on_and_its_blend_is_made_anew(data, studies, run_ensad):
    before = json.loads(run_ensad("run", "--trials", 1, *SMALL, "--json").stdout)["result"]["weights"]
    for _ in range(2):  # the second time there is nothing left to train
        result = run_ensad("run", "--trials", 2, *SMALL, "--json")
        assert result.exit_code == 0, result.output
        assert "inpaint trial" not in result.stderr
        assert set(before) < set(json.loads(result.stdout)["result"]["weights"])
    page = run_ensad("report", "--blend", "run", "--pictures", 0)
    assert "The blend of ensad run after each new member" in (data.parent / page.stdout.strip()).read_text()


def test_trials_are_shared_with_tune_both_ways(data, studies, run_ensad):
    run_ensad("tune", "--family", "pca", "--trials", 1, "-q")
    result = run_ensad("run", "--trials", 1, "--families", "pca")
    assert "pca trial 1 complete" in result.stderr
    result = run_ensad("tune", "--family", "pca", "--trials", 2)
    assert "2 of 2 trials finished" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give one of --time 30m and --trials 20"),
        (("--time", "1m", "--trials", "2"), "give one of --time 30m and --trials 20"),
        *(
            (("--time", text), f"{text!r} is no time; write 90s, 30m, 2h or 1h30m")
            for text in ("soon", "-5", "1.5h", "30 m", "2d", "1m2h", "inf")
        ),
        (("--time", "0s"), "--time must be more than 0 seconds"),
        (("--time", "9" * 400 + "h"), "is more than a year; write 8760h at most"),
        (("--time", "1m", "--families", "nosuch"), "unknown family 'nosuch'"),
        (("--trials", "1", "--name", "../x"), "a blend's name must be"),
    ],
)
def test_what_cannot_be_run_is_one_line(data, run_ensad, args, message):
    result = run_ensad("run", *args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list((data.parent / "studies").glob("members/*"))


def test_a_blend_that_no_run_has_made_is_not_replaced(data, studies, run_ensad):
    run_ensad("tune", "--family", "pca", "--trials", 1, "-q")
    run_ensad("blend", "--name", "mine", "-q")
    result = run_ensad("run", "--trials", 1, *SMALL, "--name", "mine")
    assert result.exit_code == 2
    assert "'mine' is taken by a blend that no run has made" in result.stderr


@pytest.mark.slow
def test_the_time_is_kept_and_a_longer_one_tops_up(data, studies, run_ensad):
    for seconds in (8, 13):
        started = time.monotonic()
        result = run_ensad("run", "--time", f"{seconds}s", "--families", "fcn,pca", "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert time.monotonic() - started < seconds + 10
        assert "separation" in result.stderr
    assert json.loads((data.parent / "studies/runs/run.json").read_text())["used"] > 8


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_has_written_its_csv(data, studies, tmp_path, number):
    process = subprocess.Popen(
        _command("--time", "10m", *SMALL),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Whoever runs these tests in the background of a shell has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "studies/blends/run/blend.json").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to go on" in errors
    assert len(list((tmp_path / "submissions").glob("*-run.csv"))) == 1


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_as_one_that_is_not(data, studies, tmp_path, run_ensad):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ensemble_ad.anytime.run", "ensemble_ad.search.workers"])
    line, moments = ("run", "--trials", "12", "--families", "pca", "--device", "cpu"), random.Random(7)
    for _ in range(20):
        process = context.Process(target=_in_folder, args=(tmp_path, line), daemon=True)
        process.start()
        process.join(moments.uniform(0.0, 2.0))
        process.kill()
        process.join()
    killed = run_ensad(*line, "--json")
    assert killed.exit_code == 0, killed.output
    whole = run_ensad(*line, "--json", "--studies", "whole")
    weights = [json.loads(result.stdout)["result"]["weights"] for result in (killed, whole)]
    assert {key for key in weights[0] if key.startswith("pca-")} == set(weights[1])
    keys = [{path.name for path in (tmp_path / name / "members").glob("pca-*")} for name in ("studies", "whole")]
    assert len(keys[0]) == 12
    assert keys[0] == keys[1]


def _in_folder(folder, line):
    os.chdir(folder)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main(list(line))


def test_a_run_without_a_look_is_blended_by_pseudo_anomalies(data, run_ensad):
    result = run_ensad("run", "--trials", 2, *SMALL, "--no-look")
    assert result.exit_code == 0, result.output
    assert "next: ensad submit" in result.stderr
    assert not (data.parent / "submissions").exists()
    gains = [trial["gain"] for trial in json.loads((data.parent / "studies/runs/run.json").read_text())["done"]]
    assert gains[0] > 0.1
    assert run_ensad("submit", "--blend", "run").exit_code == 0


def test_a_terminal_shows_the_families_and_how_the_blend_has_grown():
    watcher, page = _RunWatcher(Say(0), 60.0, None), io.StringIO()
    watcher.turn("pca", 3.0, 50.0)
    watcher.trained([Standing(family="pca", trials=2, best=0.8123, gain=0.25, seconds=4.2)])
    watcher._curve = [(float(second), second / 100) for second in range(1, 91)]
    Console(file=page, width=100).print(watcher.table())
    text = page.getvalue()
    assert text.splitlines()[0].split() == list(COLUMNS)
    assert text.splitlines()[1].split() == ["pca", "2", "0.8123", "+0.2500", "4"]
    assert text.splitlines()[2].startswith("10 s of 60 s: ")
    assert "1 s 0.0100, 19 s 0.1900, 37 s 0.3700, 54 s 0.5400, 72 s 0.7200, 90 s 0.9000" in text
