"""How a blend was made: facts, and commands that exist."""


def test_how_it_was_made_has_commands_that_are_real(contents, run_ensad):
    from click.testing import CliRunner

    from ensemble_ad.cli import main as ensad

    made = contents.making
    assert made.commands == (
        "ensad tune --family fcn --trials 2 --epochs 1 --max-width 128 --seed 0",
        "ensad tune --family resnet --trials 2 --epochs 1 --max-width 8 --seed 0",
        "ensad blend --members fcn,resnet --name both",
        "ensad report --blend both",
    )
    for command in made.commands:  # every option is one that the command has
        name, *arguments = command.split()[1:]
        ensad.commands[name].make_context(name, arguments)
    assert CliRunner().invoke(ensad, ["--help"]).exit_code == 0
    assert made.facts["Labels that its making used"] == "none"
    assert "labels.csv" in made.facts["Labels that this report used"]
    assert len(made.facts["Data fingerprint"]) == 32
    assert set(made.members["member"]) == set(contents.correlations.names[:-1])
