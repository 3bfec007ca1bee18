"""The families of models. A new one is a file in this folder and a line in FAMILIES, where the tests find it."""

from ensemble_ad.errors import UsageError
from ensemble_ad.families import (
    cnn,
    contrast,
    cutpaste,
    fcn,
    inpaint,
    memory,
    mesdnet,
    multi_encoder,
    patchsvdd,
    pca,
    resnet,
    resnet_aux,
    vae,
    vqvae,
)
from ensemble_ad.families.architecture import Architecture
from ensemble_ad.families.base import Family, Preset
from ensemble_ad.families.model import Decoder, Model, Output

__all__ = ["FAMILIES", "Architecture", "Decoder", "Family", "Model", "Output", "Preset", "family", "preset"]

FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (
        fcn.FAMILY,
        cnn.FAMILY,
        vae.FAMILY,
        resnet.FAMILY,
        resnet_aux.FAMILY,
        multi_encoder.FAMILY,
        mesdnet.FAMILY,
        memory.FAMILY,
        vqvae.FAMILY,
        pca.FAMILY,
        cutpaste.FAMILY,
        patchsvdd.FAMILY,
        inpaint.FAMILY,
        contrast.FAMILY,
    )
}


def family(name: str) -> Family:
    """Look a family up.

    Raises:
        UsageError: if there is no family of that name; the message lists those there are.
    """
    if name not in FAMILIES:
        raise UsageError(f"unknown family {name!r}; the families are {', '.join(FAMILIES)}")
    return FAMILIES[name]


def preset(name: str) -> tuple[Family, Preset]:
    """Look a preset up, with its family.

    Raises:
        UsageError: if there is no preset of that name; the message lists those there are.
    """
    for each in FAMILIES.values():
        if name in each.presets:
            return each, each.presets[name]
    known = ", ".join(name for each in FAMILIES.values() for name in each.presets)
    raise UsageError(f"unknown preset {name!r}; the presets are {known}")


def named(name: str) -> Family | tuple[Family, Preset]:
    """The family of that name, or the preset with its family, for who takes both.

    Raises:
        UsageError: if there is neither; the message lists the families.
    """
    if name not in FAMILIES and not any(name in each.presets for each in FAMILIES.values()):
        raise UsageError(
            f"unknown family {name!r}; the families are {', '.join(FAMILIES)}, and `ensad families` lists the presets"
        )
    return FAMILIES[name] if name in FAMILIES else preset(name)
