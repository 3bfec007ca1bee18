"""What a study is judged by, as the user asked for it: the objective's name, and the labels that it reads."""

from pathlib import Path

from ensemble_ad.errors import UsageError
from ensemble_ad.files.whole import file_hash
from ensemble_ad.members.objectives import AUTO, OBJECTIVES


def objective_name(asked: str | None, labels: Path | None) -> str:
    """The objective that was asked for; by default `labels` where labels are given, else `auto`.

    An unknown name is given back as it is: `objectives.objective` refuses it.

    Raises:
        UsageError: for labels that the objective does not read, or none that it needs.
    """
    name = asked or ("labels" if labels else AUTO)
    known = name == AUTO or name in OBJECTIVES
    needs_labels = name in OBJECTIVES and "labels" in OBJECTIVES[name].needs
    if known and needs_labels and labels is None:
        raise UsageError(f"--objective {name} needs --labels FILE")
    if known and not needs_labels and labels is not None:
        raise UsageError(f"--objective {name} reads no labels; leave --labels out")
    return name


def labels_hash(labels: Path | None) -> str | None:
    """What members keep of the labels that judged them: the file's name and 12 digits of its hash."""
    if labels is None:
        return None
    # The table shows the name, and control characters in it would be no text.
    name = "".join(c if c.isprintable() else "_" for c in labels.name)
    return f"{name}:{file_hash(labels)[:12]}"
