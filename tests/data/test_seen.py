"""New images that are unlike all training images are known by a few numbers, and ordinary ones are not."""

import numpy as np
import pytest

from ensemble_ad.data.seen import MEANINGS, Seen, Strange


@pytest.fixture(scope="module")
def digits(digits_folder):
    """The digits' training and test images, uint8 (n, 32, 32, 1)."""
    return np.load(digits_folder / "trainingset.npy"), np.load(digits_folder / "testingset.npy")


@pytest.fixture(scope="module")
def pictures(photos):
    """Crops of photographs in colour, uint8 (400, 32, 32, 3)."""
    return photos(400, 32, 3)


def test_new_images_of_the_same_kind_are_not_flagged(digits, pictures):
    train, test = digits
    assert Seen.of(train).unlike(test) == [None] * len(test)
    flagged = [kind for kind in Seen.of(pictures[:200]).unlike(pictures[200:]) if kind is not None]
    assert len(flagged) <= 2


@pytest.mark.parametrize("value", [0, 17, 128, 255])
def test_a_constant_image_is_flagged_whatever_its_value(digits, pictures, value):
    for images in (digits[0], pictures):
        blank = np.full_like(images[:2], value)
        assert Seen.of(images).unlike(blank) == ["constant", "constant"]
    constant_too = np.concatenate([digits[0], np.zeros_like(digits[0][:1])])
    assert Seen.of(constant_too).unlike(np.zeros_like(digits[0][:1])) == [None]


def test_each_kind_is_told(pictures):
    middle = (pictures // 4 + 96).astype(np.uint8)  # neither dark nor bright, and no clear sky
    middle = middle[middle.reshape(len(middle), -1).std(axis=1) > 5]
    seen = Seen.of(middle)
    rng = np.random.default_rng(0)
    grey = np.repeat(middle[:1, ..., :1], 3, axis=3)
    flat = (middle[:1] // 32 + 112).astype(np.uint8)
    noise = (rng.integers(0, 2, middle[:1].shape) * 255).astype(np.uint8)
    wanted = {
        "constant": np.full_like(middle[:1], 128),
        "grey": grey,
        "darker": middle[:1] // 3,
        "brighter": 255 - middle[:1] // 4,
        "flatter": flat,
        "sharper": noise,
    }
    assert {kind: seen.unlike(image)[0] for kind, image in wanted.items()} == {kind: kind for kind in wanted}
    assert Seen.of(np.repeat(middle[..., :1], 3, axis=3)).unlike(middle[:1]) == ["coloured"]
    assert set(MEANINGS) == {*wanted, "coloured"}


def test_a_few_grey_pictures_among_coloured_ones_are_seen(pictures):
    grey = np.repeat(pictures[:1, ..., :1], 3, axis=3)
    assert Seen.of(np.concatenate([pictures, grey])).unlike(grey) == [None]


def test_what_was_not_noted_is_not_flagged(digits, pictures):
    assert Seen.unknown(coloured=True).unlike(pictures[:3] // 9) == [None] * 3
    assert Seen.unknown(coloured=False).unlike(digits[0][:3]) == [None] * 3
    assert Seen.unknown(coloured=True).unlike(np.zeros_like(pictures[:1])) == ["constant"]
    assert Seen.unknown(coloured=True).unlike(np.repeat(pictures[:1, ..., :1], 3, axis=3)) == ["grey"]


def test_it_comes_back_from_json_and_nothing_else_does(pictures):
    seen = Seen.of(pictures)
    assert Seen.from_json(seen.to_json()) == seen
    for value in (None, [], {}, {**seen.to_json(), "grey": 1}, {**seen.to_json(), "darkest": "0"}):
        with pytest.raises(TypeError):
            Seen.from_json(value)


def test_any_number_of_strange_images_is_one_line():
    strange = Strange()
    strange.add(map(str, range(1000)), ["darker", None] * 500)
    strange.add(["x"], ["constant"])
    assert (strange.count, strange.counts) == (501, {"darker": 500, "constant": 1})
    assert strange.in_words() == (
        "unlike all training images, so that a score means little: 1 constant (one value everywhere; "
        "the first is 'x'), 500 darker (far darker than any training image; the first is '0'); of 1001 images"
    )
