"""A crew that cannot be is refused before anything starts."""

import pytest

from ensemble_ad.errors import UsageError
from ensemble_ad.search.crew import Crew
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.workers import tune_together


@pytest.mark.parametrize(
    ("crew", "message"),
    [
        ({"workers": 0}, "--workers must be 1 or more"),
        ({"workers": 2, "backend": "dask"}, "belong together"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "belong together"),
        ({"workers": 2, "backend": "threading"}, "must start processes"),
    ],
)
def test_a_crew_that_cannot_be_is_refused(crew, message):
    with pytest.raises(UsageError, match=message):
        Crew(**crew)


def test_a_backend_that_joblib_does_not_know_is_refused(dataset, digits_folder, tmp_path, log):
    settings = TuneSettings(family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu")
    with pytest.raises(UsageError, match="--backend nonsense is none that joblib knows"):
        tune_together(
            dataset, settings, Crew(workers=2, backend="nonsense"), data=digits_folder, studies=tmp_path, watcher=log
        )
