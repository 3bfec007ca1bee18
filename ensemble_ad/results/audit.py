"""After the fact, with labels: how well did the choices do that were made without them?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ensemble_ad.blend import blend_scores
from ensemble_ad.blend.columns import stacked
from ensemble_ad.blend.info import weight_by_member
from ensemble_ad.blend.saved import SavedBlend
from ensemble_ad.members.store import Member
from ensemble_ad.results.evaluation import main_scores, side_by_side
from ensemble_ad.statistics import auc, auc_many, rank_correlation
from ensemble_ad.statistics.arrays import Labels

_LEAST_TRIALS = 3


def audit_studies(label: Labels, members: Sequence[Member]) -> pd.DataFrame:
    """How well each study's objective ranked its trials.

    Args:
        label: (k,) of 0 and 1, 1 = anomaly.
        members: members of one data set; those of no study are left out, and so are studies of fewer than three.

    Returns:
        A row for each study: `trials` (the number of completed ones), `rank_correlation` (Spearman's, between objective
        and AUC), `chosen_auc` (the AUC of the trial with the best objective), `best_auc`, `regret` (their difference),
        `last_epoch_best` (the share of trials whose best epoch was the last), `transductive` (whether a trial was
        trained on the test images too).
    """
    studies: dict[str, list[Member]] = {}
    for member in members:
        if member.info.trial:
            studies.setdefault(member.info.trial.study, []).append(member)
    rows = {}
    for name, trials in studies.items():
        if len(trials) < _LEAST_TRIALS:
            continue
        scores = main_scores(trials, [])
        value = auc_many(label, side_by_side(scores, [trial.key for trial in trials], len(label))).value
        goal = np.array([trial.sort_value for trial in trials])
        rows[name] = {
            "trials": len(trials),
            "rank_correlation": rank_correlation(goal, value),
            "chosen_auc": float(value[np.argmax(goal)]),
            "best_auc": float(value.max()),
            "regret": float(value.max() - value[np.argmax(goal)]),
            "last_epoch_best": float(np.mean([t.info.best_epoch == len(t.info.history) for t in trials])),
            "transductive": any(t.info.transductive for t in trials),
        }
    columns = ["trials", "rank_correlation", "chosen_auc", "best_auc", "regret", "last_epoch_best", "transductive"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("study")


def audit_blends(label: Labels, members: Mapping[str, Member], blends: Sequence[SavedBlend]) -> pd.DataFrame:
    """How well each blend's weights did.

    Args:
        label: (k,) of 0 and 1, 1 = anomaly.
        members: members by key, the blends' members among them.
        blends: blends of one data set; a blend is left out unless all its members are there.

    Returns:
        A row for each blend: its `auc`, the AUCs of its `best_column`, of the equal `mean` of its columns' ranks and of
        weights fitted to these same labels (`labelled`, in-sample, so an upper mark and no result), its `regret`
        against the best column, its `regret_labelled` against the labelled weights, and whether it is `transductive`.
    """
    rows = {}
    for blend in blends:
        if not set(weight_by_member(blend.weights)) <= set(members):
            continue
        reference, test, *_ = stacked(list(blend.weights), members.values())
        single = auc_many(label, test).value
        own = auc(label, blend.scores()).value
        labelled = auc(label, blend_scores(reference, test, method="labels", label=label).scores).value
        rows[blend.name] = {
            "auc": own,
            "best_column": float(single.max()),
            "mean": auc(label, blend_scores(reference, test, method="mean").scores).value,
            "labelled": labelled,
            "regret": float(single.max()) - own,
            "regret_labelled": labelled - own,
            "transductive": blend.info.transductive,
        }
    columns_shown = ["auc", "best_column", "mean", "labelled", "regret", "regret_labelled", "transductive"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns_shown).rename_axis("blend")
