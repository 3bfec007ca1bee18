"""How good a score is and how sure that is: with labels (the AUC and other numbers) and without (the separation).

DeLong's standard error covers which images happened to be drawn. It covers neither training (another seed, another
model) nor selection (the best of thirty is optimistic), which is why `ensemble_ad.blend` cross-fits.
"""

from ensemble_ad.statistics.auc import (
    AucColumns,
    auc,
    auc_many,
    compare_auc,
    separation,
    separation_many,
)
from ensemble_ad.statistics.bootstrap import BootstrapAuc, bootstrap_auc
from ensemble_ad.statistics.curve import average_precision, fpr_at_tpr, partial_auc
from ensemble_ad.statistics.estimate import Comparison, Estimate
from ensemble_ad.statistics.many import (
    BestComparison,
    TaskComparison,
    compare_to_best,
    holm,
    wilcoxon_across_tasks,
)
from ensemble_ad.statistics.ranks import midranks, rank_correlation, rank_correlations
from ensemble_ad.statistics.share import MOST_ANOMALIES, SURE, estimate_share, implausible

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
