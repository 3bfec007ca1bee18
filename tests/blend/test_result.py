"""A finished blend scores new images, and goes through a file."""

import io
import json

import numpy as np
import pytest

from ensemble_ad.blend import Blend, blend_scores, method_names
from ensemble_ad.errors import DataError

BLIND = [name for name in method_names() if name not in ("given", "labels")]


@pytest.mark.parametrize("method", BLIND)
def test_a_frozen_blend_scores_one_image_as_it_did_in_the_batch(members, method):
    reference, test, _ = members()
    blend = blend_scores(reference, test, method)
    assert np.array_equal(blend.score(test), blend.scores)
    for row in (0, 17, len(test) - 1):
        assert blend.score(test[row : row + 1])[0] == blend.scores[row]


@pytest.mark.parametrize("method", [*BLIND, "given"])
def test_state_goes_through_a_file_without_pickle(members, names, method):
    reference, test, _ = members()
    weights = np.arange(8.0) if method == "given" else None
    blend = blend_scores(reference, test, method, weights, names=names)
    state, file = blend.state(), io.BytesIO()
    np.savez(file, **state)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        again = Blend.from_state(dict(loaded))
    assert np.array_equal(again.score(test[::3]), blend.scores[::3])
    assert (again.method, again.explanation, again.names) == (blend.method, blend.explanation, names)
    assert again.separation == blend.separation
    json.loads(state["json"])  # type: ignore[arg-type]


def test_a_later_format_is_refused(members):
    state = blend_scores(*members()[:2], "mean").state()  # type: ignore[call-arg]
    later = json.loads(state["json"]) | {"format": 99}  # type: ignore[arg-type]
    with pytest.raises(DataError, match="99"):
        Blend.from_state(state | {"json": json.dumps(later)})
    with pytest.raises(DataError, match="json"):
        Blend.from_state({})
