"""`ensad submissions`."""

import json


def test_a_submission_is_listed_with_its_score_and_note(data, studies, run_ensad):
    path = run_ensad("submit", "--note", "the first").stdout.strip()
    name = path.removeprefix("submissions/")
    assert run_ensad("submissions", "score", name, "--public", 0.84).exit_code == 0
    assert run_ensad("submissions", "score", path, "--private", 0.83, "--note", "better").exit_code == 0
    result = run_ensad("submissions")
    assert result.exit_code == 0, result.output
    cells = result.stdout.splitlines()[1].split("\t")
    assert cells[:2] == [name, "both"]
    assert cells[3:] == ["0.8400", "0.8300", "better"]
    listed = json.loads(run_ensad("submissions", "--json").stdout)["result"]["submissions"]
    assert listed[0]["public"] == 0.84


def test_what_is_not_there_is_one_line(data, studies, run_ensad):
    result = run_ensad("submissions")
    assert result.exit_code == 0
    assert "nothing was handed in from submissions yet" in result.stderr
    assert "next: ensad compare" in result.stderr
    result = run_ensad("submissions", "score", "x.csv", "--public", 1)
    assert result.exit_code == 2
    assert "there is no submission x.csv in submissions" in result.stderr
    assert run_ensad("submissions", "score", "x.csv").exit_code == 2


def test_a_note_that_cannot_be_kept_is_refused_before_the_csv_is_written(studies, tmp_path, run_ensad):
    result = run_ensad("submit", "--note", "two\nlines")
    assert result.exit_code == 2
    assert "a note must be one line" in result.stderr
    assert not list((tmp_path / "submissions").glob("*.csv"))
