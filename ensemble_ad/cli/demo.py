"""`ensad demo`."""

import os
import shlex
from pathlib import Path
from typing import Any

import click

from ensemble_ad.cli import _options


@click.command(short_help="The whole job on bundled images, in two minutes.")
@click.option("--out", type=_options.OUTPUT_FOLDER, default=Path("ensad-demo"), show_default=True,
              help="Folder for its data, studies and submissions.")  # fmt: skip
@click.option("--only-data", is_flag=True, help="Write the images and stop.")
@_options.output
@click.pass_context
def demo(ctx: click.Context, out: Path, only_data: bool, say: _options.Say) -> None:
    """Tune, blend, submit and evaluate on scikit-learn's handwritten digits, offline, on two cores.

    The digits 0 to 4 are normal, 5 to 9 are the anomalies. What runs are the same commands that you would type; each is
    shown before it runs. A rerun goes on where the last one ended, and finds its members in the cache. Data and studies
    of your own are never touched: a folder that holds any is refused.

    \b
    Example:
      ensad demo
      ensad demo --out /tmp/demo
      ensad demo --only-data --out .
    """
    import time

    from ensemble_ad.cli._output import restore
    from ensemble_ad.data.digits import NORMAL_DIGITS, write_digits
    from ensemble_ad.files.whole import make_folder

    started = time.perf_counter()
    data, studies, submissions = (shlex.quote(str(out / name)) for name in ("data", "studies", "submissions"))
    if not only_data:
        _check_studies(out / "studies")
    write_digits(make_folder(out / "data"))
    say(f"{data}: scikit-learn's handwritten digits; {min(NORMAL_DIGITS)} to {max(NORMAL_DIGITS)} are normal")
    if only_data:
        say.result(str(out / "data"), data=out / "data")
        say.next("ensad data check" + ("" if out == Path() else f" --data {data}"))
        return
    # The whole path of a user's command: parsing, defaults, errors. Only its folders are the demo's own, and what the
    # user has set elsewhere is left out, so that what runs is what is shown.
    for name in [name for name in os.environ if name.startswith("ENSAD_")]:
        del os.environ[name]
    at = f"--data {data} --studies {studies}"
    lines = (
        f"data check {at}",
        f"run --trials 4 --families fcn,inpaint,pca {at} --submissions {submissions}",
        f"evaluate {at}",
        f"compare --studies {studies}",
    )
    steps = [_run(line, ctx, say) for line in lines]
    restore(ctx, say)
    say(
        f"\ndone in {time.perf_counter() - started:.0f} s; images in {data}, "
        f"studies and members in {studies}, CSV in {submissions}"
    )
    say.result(data=out / "data", studies=out / "studies", submissions=out / "submissions", steps=steps)
    say("on your own data, with trainingset.npy and testingset.npy in data/:")
    say("  ensad run --time 30m")
    say.next(
        f"ensad report --data {data} --studies {studies}", f"ensad score {data}/testingset.npy --studies {studies}"
    )


def _check_studies(studies: Path) -> None:
    """Refuse a folder of studies of the user's own: the demo's blend would be the latest there.

    Raises:
        UsageError: if there is a member or a blend of other images.
    """
    from ensemble_ad.blend.saved import list_blends
    from ensemble_ad.data.digits import read_digits
    from ensemble_ad.errors import UsageError
    from ensemble_ad.members.store import list_members

    found = {member.data for member in list_members(studies)[0]} | {blend.data for blend in list_blends(studies)[0]}
    if found and found != {read_digits().fingerprint}:
        raise UsageError(f"{studies} holds members of other images than the demo's; name another folder with --out")


def _run(line: str, ctx: click.Context, say: _options.Say) -> dict[str, Any]:
    """Show a command, run it as if it had been typed, and give what it found."""
    from ensemble_ad.cli import main
    from ensemble_ad.cli._output import current

    extra = ["--quiet"] if say.level < 0 else ["--verbose"] * say.level
    extra += ["--json"] if say.as_json else []
    say(f"\n$ ensad {line}")
    with main.make_context("ensad", [*shlex.split(line), *extra], parent=ctx.parent) as inner:
        main.invoke(inner)
    done = current(ctx)
    return {"command": f"ensad {line}", "result": done.fields, "warnings": done.warnings}
