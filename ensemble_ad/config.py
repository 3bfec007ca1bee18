"""Where settings come from: a flag, an environment variable, `ensad.toml` in the working folder, a default, in that order.

click sees to flags, environment and defaults; this module turns `ensad.toml` into click's map of defaults. Keys at the
top of the file hold for every command that has such an option, keys in a table `[tune]` for that command.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble_ad.errors import UsageError

FILE = Path("ensad.toml")


def read_defaults(path: Path, options: Mapping[str, set[str]]) -> dict[str, dict[str, Any]]:
    """Read `path` into click's `default_map`.

    Args:
        path: the file; a missing one gives no defaults.
        options: the options of each command, as in "data" of `--data`.

    Raises:
        UsageError: if it is not TOML, or names a command or option that does not exist.
    """
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} must be TOML: {error}") from error
    known = set().union(*options.values())
    everywhere = {key: value for key, value in content.items() if not isinstance(value, dict)}
    for key in everywhere:
        if key.replace("-", "_") not in known:
            raise UsageError(f"{path} sets {key!r}, which no command has; the keys are {', '.join(sorted(known))}")
    defaults: dict[str, dict[str, Any]] = {}
    for command, table in ((key, value) for key, value in content.items() if isinstance(value, dict)):
        if command not in options:
            raise UsageError(f"{path} has a table [{command}], but the commands are {', '.join(sorted(options))}")
        for key in table:
            if key.replace("-", "_") not in options[command]:
                raise UsageError(
                    f"{path} sets {key!r} in [{command}]; its keys are {', '.join(sorted(options[command]))}"
                )
        defaults[command] = {key.replace("-", "_"): value for key, value in table.items()}
    for command, names in options.items():
        shared = {k.replace("-", "_"): v for k, v in everywhere.items() if k.replace("-", "_") in names}
        defaults[command] = {**shared, **defaults.get(command, {})}
    return defaults
