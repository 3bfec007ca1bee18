"""VQ-VAE: which codes are chosen, how they are learnt, and what their choice says of an image."""

import pytest
import torch

from ensemble_ad.families import vqvae
from ensemble_ad.families.vqvae import Codebook, VqvaeArchitecture, VqvaeAutoencoder
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings
from ensemble_ad.training.step import to_input

SHAPE = (1, 32, 32)


def patches_of(digits, n=400):
    """Real vectors: the 4x4 patches of digits, (n, 16)."""
    return torch.nn.functional.unfold(to_input(digits), 4, stride=4).transpose(1, 2).reshape(-1, 16)[:n]


@pytest.mark.parametrize("block", [vqvae._BLOCK, 100])
def test_the_nearest_code_is_chosen_however_many_at_a_time(digits, monkeypatch, block):
    monkeypatch.setattr(vqvae, "_BLOCK", block)
    torch.manual_seed(0)
    book, vectors = Codebook(8, 16, 0.9), patches_of(digits)
    assert torch.equal(book.nearest(vectors), torch.cdist(vectors, book.codes).argmin(1))


def test_codes_are_moving_averages_of_the_vectors_that_chose_them(digits):
    book, vectors = Codebook(4, 16, 0.9), patches_of(digits)
    book.uses.fill_(100.0)
    book.sums.copy_(100.0 * book.codes)
    before, chosen = book.codes.clone(), torch.arange(len(vectors)) % 4
    book.learn(vectors, chosen)
    for code in range(4):
        mine = vectors[chosen == code]
        expected = (0.9 * 100 * before[code] + 0.1 * mine.sum(0)) / (0.9 * 100 + 0.1 * len(mine))
        torch.testing.assert_close(book.codes[code], expected)


def test_a_code_that_nothing_chooses_becomes_a_vector_of_the_batch(digits):
    book, vectors = Codebook(4, 16, 0.9), patches_of(digits)
    book.uses.copy_(torch.tensor([100.0, 100.0, 100.0, 1e-3]))
    book.sums.copy_(book.uses[:, None] * book.codes)
    book.learn(vectors, torch.arange(len(vectors)) % 3)
    assert (torch.cdist(book.codes, vectors).amin(1) < 1e-3).tolist() == [False, False, False, True]
    assert book.uses[3] == len(vectors) / 4


def test_the_gradient_passes_the_choice_as_if_it_were_not_there(digits):
    model = VqvaeArchitecture(width=8, codes=16, code_length=4, commitment=0.0).build(SHAPE).train()
    seen = {}

    def keep(name, maps):
        maps.register_hook(lambda gradient: seen.update({name: gradient}))

    model.encoder.register_forward_hook(lambda module, given, output: keep("encoder", output))
    model.decoder.register_forward_pre_hook(lambda module, given: keep("decoder", given[0]))
    reconstruction, _ = model.training_pass(to_input(digits[:8]), 0.0, torch.tensor(0.0))
    reconstruction.square().mean().backward()
    assert seen["encoder"].abs().sum() > 0
    torch.testing.assert_close(seen["encoder"], seen["decoder"])


def test_the_surprise_of_an_image_counts_its_codes_in_training_images(digits):
    architecture = VqvaeArchitecture(width=8, codes=16, code_length=4)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(100), TrainSettings(epochs=3, batch_size=20))
    assert isinstance(model, VqvaeAutoencoder)
    images = to_input(digits)
    with torch.inference_mode():
        chosen = model.codebook.nearest(model.encode(images).permute(0, 2, 3, 1).flatten(0, 2)).reshape(160, -1)
        found = model(images).columns["code_surprise"]
    trained, places = chosen[:100], chosen.shape[1]
    assert model.counts.sum() == 100 * places
    for row in (0, 159):
        share = torch.stack([(trained[:, p] == chosen[row, p]).sum() for p in range(places)]).add(1) / (100 + 16)
        torch.testing.assert_close(found[row], -share.log().mean())


def test_most_codes_are_used_after_a_short_training(digits):
    architecture = VqvaeArchitecture(width=16, codes=32, code_length=8, decay=0.9)
    model = train(lambda: architecture.build(SHAPE), digits, torch.arange(160), TrainSettings(epochs=10, batch_size=32))
    assert isinstance(model, VqvaeAutoencoder)
    assert (model.counts.sum(0) > 0).sum() > 24
