"""Blend members' anomaly scores into one, without labels.

A method is a normaliser (`NORMALISERS`), a weigher (`WEIGHERS`) and a combiner (`COMBINERS`), and `METHODS` names the
usual triples. `auto` adds up three parts, each as far as there is something to learn from.
"""

from ensemble_ad.blend.blending import blend_scores
from ensemble_ad.blend.combine import COMBINERS
from ensemble_ad.blend.methods import METHODS, Method, method_names
from ensemble_ad.blend.normalise import NORMALISERS
from ensemble_ad.blend.result import Blend
from ensemble_ad.blend.weight import WEIGHERS

__all__ = ["COMBINERS", "METHODS", "NORMALISERS", "WEIGHERS", "Blend", "Method", "blend_scores", "method_names"]
