"""Blend members' anomaly scores into one, without labels.

A blend is a normaliser (`NORMALISERS`), weights (`WEIGHERS`) and a combiner (`COMBINERS`); `METHODS` names the usual
triples, and `auto` adds up three rules as far as the data carry them.
"""

from ensemble_ad.blend.blending import blend_scores
from ensemble_ad.blend.combine import COMBINERS
from ensemble_ad.blend.methods import METHODS, Method, method_names
from ensemble_ad.blend.normalise import NORMALISERS
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.weight import WEIGHERS

__all__ = ["COMBINERS", "METHODS", "NORMALISERS", "WEIGHERS", "Blend", "Method", "blend_scores", "method_names"]
