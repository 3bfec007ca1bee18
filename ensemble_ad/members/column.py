"""A column of a blend by its name: a member's kind of error, as it is or inverted."""

from typing import NamedTuple, Self

_INVERTED = " (inverted)"


class Column(NamedTuple):
    """A column of a blend.

    Attributes:
        key: the member's key.
        kind: the kind of error.
        inverted: whether the blend has the negated errors, since anomalies have low ones.
    """

    key: str
    kind: str
    inverted: bool = False

    @property
    def marked_kind(self) -> str:
        """The kind of error with the mark of an inverted one, which no kind of error has in its name."""
        return self.kind + _INVERTED * self.inverted

    @property
    def name(self) -> str:
        """`<member key>/<kind of error>`, with that mark."""
        return f"{self.key}/{self.marked_kind}"

    @classmethod
    def of(cls, name: str) -> Self:
        """The inverse of `name`."""
        key, _, kind = name.removesuffix(_INVERTED).partition("/")
        return cls(key, kind, name.endswith(_INVERTED))
