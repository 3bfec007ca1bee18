"""The picture of docs/without-labels.md, from what benchmarks/blind.py wrote.

pip install matplotlib
python benchmarks/plot_blind.py benchmarks/results/blind.json docs/without-labels.svg
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot, rcParams

SHARE = 0.5  # of anomalies in faces64's test set


def main(source: Path, target: Path) -> None:
    """Draw one panel a condition: every trial's separation against its AUC, and the line that the formula gives."""
    rcParams["svg.fonttype"] = "none"
    rcParams["svg.hashsalt"] = "ensemble_ad"
    conditions = json.loads(source.read_text())["conditions"]
    shown = {name: results[0]["points"] for name, results in conditions.items() if not name.startswith("p =")}
    figure, axes = pyplot.subplots(
        1, len(shown), figsize=(4 * len(shown), 3.6), sharex=True, sharey=True, layout="constrained"
    )
    for axis, (name, points) in zip(np.atleast_1d(axes), shown.items(), strict=True):
        families = sorted({point["key"].partition("-")[0] for point in points})
        for i, family in enumerate(families):
            some = [point for point in points if point["key"].startswith(f"{family}-")]
            axis.errorbar(
                [point["separation"] for point in some],
                [point["auc"] for point in some],
                # Where separation passes over all kinds of error it is 0.5 and has no error to draw.
                xerr=[point["standard_error"] if point["standard_error"] < 0.1 else 0.0 for point in some],
                fmt="osv^Dp*hX<>"[i],
                markersize=4,
                elinewidth=0.6,
                label=family,
            )
        line = np.array([0.5, 0.95])
        axis.plot(0.5 + SHARE * (line - 0.5), line, color="grey", linewidth=1, label="0.5 + p (AUC - 0.5)")
        axis.set_title("test set as it is" if name == "as it is" else f"its normal images: {name}", fontsize=10)
        axis.set_xlabel("separation (no labels)")
        axis.grid(alpha=0.3)
    np.atleast_1d(axes)[0].set_ylabel("AUC (labels)")
    np.atleast_1d(axes)[0].legend(fontsize=7, loc="lower right")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
