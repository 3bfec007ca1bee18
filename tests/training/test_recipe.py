"""Recipes: their keys, and the objectives that suit a family."""

from dataclasses import replace

import pytest

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.errors import UsageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.families.fcn import FcnArchitecture
from ensemble_ad.families.resnet import ResnetArchitecture
from ensemble_ad.training.recipe import Recipe, check_objective
from ensemble_ad.training.settings import TrainSettings


@pytest.mark.parametrize(
    "change",
    [
        {"subset": 60},
        {"preprocess": Preprocess(crop=(0.5, 0.5), size=(32, 32), channels=1)},
        {"training": TrainSettings(epochs=4, batch_size=16, seed=1)},
        {"architecture": FcnArchitecture(widths=(64, 9))},
        {"objective": "loss"},
        {"patience": 2},
        {"data": "0" * 32},
        {"labels": "x"},
        {"flips": True},
        {"training": TrainSettings(epochs=4, batch_size=16, mirror=True)},
        {"training": TrainSettings(epochs=4, batch_size=16, passes=2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_determines_a_member_changes_its_key(recipe, change):
    assert replace(recipe, **change).key != recipe.key


def test_a_recipe_survives_json(recipe):
    assert Recipe.from_json(recipe.as_json()) == recipe
    changed = replace(recipe, training=TrainSettings(epochs=4, mirror=True, passes=2))
    assert Recipe.from_json(changed.as_json()) == changed


@pytest.mark.parametrize(
    ("family", "architecture", "key"),
    [
        ("fcn", FcnArchitecture(widths=(64, 8)), "fcn-e22716d1c2b4"),
        ("resnet", ResnetArchitecture(), "resnet-694057959a9e"),
    ],
)
def test_what_was_added_later_changes_no_older_members_key(recipe, family, architecture, key):
    assert replace(recipe, data="0" * 32, family=family, architecture=architecture).key == key


@pytest.mark.parametrize(
    ("objective", "family"), [("synthetic", "contrast"), ("auto", "contrast"), ("loss", "contrast")]
)
def test_an_objective_that_means_nothing_for_a_family_is_refused(objective, family):
    with pytest.raises(UsageError, match=f"the objective {objective} .* {family}.* use separation"):
        check_objective(objective, FAMILIES[family], 100)


@pytest.mark.parametrize(
    ("objective", "family"), [("separation", "fcn"), ("consensus", "fcn"), ("synthetic", "contrast")]
)
def test_what_needs_test_images_is_refused_where_there_are_none(objective, family):
    with pytest.raises(UsageError, match="test images, and there are none"):
        check_objective(objective, FAMILIES[family], 0)
    check_objective("synthetic", FAMILIES["fcn"], 0)
