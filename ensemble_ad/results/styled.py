"""The comparison table as a notebook shows it."""

import pandas as pd

_SHOWN = {
    "kind": None, "source": None, "auc": "{:.3f}", "auc_low": "{:.3f}", "auc_high": "{:.3f}", "separation": "{:.3f}",
    "estimated_auc": "{:.3f}", "estimated_auc_low": "{:.3f}", "estimated_auc_high": "{:.3f}", "weight": "{:.3f}",
    "flag": None, "transductive": None,
}  # fmt: skip
_BARS = {"auc": "#e7a58e", "separation": "#9db9cf", "weight": "#d9d4c7"}
_MOST = 40


class StyledTable(pd.DataFrame):
    """A data frame whose main columns a notebook shows, with bars; what is made of it is a plain data frame."""

    def _repr_html_(self) -> str:
        known = [name for name in _SHOWN if name in self.columns and self[name].notna().any()]
        table = pd.DataFrame(self)[known].head(_MOST)
        style = table.style.format({name: form for name, form in _SHOWN.items() if form and name in known}, na_rep="")
        style = style.format(escape="html", na_rep="", subset=[name for name in known if not _SHOWN[name]])
        style = style.format_index(escape="html")
        for name, colour in _BARS.items():
            if name in known:
                values = table[name].astype(float)
                style = style.bar(
                    subset=[name], color=colour, vmin=0.0 if name == "weight" else min(0.5, values.min()), vmax=1.0
                )
        rest = len(self.columns) - len(known)
        note = f"<div>{len(self)} rows, {rest} more columns in the data frame</div>"
        return f"{style.to_html()}{note}"
