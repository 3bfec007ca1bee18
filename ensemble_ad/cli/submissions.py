"""`ensad submissions`."""

from pathlib import Path

import click

from ensemble_ad.cli import _options


@click.group(short_help="List what was handed in, with the scores that came back.", invoke_without_command=True)
@_options.submissions
@_options.output
@click.pass_context
def submissions(ctx: click.Context, submissions: Path, say: _options.Say) -> None:
    """List the CSVs in the submissions' folder: their blend, its separation then, your note and the contest's scores.

    \b
    Example:
      ensad submissions score 20261125-213225-run.csv --public 0.84
      ensad submissions
    """
    if ctx.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from ensemble_ad.cli._table import print_table
    from ensemble_ad.results.handed_in import handed_in

    found = handed_in(submissions)
    say.result(submissions=[{"file": name, **asdict(each)} for name, each in found.items()])
    if not found:
        say(f"nothing was handed in from {submissions} yet")
        say.next("ensad compare")  # which knows whether there is a blend to submit
        return
    rows = [
        (name, each.blend or "-", *(_shown(n) for n in (each.separation, each.public, each.private)), each.note)
        for name, each in found.items()
    ]
    if not say.as_json:
        print_table(("file", "blend", "separation", "public", "private", "note"), rows, keep=5)
    say.next("ensad submissions score FILE --public SCORE")


@submissions.command(short_help="Note the score that a submission got.")
@click.argument("file", type=_options.PATH)
@click.option("--public", type=float, help="Score on the public leaderboard.")
@click.option("--private", type=float, help="Score on the private leaderboard.")
@click.option("--note", help="A line about it.")
@_options.submissions
@_options.output
def score(
    file: Path, public: float | None, private: float | None, note: str | None, submissions: Path, say: _options.Say
) -> None:
    """Note what the contest gave for a submission, or a line about it.

    FILE is the CSV's name in the submissions' folder, or a path to it.

    \b
    Example:
      ensad submissions score 20261125-213225-run.csv --public 0.84 --note "with contrast"
    """
    from dataclasses import asdict

    from ensemble_ad.errors import UsageError
    from ensemble_ad.results.handed_in import note_submission

    if public is None and private is None and note is None:
        raise UsageError("give --public, --private or --note")
    path = file if file.parent != Path() else submissions / file
    noted = note_submission(path, public=public, private=private, note=note)
    say.result(file=path.name, **asdict(noted))
    say(f"noted for {path.name}")
    say.next("ensad submissions")


def _shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"
