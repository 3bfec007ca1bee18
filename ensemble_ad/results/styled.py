"""The comparison table as a notebook shows it."""

import pandas as pd

_SHOWN = {
    "kind": None, "source": None, "auc": "{:.3f}", "auc_low": "{:.3f}", "auc_high": "{:.3f}", "separation": "{:.3f}",
    "estimated_auc": "{:.3f}", "estimated_auc_low": "{:.3f}", "estimated_auc_high": "{:.3f}", "weight": "{:.3f}",
    "flag": None, "transductive": None,
}  # fmt: skip
_BARS = {"auc": "#e7a58e", "separation": "#9db9cf", "weight": "#d9d4c7"}
_MOST = 40


def styled(table: pd.DataFrame) -> pd.DataFrame:
    """The same data frame, whose main columns a notebook shows with bars; what is made of it is shown as usual."""
    # On this one object, since a subclass would be another type to whoever compares data frames.
    vars(table)["_repr_html_"] = lambda: _html(table)
    return table


def _html(whole: pd.DataFrame) -> str:
    known = [name for name in _SHOWN if name in whole.columns and whole[name].notna().any()]
    table = whole[known].head(_MOST)
    style = table.style.format({name: form for name, form in _SHOWN.items() if form and name in known}, na_rep="")
    style = style.format(escape="html", na_rep="", subset=[name for name in known if not _SHOWN[name]])
    style = style.format_index(escape="html")
    for name, colour in _BARS.items():
        if name in known:
            least = 0.0 if name == "weight" else min(0.5, float(table[name].min()))
            style = style.bar(subset=[name], color=colour, vmin=least, vmax=1.0)
    rest = len(whole.columns) - len(known)
    return f"{style.to_html()}<div>{len(whole)} rows, {rest} more columns in the data frame</div>"
