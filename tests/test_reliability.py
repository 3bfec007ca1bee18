"""Every test that `docs/reliability.md` names is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PROMISES = TESTS.parent / "docs" / "reliability.md"


def test_every_test_that_is_named_is_there():
    known: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        known.setdefault(path.stem, set()).update(re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE))
    for line in PROMISES.read_text(encoding="utf-8").splitlines():
        module = ""
        for file, name in re.findall(r"`(test_\w+)?(?:::(test_\w+))?`", line):
            module = file or module
            if module:
                assert module in known, f"there is no {module}.py"
                assert not name or name in known[module], f"{module}.py has no {name}"
