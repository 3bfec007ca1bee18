"""The name of one column of error vectors among those of many members: `<member key>/<kind of error>`."""


def column_name(key: str, kind: str) -> str:
    """The name of a member's kind of error."""
    return f"{key}/{kind}"


def column_parts(name: str) -> tuple[str, str]:
    """The member's key and the kind of error that make up a name."""
    key, _, kind = name.partition("/")
    return key, kind
