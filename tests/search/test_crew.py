"""A crew that cannot be is refused before anything starts."""

import pytest
import torch

from ensemble_ad.errors import UsageError
from ensemble_ad.search.crew import Crew
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.workers import Task, tune_together, work


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


def test_a_backend_that_forks_is_refused_where_cuda_has_begun():
    crew = Crew(workers=2, backend="multiprocessing")
    crew.check(torch.device("cpu"))
    with pytest.raises(UsageError, match="use loky"):
        crew.check(torch.device("cuda:1"))


@pytest.mark.parametrize(("device", "taken"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_a_worker_takes_its_gpu_on_its_own_machine(monkeypatch, dataset, digits_folder, tmp_path, device, taken):
    trained_on = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        "ensemble_ad.search.workers.tune", lambda _, settings, **how: trained_on.append(settings.device)
    )
    settings = TuneSettings(family="fcn", device=device)
    task = Task(data=digits_folder, fingerprint=dataset.fingerprint, studies=tmp_path, settings=settings, number=3)
    assert work(task) is None
    assert trained_on == [taken]
