"""The examples in the docstrings of what people import run and give what they say."""

import doctest
from importlib import import_module

import pytest

import ensemble_ad

# Beside the homes of the public names: modules that have examples too.
_OTHERS = (
    "ensemble_ad",
    "ensemble_ad.statistics.delong",
    "ensemble_ad.blend.blending",
    "ensemble_ad.blend.alarm",
    "ensemble_ad.files.text",
)
MODULES = sorted({*ensemble_ad._HOMES.values(), *_OTHERS})
WITH_EXAMPLES = ("auc", "separation", "compare_auc", "blend_scores", "AutoencoderDetector", "BlendedDetector")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_what_people_call_has_an_example(name):
    assert ">>> " in getattr(ensemble_ad, name).__doc__
