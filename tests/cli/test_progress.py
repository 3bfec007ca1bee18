"""In a terminal of 80 columns long work draws bars and tables that fit; in a pipe it is plain text."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from rich.console import Console
from rich.progress import SpinnerColumn

from ensemble_ad.bar import progress_bar
from ensemble_ad.cli._output import Say, in_lines
from ensemble_ad.cli._progress import Counter, _Watcher
from ensemble_ad.members.objectives import Judgement
from ensemble_ad.training import checkpoint
from ensemble_ad.training.loop import Epoch

_RUN = """
import sys
from ensemble_ad.cli import main
for line in sys.argv[1:]:
    main(line.split(), standalone_mode=False)
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _in_a_terminal(folder, *lines: str) -> str:
    """What a terminal of 80 columns is sent by commands of one process, escape sequences and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "NO_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, *lines], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    sent = b""
    try:
        while part := os.read(ours, 65536):
            sent += part
    except OSError:  # how Linux says that the other side was closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0, sent.decode()
    return sent.decode()


@pytest.mark.slow
def test_bars_say_how_far_it_is_and_fit_80_columns(tmp_path, data, studies):
    sent = _in_a_terminal(
        tmp_path,
        "train --preset cnn-sample --epochs 3 --batch-size 50 --device cpu",
        "tune --family pca --trials 2 --device cpu",
        "blend --members fcn,resnet --name both",
        "score data/testingset.npy data/testingset.npy --alarm-rate 0.1 --device cpu -o scores.csv",
        "evaluate",
        "compare",
    )
    # A line ends where the cursor leaves it, or where it is erased.
    lines = [_ESCAPES.sub("", line) for line in re.split(r"[\r\n]+|\x1b\[2K", sent)]
    shown = "\n".join(lines)
    drawn = [line for line in lines if "━" in line]
    assert max(map(len, drawn)) <= 80, repr(max(drawn, key=len))
    trained = [line for line in drawn if "separation" in line]
    assert re.search(r"3/3 .*\d\d:\d\d loss [\d.]+ separation [\d.]+ best [\d.]+ [\d,]+ images/s", trained[-1])
    assert re.search(r"2/2 .*#1 complete, best [\d.]+", shown)
    assert re.search(r"240/240 .* \d+ alarms [\d,]+ images/s", shown)
    assert "weighting 0:00:" in shown
    # In the table a column that has no room is left out or shortened, and no line wraps.
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("name ") and "95% interval" in line) :]
    assert max(map(len, table)) <= 80
    assert "\x1b[1mname" in sent, "the header is bold"


def test_a_studys_bar_says_what_its_trial_does_in_80_columns():
    # Drawn here, not in a terminal: there a trial may be over before a bar is drawn that shows its epoch.
    bar = progress_bar()
    watcher = _Watcher(Say(0), bar)
    watcher.study("fcn", 10, 50)
    watcher.epoch(10, Epoch(29, 0.12345, 123456.7), 30, Judgement(0.98765, 0.001, "mse"))
    drawn = io.StringIO()
    Console(width=80, file=drawn).print(bar.get_renderable())
    shown = r".*10/50\s+[-:\d]+ #10 epoch 29/30 loss 0.123 value 0.988 best - 123,457/s\s*"
    assert re.fullmatch(shown, drawn.getvalue())


def test_in_a_pipe_a_line_an_epoch_and_no_escape_sequence(run_ensad, data):
    result = run_ensad("train", "--preset", "cnn-sample", "--epochs", 2, "--batch-size", 50, "--device", "cpu")
    lines = result.stderr.splitlines()
    assert re.fullmatch(r"epoch 1/2 loss [\d.]+ separation [\d.]+ best [\d.]+ [\d,]+ images/s", lines[0])
    assert "\x1b" not in result.output
    assert "\r" not in result.output


def test_long_lines_end_between_words_and_commands_stay_whole(monkeypatch):
    text = "there is no blend in a folder of a long name; run `ensad blend --studies x` first\n"
    text += "  a line that is there to be pasted"
    assert in_lines(text) == text  # a pipe's
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "44")
    assert in_lines(text).splitlines() == [
        "there is no blend in a folder of a long",
        "name; run `ensad blend --studies x` first",
        "  a line that is there to be pasted",
    ]


def test_a_bar_moves_while_a_step_takes_long():
    bar = progress_bar()
    assert any(isinstance(column, SpinnerColumn) for column in bar.columns)
    assert not bar.disable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_a_signal_that_python_drops_ends_a_training_after_its_epoch(data, run_ensad, tmp_path, monkeypatch, number):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)
    done = Counter.done

    def dropping(self, steps, text):
        done(self, steps, text)
        if steps == 2:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(number)

    command = ("train", "--preset", "cnn-sample", "--epochs", 4, "--batch-size", 64, "--data", data)
    with monkeypatch.context() as patch:
        patch.setattr(Counter, "done", dropping)
        result = run_ensad(*command)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "Error: interrupted")
    assert "epoch 2/4" in result.stderr
    assert "epoch 3/4" not in result.stderr
    again = run_ensad(*command)
    assert again.exit_code == 0
    assert "epoch 1/4" not in again.stderr
    assert "epoch 4/4" in again.stderr
