"""`ensad compare`."""

from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options

_FORMATS = ("text", "csv", "json", "parquet", "markdown")


@click.command(short_help="Print the table of everything that was tried.")
@click.option("--format", "kind", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option(
    "--blend",
    shell_complete=_completion.blends,
    help="Whose weights and share of anomalies to show.  [default: the latest blend]",
)
@click.option(
    "--anomaly-share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of anomalies in the test set, if known.  [default: the blend's, given or estimated]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write to.  [default: stdout]",
)
@_options.studies
@_options.output
def compare(
    kind: str,
    blend: str | None,
    anomaly_share: float | None,
    output: Path | None,
    studies: Path,
    say: _options.Say,
) -> None:
    """Compare members and blends, best first.

    In Python, `ensemble_ad.comparison()` gives the same table as a pandas DataFrame. AUCs are there once
    `ensad evaluate` was run. The separation (sep.) and the AUC that it implies at a share of anomalies (est. AUC) need
    no labels; the implied AUC is too high where no member sees some anomalies, and wrong where the test's normal images
    differ from the training images. A wide terminal shows more columns, a file all of them.

    \b
    Example:
      ensad compare
      ensad compare --anomaly-share 0.5
      ensad compare --format csv > table.csv
      ensad compare --format parquet -o table.parquet
    """
    import shutil
    import sys

    from ensemble_ad import storage
    from ensemble_ad.cache import list_members
    from ensemble_ad.errors import UsageError
    from ensemble_ad.saved_blend import list_blends, load_blend
    from ensemble_ad.tables import WIDTH, as_frame, render_text, table_rows

    if blend is not None:
        load_blend(studies, blend)
    if kind == "parquet" and output is None and not say.as_json:
        raise UsageError("parquet is not text; name a file with -o FILE")
    members, broken_members = list_members(studies)
    blends, broken_blends = list_blends(studies)
    for problem in (*broken_members, *broken_blends):
        say.warn(problem)
    rows = table_rows(studies, members, blends, blend, anomaly_share)
    unexplained = sum(row["estimated_share"] is not None and row["estimated_auc_low"] is None for row in rows)
    if unexplained:
        say(
            f"{unexplained} of {len(rows)} rows have no estimated AUC: none, or every one, explains their "
            "separation at this share of anomalies; it is another, or the test's normal images differ from the "
            "training images"
        )
    if not rows:
        say(f"nothing was tried yet in {studies}; run `ensad tune --family fcn --trials 50`")
    if say.as_json:
        say.result(rows=as_frame(rows), output=output)
    text = ""
    if kind == "csv":
        text = as_frame(rows).to_csv()
    elif kind == "json":
        text = (
            as_frame(rows)
            .reset_index()
            .to_json(orient="records", date_format="iso", date_unit="us", double_precision=15, indent=1)
        )
        text += "\n"
    elif kind != "parquet":
        in_terminal = output is None and sys.stdout.isatty()
        width = max(WIDTH, shutil.get_terminal_size().columns) if in_terminal else WIDTH
        text = render_text(rows, markdown=kind == "markdown", width=width)
        if in_terminal and kind == "text":
            header, line, rest = text.partition("\n")
            text = click.style(header, bold=True) + line + rest
    if output is None:
        say.result(text.removesuffix("\n"))
    else:
        with storage.whole_file(output) as part:
            if kind == "parquet":
                as_frame(rows).to_parquet(part)
            else:
                part.write_text(text, encoding="utf-8")
    if not rows:
        say.next("ensad tune --family fcn --trials 50")
    elif not blends:
        say.next("ensad blend")
    else:
        say.next("ensad submit", *(["ensad evaluate --labels FILE"] if all(row["auc"] is None for row in rows) else []))
