"""Where settings come from: a flag, an environment variable, `ensad.toml` in the working folder, then a default.

click sees to flags, environment and defaults; this module turns `ensad.toml` into click's map of defaults. Keys at the
top of the file hold for every command that has such an option, keys in a table `[tune]` for that command.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble_ad.errors import UsageError

FILE = Path("ensad.toml")
# At the top of the file these would hold for a study too, and a study sees labels only where they are set for it.
_ONLY_IN_TABLES = {"labels"}
SECRET = {"storage", "artifacts"}
"""Options whose value may hold a password."""


def read_defaults(path: Path, options: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Read `path` into click's `default_map`.

    Args:
        path: the file; a missing one gives no defaults.
        options: by command (`group command` for one in a group) its options: the parameter's name by its key, such as
            `max-width` of `--max-width`.

    Raises:
        UsageError: if it is not TOML, or names a command or option that does not exist.
    """
    import tomllib

    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:  # a number of 5,000 digits is a ValueError too
        raise UsageError(f"{path} must be TOML: {str(error)[:300]}") from error
    everywhere = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    known = set().union(*options.values()) - _ONLY_IN_TABLES
    for key in everywhere:
        if key in _ONLY_IN_TABLES:
            raise UsageError(
                f"{path} sets {_shown(key)} for every command; set it in [evaluate], or in [tune] if you mean it"
            )
        if key not in known:
            raise UsageError(
                f"{path} sets {_shown(key)}, which no command has; the keys are {', '.join(sorted(known))}"
            )
    for command, table in tables.items():
        if command not in options:
            raise UsageError(f"{path} has a table [{command[:80]}], but the commands are {', '.join(sorted(options))}")
        for key in table:
            if key not in options[command]:
                raise UsageError(
                    f"{path} sets {_shown(key)} in [{command}]; its keys are {', '.join(sorted(options[command]))}"
                )
    defaults: dict[str, Any] = {}
    for command, names in options.items():
        values = {key: value for key, value in everywhere.items() if key in names} | tables.get(command, {})
        *groups, last = command.split()
        place = defaults
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = {names[key]: _text(path, key, value) for key, value in values.items()}
    return defaults


def _text(path: Path, key: str, value: Any) -> str:
    """A value as it would be typed, for click to read and refuse as it does a flag's."""
    if not isinstance(value, str | int | float):
        # The value of a storage's URL may hold a password.
        told = "what it is" if key in SECRET else repr(value)[:80]
        raise UsageError(f"{path} must set {_shown(key)} to text, a number or true/false, not {told}")
    return str(value)


def _shown(key: str) -> str:
    """A key in a message: quoted, and cut where it is long."""
    return repr(key[:80])
