"""How good a score is and how sure that is: with labels (the AUC and other numbers) and without (the separation).

DeLong's standard error covers which images happened to be drawn. It covers neither training (another seed, another
model) nor selection (the best of thirty is optimistic), which is why `ensemble_ad.blend` cross-fits.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble_ad.statistics.bootstrap import BootstrapAuc, bootstrap_auc
    from ensemble_ad.statistics.curve import average_precision, fpr_at_tpr, partial_auc
    from ensemble_ad.statistics.delong import AucColumns, auc, auc_many, compare_auc, separation, separation_many
    from ensemble_ad.statistics.estimate import Comparison, Estimate
    from ensemble_ad.statistics.implied import MOST_ANOMALIES
    from ensemble_ad.statistics.many import BestComparison, TaskComparison, compare_to_best, holm, wilcoxon_across_tasks
    from ensemble_ad.statistics.ranks import midranks, rank_correlation, rank_correlations
    from ensemble_ad.statistics.share import SURE, estimate_share, implausible

# Name -> module of this room; imported when first used, since tables of what was measured before need no arrays.
_HOMES = {
    "MOST_ANOMALIES": "implied",
    "SURE": "share",
    "AucColumns": "delong",
    "BestComparison": "many",
    "BootstrapAuc": "bootstrap",
    "Comparison": "estimate",
    "Estimate": "estimate",
    "TaskComparison": "many",
    "auc": "delong",
    "auc_many": "delong",
    "average_precision": "curve",
    "bootstrap_auc": "bootstrap",
    "compare_auc": "delong",
    "compare_to_best": "many",
    "estimate_share": "share",
    "fpr_at_tpr": "curve",
    "holm": "many",
    "implausible": "share",
    "midranks": "ranks",
    "partial_auc": "curve",
    "rank_correlation": "ranks",
    "rank_correlations": "ranks",
    "separation": "delong",
    "separation_many": "delong",
    "wilcoxon_across_tasks": "many",
}

__all__ = [
    "MOST_ANOMALIES",
    "SURE",
    "AucColumns",
    "BestComparison",
    "BootstrapAuc",
    "Comparison",
    "Estimate",
    "TaskComparison",
    "auc",
    "auc_many",
    "average_precision",
    "bootstrap_auc",
    "compare_auc",
    "compare_to_best",
    "estimate_share",
    "fpr_at_tpr",
    "holm",
    "implausible",
    "midranks",
    "partial_auc",
    "rank_correlation",
    "rank_correlations",
    "separation",
    "separation_many",
    "wilcoxon_across_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ensemble_ad.statistics.{_HOMES[name]}"), name)
