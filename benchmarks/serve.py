"""What one new picture costs, from the shell and by a loaded blend, and what SSIM costs; see serve.md.

    ensad demo --out demo
    python benchmarks/serve.py --studies demo/studies --images demo/data/testingset.npy --repeats 8

What is compared takes turns, in pairs: wall and processor seconds are medians, with the least and the largest.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _record import head, line, parser, record, shown
from _turns import Cost, cost, in_turns, ratios, spread

CALLS = 50


def from_the_shell(studies: Path, image: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """`ensad score` of one picture by the latest blend, beside a bare `import torch`."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        picture = f"{folder}/one.png"
        Image.fromarray(image.squeeze()).save(picture)
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "ensad score": [sys.executable, "-m", "ensemble_ad", "score", picture, "--studies", str(studies), "-q"],
        }
        ways: dict[str, Callable[[], Cost]] = {
            name: lambda command=command: cost(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))  # type: ignore[misc]
            for name, command in commands.items()
        }
        in_turns(ways, 1)
        found = in_turns(ways, repeats)
    rows: list[dict[str, Any]] = [
        {
            "what": name,
            "wall": spread([each.wall for each in some]),
            "processor": spread([each.processor for each in some]),
        }
        for name, some in found.items()
    ]
    bare, scored = found.values()
    for clock in ("wall", "processor"):
        over = ratios([getattr(each, clock) for each in scored], [getattr(each, clock) for each in bare])
        rows[1][f"{clock}_over_torch"] = spread(over)
    return rows


def by_a_loaded_scorer(studies: Path, image: np.ndarray) -> dict[str, Any]:
    """`score` of one picture, in milliseconds, by a blend that is loaded."""
    import ensemble_ad as ea

    scorer = ea.load_blend(studies=studies, device="cpu")
    scorer.score_and_compare(image[None])
    walls, processors = [], []
    for _ in range(CALLS):
        before = cost(lambda: scorer.score_and_compare(image[None]))
        walls.append(1000 * before.wall)
        processors.append(1000 * before.processor)
    return {
        "what": f"loaded, {len(scorer.blend.info.members)} members",
        "wall_ms": spread(walls),
        "processor_ms": spread(processors),
    }


def ssim(side: int, channels: int) -> dict[str, Any]:
    """SSIM of 1,024 made-up images in batches of 64: processor seconds, and what it adds to the peak of memory."""
    import torch

    from ensemble_ad.families.reconstruction import structural_dissimilarity

    images = torch.rand(64, channels, side, side).contiguous(memory_format=torch.channels_last) * 2 - 1
    other = images.flip(3)
    with torch.inference_mode():
        before = _peak()
        structural_dissimilarity(images, other)
        grown = _peak() - before
        started = time.process_time()
        for _ in range(16):
            structural_dissimilarity(images, other)
    return {
        "what": f"SSIM of 1,024 images {side}x{side}x{channels}",
        "seconds": time.process_time() - started,
        "peak_mb": grown / 1e6,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    given = parser(__doc__, "studies", "images", repeats=8, out=True).parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    image = np.load(given.images, mmap_mode="r")[0]
    rows = from_the_shell(given.studies, image, given.repeats)
    rows.append(by_a_loaded_scorer(given.studies, image))
    rows += [ssim(*shape) for shape in ((32, 1), (64, 3), (256, 1))]
    print(head("what", "wall", "processor"))
    for row in rows[:2]:
        print(line(row["what"], shown(row["wall"], ".2f"), shown(row["processor"], ".2f")))
    print(
        line("over `import torch`", *(shown(rows[1][f"{clock}_over_torch"], ".2f") for clock in ("wall", "processor")))
    )
    print(line(f"{rows[2]['what']}, ms", *(shown(rows[2][f"{clock}_ms"], ".0f") for clock in ("wall", "processor"))))
    for row in rows[3:]:
        print(line(row["what"], "", f"{row['seconds']:.2f} s, {row['peak_mb']:.0f} MB more"))
    record("serve", given.out, rows)


if __name__ == "__main__":
    main()
