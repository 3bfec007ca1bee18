"""`ensad evaluate`."""

from pathlib import Path

import click

from ensemble_ad.cli import _options


@click.command(short_help="AUC of blends and members, with labels.")
@_options.labels
@click.option("--blend", help="Evaluate this blend and its members only.  [default: all of the latest blend's data]")
@_options.data
@_options.studies
@_options.verbosity
def evaluate(labels: Path | None, blend: str | None, data: Path, studies: Path, say: _options.Say) -> None:
    """Judge blends and members by AUC, with DeLong's interval and a paired test against the best.

    Labels default to labels.csv in the data folder. They are read here and used for nothing but this table, which
    `ensad compare` shows again. The interval covers which images were drawn, not training or selection.

    \b
    Example:
      ensad evaluate --labels labels.csv
      ensad evaluate --labels labels.csv --blend fcn+resnet-1a2b3c
    """
    from ensemble_ad.cache import list_members, load_data_record
    from ensemble_ad.cli._table import print_table
    from ensemble_ad.errors import UsageError
    from ensemble_ad.evaluate import evaluate_scores, main_scores, save_evaluation
    from ensemble_ad.id_table import read_labels
    from ensemble_ad.saved_blend import list_blends, load_blend

    members, problems = list_members(studies)
    blends, broken = list_blends(studies) if blend is None else ([load_blend(studies, blend)], [])
    for problem in (*problems, *broken):
        say.warn(problem)
    if not members:
        raise UsageError(f"there is no member in {studies}; run `ensad tune --family fcn --trials 50` first")
    fingerprint = blends[-1].data if blends else members[-1].data
    path = labels or data / "labels.csv"
    label = read_labels(path, load_data_record(studies, fingerprint).ids)
    chosen = [m for m in members if m.data == fingerprint and (blend is None or m.key in blends[0].info["members"])]
    table = evaluate_scores(label, main_scores(chosen, [b for b in blends if b.data == fingerprint]))
    save_evaluation(studies, fingerprint, path, table)
    say(f"{int(label.sum())} anomalies and {int((label == 0).sum())} normal images, by {path}")
    print_table(
        ("name", "AUC", "low", "high", "AP", "FPR@95TPR", "p against best"),
        [
            (
                str(name),
                *(f"{row[c]:.4f}" for c in ("auc", "auc_low", "auc_high", "average_precision", "fpr95")),
                "best" if i == 0 else f"{row['p_best']:.2g}",
            )
            for i, (name, row) in enumerate(table.iterrows())
        ],
    )
    say("next: ensad compare")
