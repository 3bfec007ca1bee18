"""Pictures of any height and width as square images of one side, and maps of those images back on the picture."""

from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from ensemble_ad.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ensemble_ad.data.images import Images
    from ensemble_ad.statistics.arrays import Floats32

Fit = Literal["pad", "squash", "crop"]
"""How a picture that is not square becomes square: its ends are mirrored, its aspect is lost, or its ends are."""
FITS: tuple[Fit, ...] = get_args(Fit)
Shape = tuple[int, int]
"""(height, width) of a picture."""
_Pixel = TypeVar("_Pixel", "np.uint8", "np.float32")


def checked_fit(name: str) -> Fit:
    """The fit of that name.

    Raises:
        UsageError: if there is none.
    """
    found = next((fit for fit in FITS if fit == name), None)
    if found is None:
        raise UsageError(f"a fit must be one of {', '.join(FITS)}, not {name!r}")
    return found


def fitted(picture: "Images", fit: Fit, side: int) -> "Images":
    """A picture as a square image.

    `pad` scales the picture until its longer side fits, centres it, and mirrors it beside itself; `squash` scales both
    sides alike; `crop` scales the largest square in the middle. Scaling is Pillow's anti-aliased "bilinear". A square
    picture of that side stays as it is, whatever the fit.

    Args:
        picture: uint8 (height, width) or (height, width, C), C of 1 or 3.
        fit: one of `FITS`.
        side: the side of the image, in pixels.

    Returns:
        uint8 (side, side) or (side, side, C).
    """
    import numpy as np

    if picture.shape[:2] == (side, side):
        return picture
    if fit == "crop":
        picture = picture[_square_of(picture.shape[:2])]
    rows, columns = _place(picture.shape[:2], side) if fit == "pad" else (slice(0, side), slice(0, side))
    scaled = _scaled(picture, (rows.stop - rows.start, columns.stop - columns.start))
    beside = ((rows.start, side - rows.stop), (columns.start, side - columns.stop), (0, 0))
    return np.pad(scaled, beside[: scaled.ndim], mode="symmetric")


def unfitted(errors: "Floats32", shape: Shape, fit: Fit) -> "Floats32":
    """A map of a fitted image on the picture: the inverse of `fitted`, as far as there is one.

    Args:
        errors: float32 (side, side), one number a pixel of the image, of any side.
        shape: (height, width) of the picture.
        fit: what it was fitted by.

    Returns:
        float32 (height, width). What `crop` has cut off was never looked at, and gets the map's least value.
    """
    import numpy as np

    if errors.shape == shape:
        return errors
    if fit == "pad":
        return _scaled(errors[_place(shape, len(errors))], shape)
    if fit == "squash":
        return _scaled(errors, shape)
    found = np.full(shape, errors.min(), dtype=np.float32)
    middle = _square_of(shape)
    found[middle] = _scaled(errors, found[middle].shape)
    return found


def _place(shape: Shape, side: int) -> tuple[slice, slice]:
    """The rows and columns of a square image that a picture fills when its longer side does."""
    lengths = (max(1, round(length * side / max(shape))) for length in shape)
    rows, columns = (slice((side - length) // 2, (side - length) // 2 + length) for length in lengths)
    return rows, columns


def _square_of(shape: Shape) -> tuple[slice, slice]:
    """The rows and columns of the largest square in the middle of a picture."""
    least = min(shape)
    rows, columns = (slice((length - least) // 2, (length - least) // 2 + least) for length in shape)
    return rows, columns


def _scaled(pixels: "npt.NDArray[_Pixel]", shape: Shape) -> "npt.NDArray[_Pixel]":
    """uint8 (h, w) or (h, w, C), or float32 (h, w), at another height and width."""
    import numpy as np
    from PIL import Image

    if pixels.shape[:2] == shape:
        return pixels
    flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    image = Image.fromarray(np.ascontiguousarray(flat)).resize(shape[::-1], Image.Resampling.BILINEAR)
    scaled: npt.NDArray[_Pixel] = np.asarray(image, dtype=pixels.dtype)
    return scaled.reshape(*shape, *pixels.shape[2:])
