"""`ensad latent`."""

from pathlib import Path

import click

from ensemble_ad.cli import _completion, _options


@click.command(short_help="Change a model's bottleneck and see what it decodes.")
@click.option(
    "--member", required=True, shell_complete=_completion.keys, help="Key of the member; `ensad compare` lists them."
)
@click.option("--image", help="ID of a test image.  [default: the first one's]")
@click.option("--scale", help="Elements of the latent and a factor each, as in 0:3,2:5.")
@click.option("--noise", default="0.2,0.5,0.8", show_default=True, help="Shares of noise to mix in, of 0 to 1.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "-o",
    "--output",
    type=_options.OUTPUT_FILE,
    default=Path("latent.png"),
    show_default=True,
    help="PNG to write; one that is there is replaced, - is stdout.",
)
@_options.device
@_options.data
@_options.studies
@_options.output
def latent(
    member: str,
    image: str | None,
    scale: str | None,
    noise: str,
    seed: int,
    output: Path,
    device: str,
    data: Path,
    studies: Path,
    say: _options.Say,
) -> None:
    """Show a test image, its reconstruction, and what is decoded when its latent is changed.

    Elements are counted from 0 in the flattened bottleneck. Without --scale, the three elements whose doubling changes
    the reconstruction most are tripled, one at a time; with it, all that are named are scaled at once. A share s of
    noise gives (1 - s) z + s noise, noise being a draw of what the bottleneck holds of normal images. The PNG's path is
    printed on stdout.

    \b
    Example:
      ensad latent --member fcn-0123456789ab --image 17
      ensad latent --member fcn-0123456789ab --image 17 --scale 0:3,2:5 --noise 0.2,0.5,0.8 -o out.png
    """
    from dataclasses import replace

    from ensemble_ad.detect.latent import parse_noise, parse_scale

    factors = None if scale is None else parse_scale(scale)
    shares = parse_noise(noise)

    from ensemble_ad.blend.saved import list_blends
    from ensemble_ad.cli import _folders, _outputs
    from ensemble_ad.detect.latent import NORMAL_IMAGES, bottleneck, changed_pictures, open_member, write_sheet
    from ensemble_ad.errors import UsageError
    from ensemble_ad.layout import is_key
    from ensemble_ad.members.store import has_member, load_member
    from ensemble_ad.training.device import choose_device

    if not is_key(member) or not has_member(studies, member):
        raise UsageError(f"there is no member {member!r} in {studies}; `ensad compare` lists those there are")
    cached = load_member(studies, member)
    opened = open_member(cached, choose_device(device))
    record = _folders.check_images(data, studies, cached.data, member, say)
    dataset = replace(_folders.dataset(data, studies, say, record.fit), named=record.groups)
    image = dataset.test.ids[0] if image is None else image
    if image not in dataset.test.ids:
        raise UsageError(f"there is no test image {image!r}; ids are {dataset.test.ids[0]} to {dataset.test.ids[-1]}")
    held_out = dataset.split().reference[:NORMAL_IMAGES]
    opening = bottleneck(opened, dataset.train.images[held_out])
    picture = dataset.test.images[dataset.test.ids.index(image)]
    tiles = [
        (f"test image {image}", opened.seen(picture[None])[0]),
        *changed_pictures(opening, picture, factors, shares, seed),
    ]
    write_sheet(output, tiles)
    say.result(
        _outputs.said(output),
        path=output,
        member=member,
        image=image,
        elements=opening.elements,
        pictures=[" ".join(caption.split()) for caption, _ in tiles],
    )
    say(f"{member} has the latent elements 0 to {opening.elements - 1}")
    blends, problems = list_blends(studies)
    say.next(
        "ensad report" if blends else _folders.blending(studies, [cached]),
        **({"blend": blends[-1].name} if blends and problems else {}),
    )
