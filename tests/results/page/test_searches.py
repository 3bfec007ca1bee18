"""What Optuna's studies say, and what the members say where no study is left."""

import numpy as np
import optuna

from ensemble_ad.results.page.searches import _importance


def test_a_search_is_what_optuna_has(contents, studies_folder):
    assert [search.family for search in contents.searches] == ["fcn", "resnet"]
    url = f"sqlite:///{studies_folder / 'studies.db'}"
    for search in contents.searches:
        study = optuna.load_study(study_name=search.study, storage=url)
        assert [t.number for t in search.trials] == [t.number for t in study.trials]
        assert [t.values for t in search.trials] == [tuple(t.values) for t in study.trials]
        assert [t.parameters for t in search.trials] == [t.params for t in study.trials]
        for i in range(len(study.directions)):
            assert search.best_so_far(i).tolist() == np.maximum.accumulate([t.values[i] for t in study.trials]).tolist()
        for part in search.slices:
            assert len(set(part.values)) > 1
            assert list(part.objective) == [t.values[0] for t in study.trials if part.parameter in t.params]


def test_importance_is_optunas_and_finds_the_parameter_that_counts():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("counts", 0, 1) ** 2 + 0.01 * t.suggest_float("hardly", 0, 1), 30)
    found = _importance(study, 0)
    assert found == optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    assert next(iter(found)) == "counts"
    assert found["counts"] > 0.8
    both = optuna.create_study(directions=["maximize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=0))
    both.optimize(lambda t: (t.suggest_float("first", 0, 1), t.suggest_float("second", 0, 1)), 20)
    assert _importance(both, 0)["first"] > 0.8


def test_without_the_studies_database_the_members_tell_of_the_trials(report, data, studies):
    (studies / "studies.db").unlink()
    text, stderr = report("--pictures", 0)
    assert "only finished trials are shown" in stderr
    assert "Of the cached members alone" in text
    assert not (studies / "studies.db").exists()
    (studies / "studies.db").write_bytes(b"not a database" * 100)
    text, stderr = report("--pictures", 0)
    assert "only finished trials are shown" in stderr
    assert "trial 1, complete" in text
