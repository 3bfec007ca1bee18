"""Members as benchmarks need them: made by a recipe that needs no labels, then held against labels."""

import numpy as np
import numpy.typing as npt

from ensemble_ad.data.dataset import Dataset
from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.families import Architecture
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.store import Member
from ensemble_ad.statistics import Estimate, auc
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings


def blind_recipe(
    dataset: Dataset,
    family: str,
    architecture: Architecture,
    preprocess: Preprocess,
    training: TrainSettings,
    subset: int | None = None,
) -> Recipe:
    """A recipe whose epoch and kind of error are chosen by separation."""
    return Recipe(
        data=dataset.fingerprint, family=family, architecture=architecture, preprocess=preprocess, training=training,
        objective="separation", labels=None, subset=subset, patience=None,
    )  # fmt: skip


def known(measured: Measured | None) -> float:
    """The value of an objective that the member has to be measured by."""
    assert measured is not None, "the member was not measured by it"
    return measured.value


def auc_of(member: Member, kind: str, label: npt.NDArray[np.int8]) -> Estimate:
    """The AUC of one kind of error on the test images."""
    return auc(label, member.vectors()[1][:, member.columns.index(kind)])
