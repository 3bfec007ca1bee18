"""What has to be said below a comparison table; the terminal and the report each give it their own form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemble_ad.results.comparison import CONSTANT, INVERTED, TURNED, Row

_TIED = "cannot be told from the best (DeLong's paired test, Holm-corrected, 5%)"
_TRANSDUCTIVE = "trained on the unlabelled test images too"
_FLAGS = {
    CONSTANT: "one score for all images",
    INVERTED: "test images score below normal ones",
    TURNED: "test images and pseudo-anomalies score below normal ones, so the blend has it negated",
}


@dataclass(frozen=True, kw_only=True)
class Footnotes:
    """The meanings of what a table marks, and what it has no room for; None or empty where no row has such.

    Attributes:
        tied: meaning of the star at an AUC.
        transductive: meaning of the mark of transductive members and blends.
        flags: meaning of each flag, in alphabetical order.
        shares: the shares of anomalies that the estimated AUCs follow from, in words.
        slowed: by what made trainings slower than they should be, the names of the rows.
    """

    tied: str | None
    transductive: str | None
    flags: Mapping[str, str]
    shares: str | None
    slowed: Mapping[str, Sequence[str]]


def without_the_best(rows: Sequence[Row]) -> list[Row]:
    """The rows, where the one of the highest AUC, which ties itself, is not marked as tied."""
    best = max((row["auc"] for row in rows if row["auc"] is not None), default=None)
    first = next((row["name"] for row in rows if best is not None and row["auc"] == best), None)
    return [{**row, "ties_best": False} if row["name"] == first else row for row in rows]


def footnotes(rows: Sequence[Row], *, measured: bool, estimated: bool) -> Footnotes:
    """The footnotes of a table.

    Args:
        rows: as `table_rows` gives them; see `without_the_best`.
        measured: whether the table has the column of AUCs by labels.
        estimated: whether it has the column of estimated AUCs.
    """
    shares = {(row["estimated_share"], row["share_source"]) for row in rows if row["estimated_share"] is not None}
    said = " and ".join(f"{_article(source)} {share:.1%} anomalies" for share, source in sorted(shares))
    return Footnotes(
        tied=_TIED if measured and any(row["ties_best"] for row in rows) else None,
        transductive=_TRANSDUCTIVE if any(row["transductive"] for row in rows) else None,
        flags={flag: _FLAGS[flag] for flag in sorted({str(row["flag"]) for row in rows if row["flag"]})},
        shares=said if estimated and said else None,
        slowed={
            why: [row["name"] for row in rows if row["slowed"] == why]
            for why in sorted({row["slowed"] for row in rows if row["slowed"]})
        },
    )


def _article(source: str) -> str:
    return f"{'an' if source == 'estimated' else 'a'} {source}"
