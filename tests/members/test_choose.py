"""The grammar of `--members` and `--weights`."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_ad.errors import UsageError
from ensemble_ad.members.choose import of_one_data_set, parse_weights, select
from ensemble_ad.members.info import ChosenBy, MemberInfo
from ensemble_ad.members.measured import Measured, Objectives, Synthetic
from ensemble_ad.members.recipe_info import RecipeInfo
from ensemble_ad.members.store import Member


def _member(
    family: str, number: int, value: float, *, direction: str = "maximize", data: str = "aa", labels: str | None = None
) -> Member:
    key = f"{family}-{number:012x}"
    name = "labels" if labels else "separation" if direction == "maximize" else "loss"
    objective = ChosenBy(name=name, value=value, direction=direction, column="rss")
    parts = {"preprocess": {"crop": [1.0], "size": [32]}, "training": {"epochs": 1}}
    recipe = RecipeInfo.from_json({"family": family, "data": data, "labels": labels, **parts})
    return Member(key=key, folder=Path(key), info=MemberInfo(key=key, recipe=recipe, objective=objective, created=""))


# The best fcn has number 0, the worst 6; the other way round for resnet, whose loss is to be small.
MEMBERS = [_member("fcn", i, 0.9 - i / 10) for i in (3, 1, 4, 0, 5, 2, 6)] + [
    _member("resnet", i, 0.9 - i / 10, direction="minimize") for i in range(3)
]


def _chosen(text: str) -> list[list[str]]:
    return [[f"{m.family} {int(m.key[-12:], 16)}" for m in term.members] for term in select(MEMBERS, text)]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("fcn", [["fcn 0", "fcn 1", "fcn 2", "fcn 3", "fcn 4"]]),
        ("resnet", [["resnet 2", "resnet 1", "resnet 0"]]),
        ("fcn:2", [["fcn 0", "fcn 1"]]),
        ("resnet:99", [["resnet 2", "resnet 1", "resnet 0"]]),
        ("fcn:all", [[f"fcn {i}" for i in range(7)]]),
        (" resnet:1 , fcn:1 ", [["resnet 2"], ["fcn 0"]]),
        ("fcn-000000000006,resnet:1", [["fcn 6"], ["resnet 2"]]),
    ],
)
def test_a_term_is_the_best_of_a_family_or_a_key(text, chosen):
    assert _chosen(text) == chosen


def test_terms_keep_their_text():
    assert [term.text for term in select(MEMBERS, "fcn:2, fcn-000000000006")] == ["fcn:2", "fcn-000000000006"]


def test_members_judged_unlike_the_newest_are_left_out_and_counted():
    by_labels = [_member("fcn", 10 + i, 0.99, labels="labels.csv:1") for i in range(2)]
    (term,) = select([*by_labels, *MEMBERS], "fcn:all")
    assert (len(term.members), term.left_out) == (7, 2)
    (term,) = select([*MEMBERS, *by_labels], "fcn")
    assert (list(term.members), term.left_out) == (by_labels, 7)
    named = select([*by_labels, *MEMBERS], f"fcn:1,{by_labels[0].key}")
    assert [term.members[0] for term in named] == [MEMBERS[3], by_labels[0]]


def _judged(number: int, kinds: dict[str, float], objective: str, share: float | None = None) -> Member:
    member = _member("fcn", number, 0.6 + number / 100)
    known = Objectives(
        separation=Measured(value=0.6, standard_error=0.1),
        synthetic=Synthetic(value=0.5, standard_error=0.1, kinds=kinds),
    )
    recipe = replace(member.info.recipe, json={**member.info.recipe.json, "share": share})
    by = replace(member.info.objective, name=objective)
    info = replace(member.info, recipe=recipe, objective=by, objectives=known)
    return replace(member, info=info)


@pytest.mark.parametrize("objective", ["auto", "synthetic"])
def test_members_judged_by_other_kinds_of_pseudo_anomaly_are_left_out(objective):
    older = [_judged(i, {"elastic": 0.9}, objective) for i in range(2)]
    newer = [_judged(2 + i, {"elastic": 0.9, "rotate": 0.5 + i / 10}, objective) for i in range(2)]
    (term,) = select([*older, *newer], "fcn")
    assert (list(term.members), term.left_out) == (newer[::-1], 2)


def test_members_that_were_told_another_share_of_anomalies_are_left_out():
    older, newer = (_judged(i, {"zoom": 0.9}, "auto", share) for i, share in enumerate((0.02, 0.5)))
    (term,) = select([older, newer], "fcn")
    assert (term.members, term.left_out) == ((newer,), 1)


def test_members_by_an_objective_that_is_gone_keep_their_values_order():
    members = [_judged(i, {"zoom": 0.9}, "both") for i in range(3)]
    (term,) = select(members, "fcn")
    assert list(term.members) == members[::-1]


def test_equal_values_are_ordered_by_key():
    members = [_member("fcn", i, 0.5) for i in (2, 0, 1)]
    assert [m.key[-1] for m in select(members, "fcn")[0].members] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "vae",
            r"no member or family 'vae' is cached .* there are fcn \(7\), resnet \(3\); name some of these, ",
        ),
        ("fcn-00000000000f", "no member or family 'fcn-00000000000f' is cached"),
        ("", "no member or family '' is cached .* make others with `ensad tune --family FAMILY`"),
        ("fcn,", "no member or family '' is cached"),
        ("fcn-000000000006:2", "no member or family 'fcn-000000000006' is cached"),
        ("fcn:", "must be a positive number or 'all', not ''"),
        ("fcn:0", "not '0', as in fcn:3"),
        ("fcn:-1", "not '-1'"),
        ("fcn:2.0", "not '2.0'"),
        ("fcn:²", "not '²'"),
        ("fcn:1:2", "not '1:2'"),
        ("fcn,fcn:1", "name each member once, but fcn-000000000000 comes again in 'fcn:1'"),
        ("fcn-000000000003,fcn", "fcn-000000000003 comes again in 'fcn'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_there_is(text, message):
    with pytest.raises(UsageError, match=message):
        select(MEMBERS, text)


TERMS = st.sampled_from(["fcn", "resnet", ":", ",", "all", "3", "0", " ", "fcn-000000000006", "-", "²", "\n"])


@given(text=st.text(max_size=20) | st.lists(TERMS, max_size=8).map("".join))
def test_any_text_is_terms_of_distinct_members_or_a_usage_error(text):
    try:
        terms = select(MEMBERS, text)
    except UsageError:
        return
    keys = [member.key for term in terms for member in term.members]
    assert len(keys) == len(set(keys)) >= len(terms) == text.count(",") + 1


@pytest.mark.parametrize(
    ("text", "weights"),
    [("2,1", [2, 1]), ("0,1", [0, 1]), (" 0.5 ,1e-3", [0.5, 0.001]), ("1e308,1e307", [1e308, 1e307])],
)
def test_weights_are_numbers_with_commas_between(text, weights):
    assert parse_weights(text, 2) == weights


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2;1", "must be numbers with commas between, as in 2,1, not '2;1'"),
        ("", "must be numbers"),
        ("1,", "must be numbers"),
        ("1", "one number a term of --members: 2, not 1"),
        ("1,2,3", "one number a term of --members: 2, not 3"),
        ("-1,2", "must be finite, 0 or more, and not all 0: '-1,2'"),
        ("0,0", "not all 0"),
        ("nan,1", "must be finite"),
        ("inf,1", "must be finite"),
        ("1e308,1e308", "must be finite"),
    ],
)
def test_other_weights_are_refused(text, message):
    with pytest.raises(UsageError, match=f"--weights {message}|--weights must.*{message}"):
        parse_weights(text, 2)


@given(text=st.text(st.sampled_from("0123456789.,-+eEinfa_ "), max_size=12), n_terms=st.integers(1, 3))
def test_any_text_is_weights_with_a_finite_sum_or_a_usage_error(text, n_terms):
    try:
        weights = parse_weights(text, n_terms)
    except UsageError:
        return
    assert len(weights) == n_terms
    assert 0 < sum(weights) < float("inf")


TWO_SETS = [
    _member("fcn", 1, 0.5, data="ab12"),
    _member("fcn", 2, 0.5, data="ac34"),
    _member("fcn", 3, 0.5, data="ab12"),
]


@pytest.mark.parametrize(("prefix", "numbers"), [(None, "13"), ("ab", "13"), ("ac34", "2")])
def test_one_data_set_is_the_newest_members_or_the_one_asked_for(prefix, numbers):
    chosen, others = of_one_data_set(TWO_SETS, prefix)
    assert [member.key[-1] for member in chosen] == list(numbers)
    assert others == 3 - len(numbers)


@pytest.mark.parametrize(("prefix", "n"), [("a", 2), ("zz", 0), ("", 2)])
def test_a_prefix_must_begin_exactly_one_fingerprint(prefix, n):
    with pytest.raises(UsageError, match=f"'{prefix}' begins {n}; there are ab12, ac34"):
        of_one_data_set(TWO_SETS, prefix)
