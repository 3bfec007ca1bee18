"""What is kept of a run: `studies/runs/<name>.json`, so that the same command goes on with the time that is left."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.files.json_file import fits, is_count, is_number, read_json, write_json
from ensemble_ad.layout import is_family, is_fingerprint, run_file

FORMAT = 1


def _is_curve(value: object) -> bool:
    return isinstance(value, list) and all(fits(p, list) and len(p) == 2 and all(map(is_number, p)) for p in value)


def _are_trials(value: object) -> bool:
    kinds = {"family": is_family, "gain": is_number, "seconds": is_number}
    return isinstance(value, list) and all(fits(trial, kinds) and len(trial) == len(kinds) for trial in value)


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(is_family(name) and is_count(n) for name, n in value.items())


@dataclass(frozen=True, kw_only=True)
class Done:
    """One trial of a run.

    Attributes:
        family: its family.
        gain: what it added to the blend's value; negative where the blend became worse.
        seconds: what it took; 0 where it was cached.
    """

    family: str
    gain: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is kept of a run.

    Attributes:
        data: fingerprint of the data set.
        used: seconds of wall time that it has taken so far, over all its commands.
        curve: pairs of seconds and the blend's value then.
        done: the trials that it has made.
        before: how many finished trials each family's study had when the run began.
    """

    data: str
    used: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()
    done: tuple[Done, ...] = ()
    before: Mapping[str, int] = field(default_factory=dict)

    def save(self, studies: Path, name: str) -> None:
        """Write it; StorageError if that fails."""
        write_json(run_file(studies, name), {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, studies: Path, name: str, data: str) -> "RunRecord":
        """The record of that name, an empty one where there is none.

        Raises:
            StorageError: if it is damaged or of a newer version.
            UsageError: if it is of a run on other images, whose blend would be replaced.
        """
        path = run_file(studies, name)
        if not path.exists():
            return cls(data=data)
        value = read_json(path)
        kinds = {
            "format": lambda n: n == FORMAT,
            "data": str,
            "used": is_number,
            "curve": _is_curve,
            "done": _are_trials,
            "before": _are_counts,
        }
        if not fits(value, kinds) or not is_fingerprint(value["data"]) or value["used"] < 0:
            raise StorageError(f"{path} is not a run that this version reads; remove it, or name another --name")
        if value["data"] != data:
            raise UsageError(f"the name {name!r} is taken by a run on other images; choose another with --name")
        return cls(
            data=data,
            used=float(value["used"]),
            curve=tuple((float(seconds), float(at)) for seconds, at in value["curve"]),
            done=tuple(Done(**trial) for trial in value["done"]),
            before=value["before"],
        )
