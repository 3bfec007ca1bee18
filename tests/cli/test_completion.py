"""What a shell completes is what there is, found without torch."""

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from ensemble_ad.cli import main
from ensemble_ad.families import FAMILIES


def _complete(words: str, incomplete: str) -> list[str]:
    found = ShellComplete(main, {}, "ensad", "_ENSAD_COMPLETE").get_completions(words.split(), incomplete)
    return [item.value for item in found]


@pytest.fixture(autouse=True)
def _at_home(run_ensad):
    """In the temporary folder, without ENSAD_ variables."""


def test_families_and_presets_are_those_there_are():
    assert sorted(_complete("tune --family", "")) == sorted(FAMILIES)
    known = [name for family in FAMILIES.values() for name in family.presets]
    assert sorted(_complete("train --preset", "")) == sorted(known)
    assert _complete("tune --family", "resn") == ["resnet", "resnet_aux"]


def test_members_and_blends_are_those_of_the_studies_folder(studies, tmp_path, monkeypatch):
    keys = sorted(folder.name for folder in (studies / "members").iterdir())
    assert _complete("blend --members", "") == ["fcn", "resnet", *keys]
    assert _complete("blend --members", "fcn,res") == ["fcn,resnet", *(f"fcn,{k}" for k in keys if k[0] == "r")]
    for command in ("submit --blend", "score new.npy --blend", "compare --blend", "evaluate --blend", "export"):
        assert _complete(command, "") == ["both"]
    assert _complete("latent --member", "fcn") == [key for key in keys if key.startswith("fcn")]
    assert _complete("report --blend", "") == ["both"]
    studies.rename(tmp_path / "elsewhere")
    assert _complete("submit --blend", "") == []
    assert _complete("submit --studies elsewhere --blend", "b") == ["both"]
    (tmp_path / "ensad.toml").write_text("studies = 'elsewhere'\n")
    assert _complete("submit --blend", "") == ["both"]
    (tmp_path / "ensad.toml").write_text("studies = \n")
    assert _complete("submit --blend", "") == []
    monkeypatch.setenv("ENSAD_STUDIES", "elsewhere")
    assert _complete("submit --blend", "") == ["both"]


def test_methods_objectives_and_choices():
    assert {"auto", "mean", "pu-lda"} <= set(_complete("blend --method", ""))
    assert not {"given", "labels"} & set(_complete("blend --method", ""))
    assert {"auto", "separation", "labels"} <= set(_complete("tune --objective", ""))
    assert _complete("score --format", "j") == ["json"]
    assert "--alarm-rate" in _complete("score", "--al")


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_that_the_page_gives_turns_it_on_and_no_torch_is_loaded(tmp_path, studies, shell):
    code = "import sys; from ensemble_ad.cli import main\ntry: main(prog_name='ensad')\nfinally: "
    code += "sys.stderr.write(str('torch' in sys.modules))"

    def run(instruction: str, **more: str) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "_ENSAD_COMPLETE": instruction, **more},
        )  # fmt: skip
        return done.stdout, done.stderr

    script, _ = run(f"{shell}_source")
    assert "_ENSAD_COMPLETE" in script
    words = "ensad submit --blend b"
    found, loaded = run(f"{shell}_complete", COMP_WORDS=words, COMP_CWORD="3" if shell != "fish" else "b")
    assert "both" in found
    assert loaded == "False"
