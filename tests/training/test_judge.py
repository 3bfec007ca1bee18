"""What an epoch is judged by: some images of each sort, and of pseudo-anomalies some of each kind, all at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ensemble_ad.members.objectives import objective
from ensemble_ad.training import judge
from ensemble_ad.training.error_vectors import error_vectors
from ensemble_ad.training.judge import Judge, JudgedBy
from ensemble_ad.training.prepared import Prepared, PseudoImages

CPU = torch.device("cpu")


@pytest.mark.parametrize("tile", [None, 16])
def test_kinds_of_pseudo_anomaly_that_are_scored_at_once_score_as_each_alone(
    dataset, recipe, small, tmp_path, monkeypatch, tile
):
    monkeypatch.setattr(judge, "_LEAST_PSEUDO", 5)
    seen = recipe.preprocess if tile is None else replace(recipe.preprocess, tile=tile)
    recipe = replace(recipe, objective="auto", preprocess=seen, architecture=small["fcn"])
    pseudo = PseudoImages.of(dataset)
    images = Prepared.of(dataset, recipe, tmp_path, CPU, pseudo)
    assert (images.tiles > 1) == (tile is not None)
    one = Judge(objective("auto"), recipe, images, JudgedBy(pseudo=pseudo), None)
    model = recipe.architecture.build(seen.shape).eval()
    batches = []
    monkeypatch.setattr(
        judge, "error_vectors", lambda *args, **named: batches.append(args) or error_vectors(*args, **named)
    )

    glance = one._glance()
    references = one.references(model, len(glance.reference))
    some, every = one.score(model, references, glance), one.score(model, references)
    assert len(batches) == 3 + 2 + len(images.pseudo)
    assert [*some.pseudo] == [*every.pseudo] == [*images.pseudo]
    for kind, columns in every.pseudo.items():
        rows = one._spread(images.pseudo[kind], glance.pseudo).numpy()
        assert 0 < len(rows) < len(columns["rss"])
        for error, values in columns.items():
            np.testing.assert_allclose(some.pseudo[kind][error], values[rows], rtol=1e-4, atol=1e-6, err_msg=error)
