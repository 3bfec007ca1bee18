"""Images that could not be scored: told as they come, counted, and never so many in memory."""

from collections.abc import Iterator

import numpy as np

from ensemble_ad.data.stream import Block
from ensemble_ad.errors import DataError
from ensemble_ad.files.id_table import check_cells

_LISTED = 20
_KEPT = 100


class Skipped:
    """Collects what `stream` leaves out.

    Attributes:
        count: how many images or sources were left out.
        first: the names and reasons of the first hundred.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: list[dict[str, str]] = []
        self._told = 0

    def __call__(self, name: str, error: DataError) -> None:
        """Take note of an image or a source."""
        self.count += 1
        if len(self.first) < _KEPT:
            self.first.append({"ID": name, "error": str(error)})

    def news(self) -> Iterator[str]:
        """A line about each that was not told yet; of many, only the first twenty are told."""
        while self._told < min(self.count, _LISTED):
            self._told += 1
            yield self.first[self._told - 1]["error"]

    @property
    def untold(self) -> int:
        """How many were not told."""
        return self.count - self._told

    def error(
        self,
        done: int,
        verb: str = "scored",
        rest: str = "the scores of the others were written (--strict stops at the first)",
    ) -> DataError:
        """What to raise in the end, given how many images were scored, and what became of these."""
        reason = self.first[0]["error"]
        if done == 0:
            return DataError(reason if self.count == 1 else f"none of {self.count} could be {verb}; {reason}")
        return DataError(f"{self.count} of {done + self.count} could not be {verb}, the first: {reason}; {rest}")

    def writable(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Blocks without the images whose ids no CSV file may hold."""
        for block in blocks:
            kept = []
            for row, name in enumerate(block.ids):
                try:
                    check_cells([name], "a picture, whose scores --format json would take,")
                    kept.append(row)
                except DataError as error:
                    self(name, error)
            if len(kept) == len(block.ids):
                yield block
            elif kept:
                shapes = [block.shapes[row] for row in kept]
                yield Block([block.ids[row] for row in kept], block.images[np.array(kept)], shapes)
