"""A training that was interrupted goes on from its last epoch, and ends as if it had not been."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ensemble_ad.data.preprocess import Preprocess
from ensemble_ad.errors import DivergedError, StorageError
from ensemble_ad.families import FAMILIES
from ensemble_ad.layout import checkpoint_file
from ensemble_ad.members.objectives import Judgement
from ensemble_ad.members.store import has_member
from ensemble_ad.training import checkpoint
from ensemble_ad.training.adamw import AdamW
from ensemble_ad.training.checkpoint import Checkpoint, State
from ensemble_ad.training.judge import JudgedBy
from ensemble_ad.training.make_member import fit_member
from ensemble_ad.training.prepared import PseudoImages
from ensemble_ad.training.progress import Progress
from ensemble_ad.training.recipe import Recipe
from ensemble_ad.training.settings import TrainSettings

CPU = torch.device("cpu")
BY_STEPS = [name for name in FAMILIES if name != "pca"]
KEY = "fcn-0123456789ab"


@pytest.fixture
def after_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)


@pytest.fixture
def recipe_of(dataset, small):
    """Makes the recipe of a small member of a family."""

    def recipe(family, **changes):
        made = Recipe(
            data=dataset.fingerprint,
            family=family,
            architecture=small[family],
            preprocess=Preprocess(crop=(0.75, 0.75), size=(32, 32), channels=1),
            training=TrainSettings(
                epochs=4,
                passes=2,
                batch_size=64,
                noise_scale=0.1,
                latent_noise_scale=0.1,
                mirror=True,
                weight_decay=0.01,
                learning_rate=3e-3,
            ),
            objective="separation",
            labels=None,
            subset=100,
            patience=None,
        )
        return replace(made, **changes)

    return recipe


def stop_in(epoch_to_stop_in):
    def after_epoch(epoch, judgement):
        if epoch.number == epoch_to_stop_in:
            raise KeyboardInterrupt

    return after_epoch


@pytest.mark.parametrize("family", BY_STEPS)
def test_an_interrupted_training_ends_bit_for_bit_as_one_that_was_not(
    dataset, recipe_of, tmp_path, family, after_every_epoch
):
    recipe = recipe_of(family)
    whole = fit_member(dataset, recipe, studies=tmp_path / "whole", device=CPU)
    for epoch in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            fit_member(dataset, recipe, studies=tmp_path / "parts", device=CPU, after_epoch=stop_in(epoch))
        assert (tmp_path / "parts" / "checkpoints" / f"{recipe.key}.safetensors").exists()
    trained, before = [], {}
    parts = fit_member(
        dataset,
        recipe,
        studies=tmp_path / "parts",
        device=CPU,
        after_epoch=lambda epoch, judgement: trained.append(epoch.number),
        resumed=before.update,
    )
    assert trained == [4]
    assert list(before) == [1, 2, 3]
    for side, wanted in zip(parts.vectors(), whole.vectors(), strict=True):
        np.testing.assert_array_equal(side, wanted)
    got, expected = load_file(parts.weights_path()), load_file(whole.weights_path())
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    assert parts.info.best_epoch == whole.info.best_epoch
    for mine, theirs in zip(parts.info.history, whole.info.history, strict=True):
        assert replace(mine, rate=0) == replace(theirs, rate=0)
    assert list((tmp_path / "parts" / "checkpoints").iterdir()) == []


def test_the_best_epoch_and_the_patience_outlive_an_interruption(dataset, recipe_of, tmp_path, after_every_epoch):
    pseudo = PseudoImages.of(dataset)
    training = TrainSettings(epochs=40, batch_size=16, learning_rate=0.03)
    recipe = recipe_of("fcn", training=training, patience=3, objective="auto")
    whole = fit_member(dataset, recipe, studies=tmp_path / "whole", device=CPU, judged_by=JudgedBy(pseudo=pseudo))
    n = len(whole.info.history)
    assert whole.info.best_epoch == n - 3 < 37
    with pytest.raises(KeyboardInterrupt):
        fit_member(
            dataset, recipe, studies=tmp_path, device=CPU, judged_by=JudgedBy(pseudo=pseudo), after_epoch=stop_in(n)
        )
    parts = fit_member(dataset, recipe, studies=tmp_path, device=CPU, judged_by=JudgedBy(pseudo=pseudo))
    assert len(parts.info.history) == n
    assert (parts.info.best_epoch, parts.value) == (whole.info.best_epoch, whole.value)


@pytest.mark.parametrize(
    ("error", "kept"), [(KeyboardInterrupt(), True), (StorageError("no space"), True), (DivergedError("nan"), False)]
)
def test_a_checkpoint_stays_only_where_the_training_shall_go_on(
    dataset, recipe_of, tmp_path, after_every_epoch, error, kept
):
    def fail(epoch, judgement):
        if epoch.number == 3:
            raise error

    with pytest.raises(type(error)):
        fit_member(dataset, recipe_of("fcn"), studies=tmp_path, device=CPU, after_epoch=fail)
    assert len(list((tmp_path / "checkpoints").iterdir())) == kept


def test_a_quick_training_writes_no_checkpoint(dataset, recipe_of, tmp_path):
    fit_member(dataset, recipe_of("fcn"), studies=tmp_path, device=CPU)
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def state():
        written.append(now[0])
        now[0] += 2.0  # a slow disk
        return State({"a": torch.zeros(1)}, {})

    kept = Checkpoint(tmp_path, KEY)
    for _ in range(100):
        now[0] += 1.0
        kept.write_if_due(state)
    assert written == [10.0, 52.0, 94.0]


def test_a_large_model_has_no_checkpoint_until_its_training_took_long(tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "write", lambda kept, state: written.append(now[0]))
    large = State({"weights": torch.empty(480_000_000, device="meta")}, {})  # 1.92 GB
    kept = Checkpoint(tmp_path, KEY)
    for _ in range(300):
        now[0] += 1.0
        kept.write_if_due(lambda: large)
    assert written[0] == 192.0


def test_a_training_in_float16_goes_on_with_its_scale(small):
    model = small["fcn"].build((1, 32, 32))
    optimizer = AdamW(model.parameters(), rate=torch.tensor(0.1), weight_decay=0.0)
    scalers = [torch.amp.GradScaler("cpu") for _ in range(2)]
    one, other = (Progress(model=model, optimizer=optimizer, device=CPU, scaler=scaler) for scaler in scalers)
    scalers[0].scale(torch.zeros(()))
    scalers[0].update(2.0**11)
    with torch.random.fork_rng(devices=[]):
        tensors, values = one.state()
        other.restore(tensors, json.loads(json.dumps(values)))
    assert scalers[1].state_dict() == scalers[0].state_dict()
    assert scalers[1].get_scale() == 2.0**11


@pytest.mark.parametrize("spoil", [lambda b: b[:-5], lambda b: b"", lambda b: b"x" * 300, lambda b: b[:40],
                                   lambda b: b[:-5] + bytes([b[-5] ^ 1]) + b[-4:]])  # fmt: skip
def test_a_checkpoint_that_cannot_be_read_is_none(tmp_path, spoil):
    kept = Checkpoint(tmp_path, KEY)
    kept.write(State({"a": torch.arange(6.0).reshape(2, 3).T}, {"epochs": 1}))
    state = kept.read()
    torch.testing.assert_close(state.tensors["a"], torch.arange(6.0).reshape(2, 3).T)
    assert state.values == {"epochs": 1}
    path = checkpoint_file(tmp_path, KEY)
    path.write_bytes(spoil(path.read_bytes()))
    assert kept.read() is None


def test_a_checkpoint_of_another_model_is_trained_anew(dataset, recipe_of, tmp_path, after_every_epoch):
    recipe, other = recipe_of("fcn"), recipe_of("cnn")
    with pytest.raises(KeyboardInterrupt):
        fit_member(dataset, other, studies=tmp_path, device=CPU, after_epoch=stop_in(3))
    checkpoint_file(tmp_path, other.key).rename(checkpoint_file(tmp_path, recipe.key))
    seen = []
    fit_member(
        dataset, recipe, studies=tmp_path, device=CPU, after_epoch=lambda epoch, judgement: seen.append(epoch.number)
    )
    assert seen == [1, 2, 3, 4]


def test_what_a_killed_process_had_half_written_is_removed(dataset, recipe_of, tmp_path):
    recipe = recipe_of("fcn")
    for folder, name in (("checkpoints", f".{recipe.key}.safetensors.x1.part"), ("members", f".{recipe.key}.x2.part")):
        (tmp_path / folder).mkdir()
        place = tmp_path / folder / name
        place.write_text("half") if folder == "checkpoints" else place.mkdir()
    fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert [path.name for path in (tmp_path / "members").iterdir()] == [recipe.key]


def test_a_key_cannot_lead_out_of_the_folder(tmp_path):
    with pytest.raises(StorageError, match="key must look like"):
        Checkpoint(tmp_path, "../fcn-0123456789ab")


def test_members_are_whole_where_the_checkpoint_was_left_by_a_kill(dataset, recipe_of, tmp_path, after_every_epoch):
    recipe = recipe_of("fcn")
    fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    Checkpoint(tmp_path, recipe.key).write(State({"a": torch.zeros(1)}, {}))
    fit_member(dataset, recipe, studies=tmp_path, device=CPU)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert has_member(tmp_path, recipe.key)


def test_a_judgement_is_told_of_every_epoch_once(dataset, recipe_of, tmp_path, after_every_epoch):
    recipe, seen = recipe_of("fcn"), []

    def remember(epoch, judgement):
        assert isinstance(judgement, Judgement)
        seen.append(epoch.number)
        if epoch.number == 2 and len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_member(dataset, recipe, studies=tmp_path, device=CPU, after_epoch=remember)
    fit_member(dataset, recipe, studies=tmp_path, device=CPU, after_epoch=remember)
    assert seen == [1, 2, 2, 3, 4]


def test_a_training_from_a_cpu_goes_on_on_a_gpu(monkeypatch, small):
    restored = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.append(device))
    model = small["fcn"].build((1, 32, 32))
    optimizer = AdamW(model.parameters(), rate=torch.tensor(0.1), weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    def progress(device):
        return Progress(model=model, optimizer=optimizer, device=torch.device(device), scaler=scaler)

    tensors, values = progress("cpu").state()
    other = progress("cuda")
    with torch.random.fork_rng(devices=[]):
        other.restore(tensors, {**values, "epochs": 3})
        assert other.epochs == 3
        assert restored == []
        other.restore({**tensors, "random.cuda": tensors["random.cpu"]}, values)
    assert restored == [torch.device("cuda")]
