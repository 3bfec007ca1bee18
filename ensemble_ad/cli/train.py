"""`ensad train`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_ad.cli import _completion, _options

if TYPE_CHECKING:
    from ensemble_ad.data.fit import Fit


@click.command(short_help="Train one published system.")
@click.option(
    "--preset", required=True, shell_complete=_completion.presets, help="Its name; `ensad families` lists them."
)
@click.option("--epochs", type=int, help="Instead of the published number.")
@click.option("--batch-size", type=int, help="Instead of the published size.")
@click.option("--transductive", is_flag=True, help="Allow a system that is trained on the unlabelled test images.")
@click.option("--mirror", is_flag=True, help="Mirror images at random while training; no published system does.")
@click.option("--flips", is_flag=True, help="Score an image by the mean of it and its mirror image.")
@click.option("--subset", type=int, help="Train on that many images only.")
@click.option("--size", type=int,
              help="Side in pixels that the crop is resized to.  [default: as published, or as it is]")  # fmt: skip
@_options.tiles
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights, order and noise.")
@_options.device
@_options.precision
@_options.train_anyway
@_options.data
@_options.fit
@_options.groups
@_options.studies
@_options.output
def train(
    preset: str,
    epochs: int | None,
    batch_size: int | None,
    transductive: bool,
    mirror: bool,
    flips: bool,
    subset: int | None,
    size: int | None,
    tiles: int | None,
    seed: int,
    device: str,
    precision: str,
    anyway: bool,
    data: Path,
    fit: "Fit",
    groups: Path | None,
    studies: Path,
    say: _options.Say,
) -> None:
    """Train a preset, a published system with its published settings, and cache it as a member.

    The epoch that is kept is the one that separates test images best from held-out normal ones, or, without test
    images, damaged ones from others; no labels are read.
    The member's key is printed on stdout.

    \b
    Example:
      ensad train --preset fcn-medium
      ensad train --preset fcn-boss --epochs 10
    """
    from dataclasses import asdict

    from ensemble_ad.cli import _folders
    from ensemble_ad.cli._progress import training
    from ensemble_ad.families import preset as look_up
    from ensemble_ad.files.whole import make_folder
    from ensemble_ad.members.data_record import rename_images
    from ensemble_ad.members.store import discard_damaged
    from ensemble_ad.search.signals import like_ctrl_c
    from ensemble_ad.training.device import choose_device, choose_precision
    from ensemble_ad.training.judge import JudgedBy
    from ensemble_ad.training.make_member import fit_member
    from ensemble_ad.training.prepared import PseudoImages
    from ensemble_ad.training.published import published_recipe
    from ensemble_ad.training.recipe import check_transductive

    click.get_current_context().with_resource(like_ctrl_c())
    family, _ = look_up(preset)
    check_transductive(family, allowed=transductive)
    make_folder(studies)
    dataset = _folders.dataset(data, studies, say, fit, test_optional=True, groups=groups)
    rename_images(studies, dataset)
    _folders.check_worth(dataset, data, say, anyway=anyway)
    place = choose_device(device)
    recipe = published_recipe(
        preset, dataset, seed=seed, precision=choose_precision(precision, place), epochs=epochs, batch_size=batch_size,
        size=size, tile=tiles, subset=subset, mirror=mirror, flips=flips,
    )  # fmt: skip
    damaged = discard_damaged(studies, recipe.key)
    if damaged:
        say.warn(damaged)
    judged_by = JudgedBy(pseudo=None if family.transductive else PseudoImages.of(dataset))
    with training(say, recipe.training.epochs, recipe.objective) as after_epoch:
        member = fit_member(
            dataset, recipe, studies=studies, device=place, after_epoch=after_epoch, judged_by=judged_by, preset=preset
        )
    say(f"{recipe.objective} {member.value:.4f} by {member.main_column}, epoch {member.info.best_epoch}")
    say.result(
        member.key,
        key=member.key,
        preset=preset,
        best_epoch=member.info.best_epoch,
        objective=asdict(member.info.objective),
    )
    say.next(_folders.blending_of(studies, dataset.fingerprint, member.key))
