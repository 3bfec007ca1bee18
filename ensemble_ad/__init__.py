"""Tune, cache, blend and judge autoencoder ensembles for image anomaly detection, without labels.

>>> import ensemble_ad as ea
>>> ea.auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value
0.75
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ensemble_ad.errors import DataError, EnsadError, StorageError, UsageError
from ensemble_ad.version import __version__

if TYPE_CHECKING:
    from ensemble_ad.blend import Blend, blend_scores
    from ensemble_ad.detect.autoencoder import AutoencoderDetector
    from ensemble_ad.detect.blended import BlendedDetector
    from ensemble_ad.detect.run import run
    from ensemble_ad.detect.scorer import BlendScorer, load_blend
    from ensemble_ad.results.comparison import comparison
    from ensemble_ad.statistics import Comparison, Estimate, auc, compare_auc, separation

# Public name -> where it is; imported when first used, so that `import ensemble_ad` costs nothing.
_HOMES = {
    "AutoencoderDetector": "ensemble_ad.detect.autoencoder",
    "BlendedDetector": "ensemble_ad.detect.blended",
    "BlendScorer": "ensemble_ad.detect.scorer",
    "load_blend": "ensemble_ad.detect.scorer",
    "run": "ensemble_ad.detect.run",
    "Blend": "ensemble_ad.blend",
    "blend_scores": "ensemble_ad.blend",
    "Comparison": "ensemble_ad.statistics",
    "Estimate": "ensemble_ad.statistics",
    "auc": "ensemble_ad.statistics",
    "compare_auc": "ensemble_ad.statistics",
    "separation": "ensemble_ad.statistics",
    "comparison": "ensemble_ad.results.comparison",
}

__all__ = [
    "AutoencoderDetector",
    "Blend",
    "BlendScorer",
    "BlendedDetector",
    "Comparison",
    "DataError",
    "EnsadError",
    "Estimate",
    "StorageError",
    "UsageError",
    "__version__",
    "auc",
    "blend_scores",
    "compare_auc",
    "comparison",
    "load_blend",
    "run",
    "separation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
