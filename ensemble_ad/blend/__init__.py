"""Blend members' anomaly scores into one, without labels.

A blend is a normaliser (`NORMALISERS`), weights (`WEIGHERS`) and a combiner (`COMBINERS`); `METHODS` names the usual
triples, and `auto` adds up three rules as far as the data carry them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble_ad.blend.blending import blend_scores
    from ensemble_ad.blend.combine import COMBINERS
    from ensemble_ad.blend.methods import METHODS, Method, method_names
    from ensemble_ad.blend.normalise import NORMALISERS
    from ensemble_ad.blend.result import Blend
    from ensemble_ad.blend.weight import WEIGHERS

# Name -> module of this room; imported when first used, since tables of saved blends need none of it.
_HOMES = {
    "COMBINERS": "combine",
    "METHODS": "methods",
    "NORMALISERS": "normalise",
    "WEIGHERS": "weight",
    "Blend": "result",
    "Method": "methods",
    "blend_scores": "blending",
    "method_names": "methods",
}

__all__ = ["COMBINERS", "METHODS", "NORMALISERS", "WEIGHERS", "Blend", "Method", "blend_scores", "method_names"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ensemble_ad.blend.{_HOMES[name]}"), name)
