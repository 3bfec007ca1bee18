"""`ensad audit`."""

from pathlib import Path

import click

from ensemble_ad.cli import _options


@click.command(short_help="How well the choices without labels did.")
@_options.ground_truth
@_options.anyway
@_options.data
@_options.studies
@_options.output
def audit(labels: Path | None, anyway: bool, data: Path, studies: Path, say: _options.Say) -> None:
    """Hold the choices that were made without labels against labels, after the fact.

    For each study of three or more completed trials: the rank correlation of objective and AUC, and the AUC that the
    blind choice of a trial gave away. For each blend: its AUC beside its best column's, the equal mean's, and that of
    weights fitted to these labels (labelled: in-sample, so a mark to aim at, not a result), and what it lacks of the
    best column (regret) and of the labelled blend; the forest of `auto` can see what no weights can, so that may be
    negative. Nothing is stored.

    \b
    Example:
      ensad audit --labels labels.csv
    """
    from ensemble_ad.blend.saved import list_blends
    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import busy
    from ensemble_ad.cli._table import print_table
    from ensemble_ad.errors import DataError
    from ensemble_ad.files.ground_truth import read_ground_truth
    from ensemble_ad.members.choose import of_one_data_set
    from ensemble_ad.results.audit import audit_blends, audit_studies

    members, _ = of_one_data_set(_folders.members(studies, say), None)
    blends, problems = list_blends(studies)
    for problem in problems:
        say.warn(problem)
    record = _folders.check_images(data, studies, members[0].data, members[-1].key, say, anyway=anyway)
    if not record.ids:
        raise DataError(
            f"{members[-1].key} was made without test images, so there are no choices by them to hold against labels; "
            "`ensad evaluate --labels FILE` judges its blends"
        )
    path = labels or data / "labels.csv"
    label = read_ground_truth(path, record.ids).label
    of_data = [b for b in blends if b.data == members[0].data]
    with busy(say, "holding the choices against the labels"):
        of_studies = audit_studies(label, members)
        of_blends = audit_blends(label, {m.key: m for m in members}, of_data)
    say.result(labels=path, studies=of_studies.rename_axis("study"), blends=of_blends.rename_axis("blend"))
    for table, what in ((of_studies, "study"), (of_blends, "blend")):
        rows = [(str(name), *map(_cell, row.index, row)) for name, row in table.iterrows()]
        if not say.as_json:
            print_table((what, *table.columns), rows)
    known = of_studies["rank_correlation"].dropna()
    if len(known):
        say(
            f"rank correlation of objective and AUC over {len(known)} studies: mean {known.mean():.3f}, "
            f"least {known.min():.3f} ({known.idxmin()})"
        )
    else:
        say("no study has three trials of more than one AUC, so no objective can be audited")
    say.next("ensad compare")


def _cell(column: object, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    number = float(value)  # type: ignore[arg-type]
    if number != number:
        return "-"
    return f"{number:.0f}" if column == "trials" else f"{number:.4f}"
