"""What to run next: commands that a shell takes as they stand, with the folders and URLs that the user named.

Who gives a hint, or writes an error that names a command in backticks, knows what there is to do: which family has
members, whether there is a blend. Here the running command's own options are added to it.
"""

import re
import shlex

import click

from ensemble_ad.cli._config import SECRET

# What commands have in common, and what would be looked for elsewhere, or would be another one, without the option.
_SHARED = ("data", "fit", "studies", "submissions", "storage", "artifacts", "blend")
_ABOUT_OUTPUT = ("quiet", "verbose", "as_json")
_IN_TEXT = re.compile(r"`(ensad [^`]+)`")


class Hints:
    """Completes commands with what was typed on the line of the one that is running."""

    def __init__(self, context: click.Context) -> None:
        self._context = context

    def completed(self, command: str, **places: str) -> str:
        """`command` with the options of the running one that it has too, and does not set itself.

        Args:
            command: as it is typed; capitals stand for what is to be filled in.
            places: what else is known, by the option's parameter; what was typed goes before.
        """
        try:
            words = shlex.split(command)
        except ValueError:  # a stranger's text that looks like a command
            return command
        following = self._following(words[1:])
        for param in following.params if following else ():
            if param.name not in _SHARED or not isinstance(param, click.Option) or set(param.opts) & set(words):
                continue
            if self._typed(param.name):
                command += f" {_option(param, self._context.params[param.name])}"
            elif param.name in places:
                command += f" {_option(param, places[param.name])}"
        return command

    def in_text(self, text: str) -> str:
        """`text` with every command in backticks completed."""
        return _IN_TEXT.sub(lambda found: f"`{self.completed(found[1])}`", text)

    def again(self, *without: str, **changed: object) -> str:
        """The running command as it was typed.

        Args:
            without: parameters whose options are left out.
            changed: other values of parameters.
        """
        words = ["ensad", *self._context.command_path.split()[1:]]
        for param in self._context.command.params:
            name = param.name or ""
            if name in without or name in _ABOUT_OUTPUT or not (name in changed or self._typed(name)):
                continue
            value = changed.get(name, self._context.params[name])
            if isinstance(param, click.Option):
                words.append(_option(param, value))
            else:
                words += [shlex.quote(str(each)) for each in (value if isinstance(value, tuple) else (value,))]
        return " ".join(words)

    def _typed(self, name: str) -> bool:
        return self._context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE

    def _following(self, words: list[str]) -> click.Command | None:
        """The command that these words call; None if there is none."""
        context = self._context.find_root()
        found: click.Command | None = context.command
        for word in words:
            if not isinstance(found, click.Group):
                break
            found = found.get_command(context, word)
        return found


def _option(param: click.Option, value: object) -> str:
    """An option as it is typed; a URL that may hold a password is left to the reader."""
    flag = max(param.opts, key=len)
    if param.is_flag:
        return flag if value else max(param.secondary_opts, key=len, default="")
    text = str(value)
    return f"{flag} {'URL' if param.name in SECRET and _may_hold_password(text) else shlex.quote(text)}"


def _may_hold_password(url: str) -> bool:
    """Whether a URL holds a password, or is none, so that nobody can tell."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        return True
    return parts.password is not None or any("passw" in name.lower() for name in parts.query)
