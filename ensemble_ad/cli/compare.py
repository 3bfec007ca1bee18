"""`ensad compare`."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options
from ensemble_ad.errors import FIRST_STUDY

if TYPE_CHECKING:
    import pandas as pd

    from ensemble_ad.results.comparison import Row

_FORMATS = ("text", "csv", "json", "parquet", "markdown")


@click.command(short_help="Print the table of everything that was tried.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option(
    "--blend",
    shell_complete=_completion.blends,
    help="Blend whose weights and share of anomalies to show.  [default: the latest blend]",
)
@click.option(
    "--anomaly-share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of anomalies in the test set, if known.  [default: the blend's, given or estimated]",
)
@click.option(
    "-o",
    "--output",
    type=_options.OUTPUT_FILE,
    help="File to write to.  [default: stdout]",
)
@click.option("--failed", is_flag=True, help="The trials that failed instead, with the reason of each.")
@click.option("--storage", type=_options.URL,
              help="For --failed: Optuna storage URL.  [default: SQLite in the studies' folder]")  # fmt: skip
@_options.studies
@_options.output
def compare(
    kind: str,
    blend: str | None,
    anomaly_share: float | None,
    output: Path | None,
    failed: bool,
    storage: str | None,
    studies: Path,
    say: _options.Say,
) -> None:
    """Compare members and blends, best first.

    In Python, `ensemble_ad.comparison()` gives the same table as a pandas DataFrame. AUCs are there once
    `ensad evaluate` was run. The separation (sep.) and the AUC that it implies at a share of anomalies (est. AUC) need
    no labels; the implied AUC is too high where no member sees some anomalies, and wrong where the test's normal images
    differ from the training images. A wide terminal shows more columns, a file all of them.

    With --failed: trials whose training diverged, found no memory or raised something (failed), that a full disk or the
    like stopped and that the next `ensad tune` does again (stopped), and whose process was killed ten times (given up).

    \b
    Example:
      ensad compare
      ensad compare --anomaly-share 0.5
      ensad compare --format csv > table.csv
      ensad compare --format parquet -o table.parquet
      ensad compare --failed
    """
    from ensemble_ad.errors import UsageError

    if kind == "parquet" and output is None and not say.as_json:
        raise UsageError("parquet is not text; name a file with -o FILE")
    if failed:
        if blend is not None or anomaly_share is not None:
            raise UsageError("--failed shows trials, which have no blend; leave --blend and --anomaly-share out")
        _failed(kind, output, studies, storage, say)
        return
    from ensemble_ad.blend.saved import list_blends, load_blend
    from ensemble_ad.cli import _folders
    from ensemble_ad.members.store import list_members
    from ensemble_ad.results.comparison import as_frame, table_rows

    if blend is not None:
        load_blend(studies, blend)
    members, broken_members = list_members(studies)
    blends, broken_blends = list_blends(studies)
    for problem in (*broken_members, *broken_blends):
        say.warn(problem)
    rows = table_rows(studies, members, blends, blend, anomaly_share)
    judged_by = next((b for b in reversed(blends) if blend in (None, b.name)), None)
    if judged_by is not None and all(row["estimated_auc"] is None for row in rows) and anomaly_share is None:
        say(judged_by.estimate_in_words())
    unexplained = sum(row["estimated_share"] is not None and row["estimated_auc_low"] is None for row in rows)
    if unexplained:
        say(
            f"{unexplained} of {len(rows)} rows have no estimated AUC: none, or almost every one, explains their "
            "separation at this share of anomalies; it is another, or the test's normal images differ from the "
            "training images"
        )
    if not rows:
        say(f"nothing was tried yet in {studies}; run `{FIRST_STUDY}`")
    in_terminal = output is None and sys.stdout.isatty()
    _write(lambda: as_frame(rows), kind, output, lambda markdown: _text(rows, markdown, in_terminal), say)
    if not rows:
        say.next(FIRST_STUDY)
    elif not blends:
        say.next(_folders.blending(studies, members))
    else:
        unjudged = all(row["auc"] is None for row in rows)
        hints = ["ensad report", "ensad submit", *(["ensad evaluate --labels FILE"] if unjudged else [])]
        if blends[-1].info.separation is None:  # there are no test images to hand in, or none that may be looked at
            hints = ["ensad report", f"ensad export {blends[-1].name}"]
        # Beside a damaged blend, which may be the latest, no command takes one that is not named.
        places = _folders.data_of(studies, blends[-1].data) | ({"blend": blends[-1].name} if broken_blends else {})
        say.next(*hints, **places)


def _text(rows: "list[Row]", markdown: bool, in_terminal: bool) -> str:
    """The table as text; a terminal shows as many columns as fit, and a bold header."""
    from ensemble_ad.results.comparison_text import WIDTH, render_text

    width = max(WIDTH, shutil.get_terminal_size().columns) if in_terminal else WIDTH
    text = render_text(rows, markdown=markdown, width=width)
    header, line, rest = text.partition("\n")
    return click.style(header, bold=True) + line + rest if in_terminal and not markdown else text


def _failed(kind: str, output: Path | None, studies: Path, url: str | None, say: _options.Say) -> None:
    from ensemble_ad.search.failures import failures, render_text

    table = failures(studies, url)
    if table.empty:
        say("no trial has failed")
    frame = table.set_index("study")
    _write(lambda: frame, kind, output, lambda markdown: render_text(table, markdown=markdown), say)
    say.next("ensad compare")


def _write(
    frame: "Callable[[], pd.DataFrame]",
    kind: str,
    output: Path | None,
    render: Callable[[bool], str],
    say: _options.Say,
) -> None:
    """Write a table; its frame is asked for only where it is needed, since pandas takes longer to load than a table."""
    from ensemble_ad.files.whole import whole_file

    if say.as_json:
        say.result(rows=frame(), output=output)
    text = ""
    if kind == "csv":
        text = _without_formulas(frame()).to_csv()
    elif kind == "json":
        table = frame().reset_index()
        text = table.to_json(orient="records", date_format="iso", date_unit="us", double_precision=15, indent=1) + "\n"
    elif kind != "parquet":
        text = render(kind == "markdown")
    if output is None:
        say.result(text.removesuffix("\n"))
        return
    with whole_file(output, named_by_user=True) as part:
        if kind == "parquet":
            frame().to_parquet(part)
        else:
            part.write_text(text, encoding="utf-8")


def _without_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table with an apostrophe before what a spreadsheet would take for a formula; members come from strangers."""
    from ensemble_ad.files.text import is_formula

    def plain(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and is_formula(cell) else cell

    columns = {name: table[name].map(plain) for name in table.columns if table[name].dtype == "string"}
    return table.assign(**columns)
