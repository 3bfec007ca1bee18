"""Looking into a bottleneck: what is scaled, what is mixed in, and the sheet that `ensad latent` writes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.data.preprocess import apply
from ensemble_ad.detect.latent import bottleneck, open_member, parse_noise, parse_scale
from ensemble_ad.errors import UsageError
from ensemble_ad.members.store import list_members
from ensemble_ad.training.load import load_model
from ensemble_ad.training.step import to_input

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(digits_folder, shared_folder):
    return load_dataset(digits_folder, image_cache=shared_folder)


@pytest.fixture(scope="module", params=["fcn", "resnet"])
def opening(request, studies_folder, dataset):
    """The bottleneck of a trained member of each family, and a test image's latent in it."""
    member = next(m for m in list_members(studies_folder)[0] if m.family == request.param)
    opened = open_member(member, CPU)
    return bottleneck(opened, dataset.train.images[:40])


def test_the_latent_decodes_to_the_members_own_reconstruction(opening, studies_folder, dataset):
    member = next(m for m in list_members(studies_folder)[0] if m.key == opening.of.key)
    model, _, _ = load_model(member, CPU)
    images = dataset.test.images[:3]
    with torch.inference_mode():
        seen = to_input(torch.tensor(np.ascontiguousarray(apply(images, opening.of.preprocess))))
        expected = model(seen).reconstruction
        latents = torch.cat([opening.encode(image) for image in images])
    made = opening.decode(latents)
    assert made.dtype == np.uint8
    assert (to_input(torch.tensor(made)) - expected).abs().max() <= 1 / 127.5
    # An image alone and in a batch may differ in the last bit, and so by a grey level once rounded.
    np.testing.assert_allclose(made.astype(int), opening.of.reconstruct(images).astype(int), rtol=0, atol=1)


def test_noise_goes_from_the_image_to_a_draw_that_has_forgotten_it(opening, dataset):
    one, two = (opening.encode(image) for image in dataset.test.images[:2])
    torch.testing.assert_close(opening.mixed(one, 0.0), one)
    torch.testing.assert_close(opening.mixed(one, 1.0), opening.mixed(two, 1.0))
    half = (one + opening.mixed(one, 1.0)) / 2
    torch.testing.assert_close(opening.mixed(one, 0.5), half)
    assert not torch.allclose(opening.mixed(one, 0.5, seed=1), half)
    # A draw of what normal images have: by element their mean and standard deviation.
    drawn = torch.cat([opening.mixed(one, 1.0, seed=seed) for seed in range(300)])
    off = (drawn.mean(0) - opening.mean[0]) / (opening.deviation[0] + 1e-9)
    assert off.abs().max() < 5 / 300**0.5
    ratio = drawn.std(0) / (opening.deviation[0] + 1e-9)
    assert ratio[opening.deviation[0] > 0].sub(1).abs().max() < 0.25


def test_what_normal_images_have_is_measured_on_them(opening, dataset):
    latents = torch.cat([opening.encode(image) for image in dataset.train.images[:40]])
    torch.testing.assert_close(opening.mean[0], latents.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(opening.deviation[0], latents.std(0, unbiased=False), rtol=1e-3, atol=1e-5)


def test_scaling_changes_the_named_elements_and_no_other(opening, dataset):
    z = opening.encode(dataset.test.images[0])
    changed = opening.scaled(z, {0: 3.0, 2: -1.0})
    expected = z.clone()
    expected[0, 0] *= 3
    expected[0, 2] *= -1
    torch.testing.assert_close(changed, expected)
    torch.testing.assert_close(opening.scaled(z, {1: 1.0}), z)
    for element in (opening.elements, -1):
        with pytest.raises(UsageError, match=f"0 to {opening.elements - 1}, and no {element}"):
            opening.scaled(z, {element: 2.0})


def test_the_telling_elements_are_those_whose_doubling_changes_most(opening, dataset):
    z = opening.encode(dataset.test.images[0])
    plain = opening.decode(z).astype(float)
    near = z[0].abs().argsort(descending=True)[:64].tolist()
    change = {i: np.square(opening.decode(opening.scaled(z, {i: 2.0})) - plain).mean() for i in near}
    told = opening.telling(z, 3)
    assert [change[i] for i in told] == sorted(change.values(), reverse=True)[: len(told)]


def test_a_share_of_noise_beyond_one_is_refused(opening, dataset):
    with pytest.raises(UsageError, match=r"lies in 0 to 1, not 1\.5"):
        opening.mixed(opening.encode(dataset.test.images[0]), 1.5)


@pytest.mark.parametrize("text", ["", "0", "0:", ":3", "0:3,", "0:3,0:4", "-1:2", "0:nan", "0:inf", "a:b", "0:3;2:5"])
def test_a_scale_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="as in 0:3,2:5"):
        parse_scale(text)


@pytest.mark.parametrize("text", ["", "20", "0.2,", "-0.1", "nan", "x", "0.2;0.5"])
def test_noise_that_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match=r"as in 0\.2,0\.5,0\.8"):
        parse_noise(text)


def test_what_is_typed_is_read():
    assert parse_scale("0:3, 2:-0.5") == {0: 3.0, 2: -0.5}
    assert parse_noise("0.2,0.5,1") == [0.2, 0.5, 1.0]


def test_the_command_writes_a_sheet_of_all_that_was_asked_for(run_ensad, data, studies):
    key = next(m.key for m in list_members(studies)[0] if m.family == "fcn")
    result = run_ensad(
        "latent", "--member", key, "--image", 5, "--scale", "0:3,2:5", "--noise", "0.2,0.8", "-o", "a.png"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == "a.png\n"
    with Image.open("a.png") as sheet:
        assert sheet.format == "PNG"
        wide = sheet.width
        assert np.asarray(sheet.convert("L")).std() > 20
    result = run_ensad("latent", "--member", key, "--json", "-q")
    assert json.loads(result.stdout)["result"]["pictures"][-3:] == ["20% noise", "50% noise", "80% noise"]
    with Image.open("latent.png") as sheet:
        # The image, its reconstruction, and two pictures of noise or three; one of scaling or three.
        assert sheet.width - 12 == (wide - 12) / 5 * 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--member fcn-0123456789ab", "there is no member 'fcn-0123456789ab'"),
        ("--member {key} --image 120", "there is no test image '120'; ids are 0 to 119"),
        ("--member {key} --scale 9999:2", "and no 9999"),
        ("--member {key} --noise 50", "shares of 0 to 1"),
    ],
)
def test_a_wrong_request_is_one_clear_line(run_ensad, data, studies, arguments, says):
    key = next(m.key for m in list_members(studies)[0] if m.family == "fcn")
    result = run_ensad("latent", *arguments.format(key=key).split())
    assert result.exit_code == 2
    assert says in result.stderr
    assert not list(data.parent.glob("*.png"))


def test_other_images_than_the_members_own_are_refused(run_ensad, data, studies):
    key = next(m.key for m in list_members(studies)[0] if m.family == "fcn")
    np.save(data / "testingset.npy", np.load(data / "testingset.npy")[::-1])
    result = run_ensad("latent", "--member", key)
    assert result.exit_code == 3
    assert "holds other images than" in result.stderr
    assert "--anyway" not in result.stderr


def test_imported_scores_and_families_without_a_decoder_are_refused(run_ensad, data, studies):
    run_ensad("import", "--template", "held.csv")
    rows = (data.parent / "held.csv").read_text().splitlines()[1:]
    (data.parent / "held.csv").write_text("ID,score\n" + "".join(f"{r}{i}\n" for i, r in enumerate(rows)))
    (data.parent / "test.csv").write_text("ID,score\n" + "".join(f"{i},{i}\n" for i in range(120)))
    imported = run_ensad("import", "test.csv", "--reference", "held.csv", "--name", "knn")
    assert imported.exit_code == 0, imported.output
    result = run_ensad("latent", "--member", imported.stdout.strip())
    assert result.exit_code == 2
    assert "was imported as scores" in result.stderr
    trained = run_ensad(
        "tune", "--family", "cutpaste", "--trials", 1, "--epochs", 1, "--max-width", 8, "--device", "cpu"
    )
    result = run_ensad("latent", "--member", trained.stdout.strip())
    assert result.exit_code == 2
    assert "no bottleneck that anything is decoded from" in result.stderr
