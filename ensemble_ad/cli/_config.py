"""Where settings come from: a flag, an environment variable, `ensad.toml` in the working folder, then a default.

click sees to flags and defaults. Here options get the names of their variables, and `ensad.toml` becomes click's map of
defaults. In both, an option's key is its flag: `max-width` of `--max-width`. A key at the top of the file, and the
variable ENSAD_MAX_WIDTH, hold for every command that has such an option; a key in the table `[tune]`, and
ENSAD_TUNE_MAX_WIDTH, for that command alone.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ensemble_ad.errors import UsageError

SETTINGS = Path("ensad.toml")
_PREFIX = "ENSAD_"
# At the top of the file these would hold for a study too, and a study sees labels only where they are set for it.
_ONLY_IN_TABLES = {"labels"}
SECRET = {"storage", "artifacts"}
"""Options whose value may hold a password."""


def keys(command: click.Command) -> dict[str, str]:
    """A command's options: the parameter's name by its key, such as `max-width` of `--max-width`."""
    return {key: param.name for key, param in _options(command) if param.name}


def give_variables(name: str, command: click.Command) -> None:
    """Have the options of a command, or of those in a group, read from the environment."""
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            give_variables(f"{name} {inner}", each)
        return
    for key, option in _options(command):
        option.envvar = _variables(name, key)


def has_variables() -> bool:
    """Whether the environment has a variable that looks like one of ours."""
    return any(variable.startswith(_PREFIX) for variable in os.environ)


def unknown_variables(options: Mapping[str, Collection[str]]) -> Iterator[str]:
    """A line about each variable that looks like one of ours and that no option reads.

    Args:
        options: by command, the keys of its options.
    """
    known = {variable for name, of_name in options.items() for key in of_name for variable in _variables(name, key)}
    for variable in sorted(os.environ):
        if variable.startswith(_PREFIX) and variable not in known:
            from difflib import get_close_matches

            names = sorted(name.removeprefix(_PREFIX) for name in known)
            near = get_close_matches(variable.removeprefix(_PREFIX), names, n=1)
            advice = f"did you mean {_PREFIX}{near[0]}?" if near else "unset it"
            yield f"no option reads {variable}; {advice}"


def with_origin(error: click.BadParameter) -> click.BadParameter:
    """The error about a value, with where the value was set if that was not on the command line."""
    name = None if error.param is None else error.param.name
    source = error.ctx.get_parameter_source(name) if error.ctx and name else None
    place = None
    if source == ParameterSource.DEFAULT_MAP:
        place = str(SETTINGS)
    elif source == ParameterSource.ENVIRONMENT and error.param is not None:
        place = next((variable for variable in error.param.envvar or () if os.environ.get(variable)), None)
    if place is None:
        return error
    message = f"{error.message.rstrip('.')} (set by {place})."
    return click.BadParameter(message, error.ctx, error.param, error.param_hint)


def _variables(command: str, key: str) -> list[str]:
    """The variables of an option; the first that is set, and not empty, counts."""
    names = (f"{command} {key}", key)
    alone, for_all = (f"{_PREFIX}{name}".upper().replace("-", "_").replace(" ", "_") for name in names)
    return [alone] if command == "tune" and key in _ONLY_IN_TABLES else [alone, for_all]


def _options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """The options of a command by key."""
    for param in command.params:
        if isinstance(param, click.Option):
            yield from ((flag.removeprefix("--"), param) for flag in param.opts if flag.startswith("--"))


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

    from ensemble_ad.files.whole import open_regular

    if not path.exists():
        return {}
    try:
        with open_regular(path) as file:
            content = tomllib.loads(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:  # PowerShell's `>` writes UTF-16, and Notepad what Windows is set to
        raise UsageError(f"{path} must be TOML in UTF-8, and is in another encoding; save it as UTF-8") from error
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
