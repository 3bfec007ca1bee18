"""`ensad run`: one command, one budget."""

import json
import signal
import subprocess
import sys
import time

import pytest

CODE = "from ensemble_ad.cli import main; main()"
SMALL = ("--families", "pca,inpaint", "--device", "cpu")


def _command(*args):
    return [sys.executable, "-c", CODE, "run", *map(str, args)]


def test_a_run_of_trials_repeats(data, studies, run_ensad):
    first = run_ensad("run", "--trials", 3, *SMALL, "--name", "one", "--json")
    assert first.exit_code == 0, first.output
    made = json.loads(first.stdout)["result"]
    assert [trial["family"] for trial in made["trials"]] == ["inpaint", "pca", "inpaint"]
    assert (data.parent / made["path"]).read_text().count("\n") == 121
    again = run_ensad("run", "--trials", 3, *SMALL, "--name", "one", "--json", "--studies", "others")
    assert json.loads(again.stdout)["result"]["weights"] == made["weights"]


def test_a_run_goes_on_and_its_blend_is_made_anew(data, studies, run_ensad):
    before = json.loads(run_ensad("run", "--trials", 1, *SMALL, "--json").stdout)["result"]["weights"]
    for _ in range(2):  # the second time there is nothing left to train
        result = run_ensad("run", "--trials", 2, *SMALL, "--json")
        assert result.exit_code == 0, result.output
        assert "inpaint trial" not in result.stderr
        assert set(before) < set(json.loads(result.stdout)["result"]["weights"])


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
        (("--time", "soon"), "'soon' is no time; write 90s, 30m, 2h or 1h30m"),
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
    for seconds in (12, 20):
        started = time.monotonic()
        result = run_ensad("run", "--time", f"{seconds}s", "--families", "fcn,pca", "--device", "cpu")
        assert result.exit_code == 0, result.output
        assert time.monotonic() - started < seconds + 10
        assert "separation" in result.stderr
    assert json.loads((data.parent / "studies/runs/run.json").read_text())["used"] > 12


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_has_written_its_csv(data, studies, tmp_path, number):
    process = subprocess.Popen(
        _command("--time", "10m", *SMALL), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "studies/blends/run/blend.json").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to go on" in errors
    assert len(list((tmp_path / "submissions").glob("*-run.csv"))) == 1


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(data, studies, tmp_path, run_ensad):
    for _ in range(3):
        process = subprocess.Popen(
            _command("--trials", 4, *SMALL), cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(4)
        process.kill()
        process.wait()
    result = run_ensad("run", "--trials", 4, *SMALL, "--json")
    assert result.exit_code == 0, result.output
    members = list((tmp_path / "studies/members").glob("pca-*"))
    assert len(members) + len(list((tmp_path / "studies/members").glob("inpaint-*"))) == 4


def test_a_run_without_a_look_is_blended_by_pseudo_anomalies(data, run_ensad):
    result = run_ensad("run", "--trials", 2, *SMALL, "--no-look")
    assert result.exit_code == 0, result.output
    assert "next: ensad submit" in result.stderr
    assert not (data.parent / "submissions").exists()
    gains = [trial["gain"] for trial in json.loads((data.parent / "studies/runs/run.json").read_text())["done"]]
    assert gains[0] > 0.1
    assert run_ensad("submit", "--blend", "run").exit_code == 0
