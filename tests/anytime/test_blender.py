"""A run's blend: the best so far stays where a later one is surely worse."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from ensemble_ad.anytime.blender import Blender, surely_worse
from ensemble_ad.blend.of_members import Unsaved, blend_members
from ensemble_ad.blend.saved import load_blend
from ensemble_ad.members.choose import BEST_OF_A_FAMILY, select
from ensemble_ad.members.info import MemberInfo
from ensemble_ad.members.measured import Measured
from ensemble_ad.members.save import save_member
from ensemble_ad.members.store import list_members
from ensemble_ad.statistics.arrays import Floats64

Make = Callable[[], Blender]


@pytest.fixture
def make(studies) -> Make:
    """Makes a run's blender, as a command does, of all members that there are."""

    def made() -> Blender:
        return Blender(
            studies=studies, name="run", seed=0, anomaly_share=0.5, arrive=lambda: None,
            members=lambda: list_members(studies)[0], warn=pytest.fail,
        )  # fmt: skip

    return made


@pytest.fixture
def blurred(studies) -> None:
    """The members of resnet see little: their scores are mostly noise."""
    rng = np.random.default_rng(1)
    for member in list_members(studies)[0]:
        if member.family == "resnet":
            place = member.columns.index(member.main_column)
            reference, test = (side[:, place] for side in member.vectors())
            noise = 3 * float(reference.std())
            rmtree(member.folder)
            _saved(
                studies, member.info, reference + rng.normal(scale=noise, size=len(reference)),
                test + rng.normal(scale=noise, size=len(test)),
            )  # fmt: skip


def _misjudged(studies: Path) -> None:
    """Members that say nothing, and that their objective takes for better than all others of their family."""
    rng, like = np.random.default_rng(0), next(m for m in list_members(studies)[0] if m.family == "fcn")
    reference, test = map(len, like.vectors())
    for number in range(BEST_OF_A_FAMILY):
        info = replace(like.info, key=f"fcn-{number:012x}", objective=replace(like.info.objective, value=1.0))
        _saved(studies, info, rng.normal(size=reference), rng.normal(size=test))


def _saved(studies: Path, info: MemberInfo, reference: Floats64, test: Floats64) -> None:
    save_member(
        studies,
        info,
        reference={info.objective.column: reference.astype(np.float32)},
        test={info.objective.column: test.astype(np.float32)},
        weights={"nothing": np.zeros(1, dtype=np.float32)},
    )


def test_a_blend_that_is_surely_worse_is_not_taken_and_what_came_in_stays_out(studies, make, blurred):
    members = list_members(studies)[0]
    blender = make()
    first = blender.make()
    assert first is not None
    assert first.taken
    _misjudged(studies)

    second = blender.make()
    assert second is not None
    assert not second.taken
    assert second.value < first.value
    assert second.blend == first.blend == load_blend(studies, "run")

    third = blender.make()
    assert third is not None, "without them the members are those of the first"
    assert third.taken
    assert set(third.blend.info.members) == {member.key for member in members}
    assert blender.make() is None


def test_the_next_command_compares_with_the_blend_of_the_one_before(studies, make, blurred):
    first = make().make()
    _misjudged(studies)
    again = make().make()
    assert first is not None
    assert again is not None
    assert not again.taken
    assert again.blend.info.checksum == first.blend.info.checksum


def test_a_blend_whose_members_may_not_come_in_any_more_is_replaced(studies, make, blurred):
    first = make().make()
    assert first is not None
    blender, like = make(), list_members(studies)[0][0]
    _misjudged(studies)
    blender.members = lambda: [member for member in list_members(studies)[0] if member.key != like.key]
    second = blender.make()
    assert second is not None
    assert second.taken
    assert second.value < first.value


@pytest.fixture
def both(studies) -> tuple[Unsaved, Unsaved]:
    """A blend, and one of other images' order: what it ranks is unlike, and less is separated."""
    terms = select(list_members(studies)[0], "fcn,resnet")
    made = blend_members(studies, terms, method="auto", name="run")
    assert "prior" not in made.info.method.split("+")
    return made, made._replace(
        arrays={**made.arrays, "test": np.random.default_rng(0).permutation(made.arrays["test"])}
    )


def _losing(made: Unsaved, errors: float) -> Unsaved:
    """The same, separating less by so many standard errors."""
    found = made.info.separation
    assert found is not None
    less = Measured(value=found.value - errors * found.standard_error, standard_error=found.standard_error)
    return made._replace(info=replace(made.info, separation=less))


@pytest.mark.parametrize(
    ("errors", "alike", "worse"),
    [(1.1, True, True), (0.9, True, False), (-2.0, True, False), (3.5, False, False), (5.0, False, True)],
)
def test_the_more_alike_two_blends_rank_the_less_tells_them_apart(studies, both, errors, alike, worse):
    made, unlike = both
    assert surely_worse(_losing(made if alike else unlike, errors), made.save(studies)) is worse


def test_separation_says_nothing_where_pseudo_anomalies_have_a_say(studies, both):
    lost = _losing(both[0], 3.0)
    for method in ("linear+forest+prior", "prior"):
        assert not surely_worse(lost._replace(info=replace(lost.info, method=method)), both[0].save(studies))


def test_separation_says_nothing_where_no_member_of_the_one_before_counts(studies, both):
    made = both[0]
    names = list(made.info.weights)
    weights = {name: float(name == names[0]) for name in names}
    lost, before = _losing(made, 3.0), made.save(studies)
    assert surely_worse(lost._replace(info=replace(lost.info, weights=weights)), before)
    others = tuple(key for key in before.info.members if key not in names[0])
    alone = replace(before, info=replace(before.info, members=others))
    assert not surely_worse(lost._replace(info=replace(lost.info, weights=weights)), alone)
