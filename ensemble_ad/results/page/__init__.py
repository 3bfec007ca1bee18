"""`ensad report`: what it says is collected apart from how it is drawn."""

from ensemble_ad.results.page.collect import Sources, collect
from ensemble_ad.results.page.contents import Contents
from ensemble_ad.results.page.render import render

__all__ = ["Contents", "Sources", "collect", "render"]
