"""`ensad train`."""

from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Train one published system.")
@click.option(
    "--preset", required=True, shell_complete=_completion.presets, help="Its name; `ensad families` lists them."
)
@click.option("--epochs", type=int, help="Instead of the published number.")
@click.option("--batch-size", type=int, help="Instead of the published size.")
@click.option("--transductive", is_flag=True, help="Allow a system that is trained on the unlabelled test images.")
@click.option("--flips", is_flag=True, help="Score an image by the mean of it and its mirror image.")
@click.option("--subset", type=int, help="Train on that many images only.")
@click.option("--size", type=int,
              help="Side in pixels that the crop is resized to.  [default: as published, or as it is]")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@_options.precision
@_options.data
@_options.studies
@_options.output
def train(
    preset: str,
    epochs: int | None,
    batch_size: int | None,
    transductive: bool,
    flips: bool,
    subset: int | None,
    size: int | None,
    seed: int,
    device: str,
    precision: str,
    data: Path,
    studies: Path,
    say: _options.Say,
) -> None:
    """Train a preset, a published system with its published settings, and cache it as a member.

    The epoch that is kept is the one that separates test images best from held-out normal ones; no labels are read.
    The member's key is printed on stdout.

    \b
    Example:
      ensad train --preset fcn-medium
      ensad train --preset fcn-boss --epochs 10
    """
    from dataclasses import asdict, replace

    from ensemble_ad.cli._progress import counted
    from ensemble_ad.data.dataset import load_dataset
    from ensemble_ad.data.preprocess import Preprocess
    from ensemble_ad.families import preset as look_up
    from ensemble_ad.files.whole import make_folder
    from ensemble_ad.layout import preprocessed_folder
    from ensemble_ad.members.objectives import Judgement
    from ensemble_ad.members.store import discard_damaged
    from ensemble_ad.training.device import choose_device, choose_precision
    from ensemble_ad.training.judge import JudgedBy
    from ensemble_ad.training.loop import Epoch
    from ensemble_ad.training.make_member import fit_member
    from ensemble_ad.training.prepared import PseudoImages
    from ensemble_ad.training.recipe import Recipe, check_transductive
    from ensemble_ad.training.settings import TrainSettings

    family, published = look_up(preset)
    check_transductive(family, allowed=transductive)
    make_folder(studies)
    dataset = load_dataset(data, image_cache=preprocessed_folder(studies))
    place = choose_device(device)
    training = TrainSettings(seed=seed, precision=choose_precision(precision, place), **published.training)
    training = replace(
        training,
        epochs=training.epochs if epochs is None else epochs,
        batch_size=training.batch_size if batch_size is None else batch_size,
    )
    recipe = Recipe(
        data=dataset.fingerprint,
        family=family.name,
        architecture=published.architecture,
        preprocess=Preprocess(
            crop=published.crop,
            size=(published.size or (dataset.side, dataset.side)) if size is None else (size, size),
            channels=dataset.channels,
            via=published.via,
        ),
        training=training,
        objective="separation",
        labels=None,
        subset=subset,
        patience=None,
        flips=flips,
    )

    damaged = discard_damaged(studies, recipe.key)
    if damaged:
        say.warn(damaged)
    parts, best = 1, 0.0
    with counted(say, training.epochs) as steps:

        def after_epoch(epoch: Epoch, judgement: Judgement) -> None:
            nonlocal parts, best
            if epoch.parts > parts:
                parts = epoch.parts
                steps.line(epoch.memory_note)
            best = max(best, judgement.value)
            text = (
                f"loss {epoch.loss:.4f} separation {judgement.value:.4f} best {best:.4f} "
                f"{epoch.images_per_second:,.0f} images/s"
            )
            steps.done(epoch.number, text)
            if not say.live:
                say(f"epoch {epoch.number}/{training.epochs} {text}")

        member = fit_member(
            dataset,
            recipe,
            studies=studies,
            device=place,
            after_epoch=after_epoch,
            judged_by=JudgedBy(pseudo=None if family.transductive else PseudoImages.of(dataset)),
            preset=preset,
        )
    say(f"separation {member.value:.4f} by {member.main_column}, epoch {member.info.best_epoch}")
    say.result(
        member.key,
        key=member.key,
        preset=preset,
        best_epoch=member.info.best_epoch,
        objective=asdict(member.info.objective),
    )
    say.next(f"ensad blend --members {member.key}")
