"""How a blend shows itself in Python: one line, and a small table for notebooks."""

from collections.abc import Mapping, Sequence
from html import escape

from ensemble_ad.members.measured import Measured
from ensemble_ad.statistics import Estimate

_NAMED, _LISTED = 3, 12


def in_a_line(method: str, weights: Mapping[str, float], separation: Estimate | Measured | None) -> str:
    """The method, the heaviest members and the separation."""
    heaviest = sorted(weights.items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{name} {weight:.2f}" for name, weight in heaviest[:_NAMED])
    more = ", ..." if len(heaviest) > _NAMED else ""
    judged = "" if separation is None else f"; separation {with_error(separation)}"
    return f"{method} of {len(heaviest)}: {named}{more}{judged}"


def with_error(estimate: Estimate | Measured) -> str:
    """A value with its standard error."""
    return f"{estimate.value:.3f} ± {estimate.standard_error:.3f}"


def as_html(facts: Mapping[str, str], head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Facts above a table of at most a dozen rows; names may come from strangers' files and are escaped."""
    above = "".join(f"<div><b>{escape(name)}</b> {escape(text)}</div>" for name, text in facts.items())
    cells = "".join(_row("td", row) for row in rows[:_LISTED])
    left_out = f"<div>and {len(rows) - _LISTED} more</div>" if len(rows) > _LISTED else ""
    return f"<div>{above}<table><thead>{_row('th', head)}</thead><tbody>{cells}</tbody></table>{left_out}</div>"


def _row(tag: str, cells: Sequence[str]) -> str:
    left = ' style="text-align: left"'
    return f"<tr>{''.join(f'<{tag}{left * (i == 0)}>{escape(cell)}</{tag}>' for i, cell in enumerate(cells))}</tr>"
