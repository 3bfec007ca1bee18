"""Which members a blend is made of: the grammar of `--members`.

    terms = term {"," term}
    term  = FAMILY | FAMILY ":" COUNT | FAMILY ":all" | KEY

A family alone stands for its best five members. The objective of the family's newest member says which are best.
Values of different objectives do not compare, so a member that was judged by another objective (by labels, say) comes
in only by its key; so does one that was judged by other kinds of pseudo-anomaly, or was told another share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemble_ad.errors import UsageError
from ensemble_ad.members.objectives import OBJECTIVES
from ensemble_ad.members.store import Member

BEST_OF_A_FAMILY = 5


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of `--members` and what it stands for.

    Attributes:
        text: the term as typed.
        members: its members, best first.
        left_out: how many of the family's members were judged by another objective than its newest.
    """

    text: str
    members: tuple[Member, ...]
    left_out: int = 0


def select(members: Sequence[Member], text: str) -> list[Term]:
    """Resolve `--members`.

    Args:
        members: the members of one data set to choose from, oldest first.
        text: what the user typed.

    Raises:
        UsageError: for an unknown family or key, a count that is not a positive number, or a member named twice.
    """
    by_key = {member.key: member for member in members}
    families: dict[str, list[Member]] = {}
    for member in members:
        families.setdefault(member.family, []).append(member)
    terms = []
    for part in text.split(","):
        name, colon, count = part.strip().partition(":")
        if name in by_key and not colon:
            terms.append(Term(text=name, members=(by_key[name],)))
        elif name in families:
            alike = best_first(judged_alike(families[name]))
            wanted = _count(count, len(alike)) if colon else BEST_OF_A_FAMILY
            left_out = len(families[name]) - len(alike)
            terms.append(Term(text=part.strip(), members=tuple(alike[:wanted]), left_out=left_out))
        else:
            known = ", ".join(f"{family} ({len(some)})" for family, some in sorted(families.items()))
            raise UsageError(
                f"no member or family {name!r} is cached for this data; there are {known or 'none'}; name some of "
                "these, see `ensad compare`, or make others with `ensad tune --family FAMILY`"
            )
    seen: set[str] = set()
    for term in terms:
        for member in term.members:
            if member.key in seen:
                raise UsageError(f"--members must name each member once, but {member.key} comes again in {term.text!r}")
            seen.add(member.key)
    return terms


def judged_alike(members: Sequence[Member]) -> list[Member]:
    """The members among `members` (oldest first) whose values compare with the newest one's."""
    return [member for member in members if _judged_by(member) == _judged_by(members[-1])]


def best_first(members: Sequence[Member]) -> list[Member]:
    """Members that were judged alike, by their objective's value, the best first, then by their key."""
    return sorted(members, key=lambda member: (-member.sort_value, member.key))


def of_one_data_set(members: Sequence[Member], prefix: str | None) -> tuple[list[Member], int]:
    """The members of one data set: of the one whose fingerprint begins with `prefix`, or of the newest member's.

    Args:
        members: all members, oldest first, at least one.
        prefix: the beginning of a fingerprint; None takes the newest member's data set.

    Returns:
        The data set's members, oldest first, and how many other members there are.

    Raises:
        UsageError: if no data set, or more than one, begins so.
    """
    known = list(dict.fromkeys(member.data for member in members))
    wanted = [members[-1].data] if prefix is None else [data for data in known if data.startswith(prefix)]
    if len(wanted) != 1:
        raise UsageError(
            f"--dataset must begin one data set's fingerprint, and {prefix!r} begins {len(wanted)}; "
            f"there are {', '.join(data[:8] for data in known)}"
        )
    chosen = [member for member in members if member.data == wanted[0]]
    return chosen, len(members) - len(chosen)


def _judged_by(member: Member) -> tuple[object, ...]:
    """What has to be the same where values compare: the objective and what it was told, and the pseudo-anomalies."""
    name, recipe, judged = member.info.objective.name, member.info.recipe, member.info.objectives.synthetic
    reads_them = name in OBJECTIVES and "pseudo" in OBJECTIVES[name].needs
    return name, recipe.labels, recipe.json.get("share"), frozenset(judged.kinds if judged and reads_them else ())


def _count(text: str, available: int) -> int:
    if text == "all":
        return available
    if not text.isascii() or not text.isdecimal() or int(text[:9]) < 1:
        raise UsageError(f"the count after ':' must be a positive number or 'all', not {text!r}, as in fcn:3")
    return int(text[:9])


def parse_weights(text: str, n_terms: int) -> list[float]:
    """Read `--weights`, one non-negative number a term of `--members`.

    Raises:
        UsageError: for another count, something that is not a finite number of 0 or more, or a sum of 0.
    """
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights must be numbers with commas between, as in 2,1, not {text!r}") from None
    if len(weights) != n_terms:
        raise UsageError(f"--weights must give one number a term of --members: {n_terms}, not {len(weights)}")
    if not all(weight >= 0 for weight in weights) or not 0 < sum(weights) < float("inf"):
        raise UsageError(f"--weights must be finite, 0 or more, and not all 0: {text!r}")
    return weights
