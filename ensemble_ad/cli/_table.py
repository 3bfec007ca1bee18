"""Tables on stdout: ruled in a terminal, tab-separated in a pipe."""

import sys
from collections.abc import Mapping, Sequence

import click

_MOST_WEIGHTS = 20


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, keep: int | None = None) -> int:
    """Print rows of text; the first column is left-aligned, the others are right-aligned.

    Args:
        header: the columns' names.
        rows: as many cells each.
        keep: columns that are always shown; where a terminal is too narrow, those after them are left out from the
            right. None keeps all, and the terminal wraps what is too long. A pipe gets all.

    Returns:
        How many columns were left out.
    """
    if not sys.stdout.isatty():
        for row in (header, *rows):
            click.echo("\t".join(row))
        return 0
    from rich.console import Console
    from rich.table import Table

    widths = [max(map(len, column)) + 2 for column in zip(header, *rows, strict=True)]
    console = Console()
    count = len(header)
    while count > (keep or len(header)) and sum(widths[:count]) - 2 > console.width:
        count -= 1
    left_out = len(header) - count
    # Never narrower than the table: a number that is cut short is another number.
    console = Console(width=max(console.width, sum(widths[:count])))

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(header[:count]):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*row[:count])
    console.print(table, highlight=False, crop=False)
    return left_out


def print_weights(weights: Mapping[str, float], *, whole: bool) -> None:
    """Print a blend's columns, those that count most first: in a terminal twenty, unless the `whole` is wanted."""
    rows = [(name, f"{weight:.4f}") for name, weight in sorted(weights.items(), key=lambda item: -item[1])]
    more = 0 if whole or not sys.stdout.isatty() else max(0, len(rows) - _MOST_WEIGHTS)
    shown = rows[: len(rows) - more]
    print_table(("column", "weight"), shown)
    if more:
        left = sum(weights.values()) - sum(weights[name] for name, _ in shown)
        click.echo(f"and {more} more, which count {left:.4f} together: -v shows them, and so does a pipe")
