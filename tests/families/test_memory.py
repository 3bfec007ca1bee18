"""Memory-augmented autoencoder: how the memory is addressed."""

import pytest
import torch

from ensemble_ad.families.memory import Memory, MemoryArchitecture, entropy


@pytest.mark.parametrize(("shrinkage", "sparse"), [(0.0, False), (1.0, True), (3.0, True), (1000.0, True)])
def test_addressing_weights_sum_to_one_and_only_sparse_ones_have_zeros(shrinkage, sparse):
    memory = Memory(MemoryArchitecture(bottleneck=8, slots=50, shrinkage=shrinkage, temperature=0.2))
    queries = torch.randn(4, 6, 8, requires_grad=True)
    read, weights = memory(queries)
    assert weights.shape == (4, 6, 50)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 6))
    assert bool((weights == 0).any(-1).all()) is sparse
    if 0 < shrinkage < 1000:
        dense = (torch.cosine_similarity(queries[..., None, :], memory.slots, dim=-1) / 0.2).softmax(-1)
        above = dense >= torch.minimum(torch.tensor(shrinkage / 50), dense.amax(-1, keepdim=True))
        torch.testing.assert_close(weights > 0, above)
    torch.testing.assert_close(read, weights @ memory.slots)
    (read.square().sum() + entropy(weights).sum()).backward()
    assert queries.grad is not None
    assert torch.isfinite(queries.grad).all()


def test_entropy_is_that_of_torch_distributions():
    weights = torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]])
    expected = [torch.distributions.Categorical(probs=row[row > 0]).entropy() for row in weights]
    torch.testing.assert_close(entropy(weights), torch.stack(expected))
