"""The bar of long work, the same in the command line and, where a detector is verbose, in Python."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_NOTEBOOK_WIDTH = 100


def progress_bar() -> "Progress":
    """A bar on stderr, not shown yet; its tasks have a field `now`, the text beside it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # A notebook draws one line over and over as a terminal does; rich's own way there needs another package.
    notebook = "ipykernel" in sys.modules
    console = Console(
        stderr=True,
        force_jupyter=False,
        force_terminal=True if notebook else None,
        width=_NOTEBOOK_WIDTH if notebook else None,
    )
    # 80 columns hold the bar, the count, the time left and what a study says beside them.
    return Progress(
        SpinnerColumn(),  # moves where a step takes long, as the decoding of pictures or a family in closed form
        BarColumn(bar_width=6),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
        TextColumn("{task.fields[now]}", table_column=Column(no_wrap=True)),
        console=console,
    )
