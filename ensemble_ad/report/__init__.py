"""`ensad report`: what it says is collected apart from how it is drawn."""

from ensemble_ad.report.collect import Sources, collect
from ensemble_ad.report.contents import Contents
from ensemble_ad.report.render import render

__all__ = ["Contents", "Sources", "collect", "render"]
