"""`ensad dashboard`: Optuna's dashboard on the storage of the studies."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import optuna
import pytest


def test_what_is_not_installed_or_not_there_is_said_in_a_line(run_ensad, studies, monkeypatch):
    result = run_ensad("dashboard", "--studies", "empty")
    assert result.exit_code == 2
    assert "there is no study in empty; run `ensad tune" in result.stderr
    result = run_ensad("dashboard", "--storage", "sqlite:///none.db")
    assert (result.exit_code, Path("none.db").exists()) == (4, False)
    assert "is not there" in result.stderr
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    result = run_ensad("dashboard")
    assert result.exit_code == 2
    assert "pip install 'optuna-dashboard>=0.18'" in result.stderr


def test_a_taken_port_is_a_clear_error(run_ensad, studies):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_ensad("dashboard", "--port", port)
    assert result.exit_code == 4
    assert f"cannot listen at 127.0.0.1:{port}" in result.stderr


@pytest.mark.slow
def test_it_serves_the_studies_and_ends_with_ctrl_c(tmp_path, studies):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ensemble_ad", "dashboard", "--port", str(port)]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs these tests in the background of a shell has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as server:
        try:
            shown = _studies(f"http://127.0.0.1:{port}/api/studies", server)
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=30)
        finally:
            server.kill()
    kept = optuna.get_all_study_names(storage=f"sqlite:///{studies / 'studies.db'}")
    assert sorted(study["study_name"] for study in shown) == sorted(kept)
    assert f"http://127.0.0.1:{port}/" in said
    assert "Traceback" not in said


def _studies(url, server):
    for _ in range(300):
        assert server.poll() is None, server.stderr.read()
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)["study_summaries"]
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError("it never answered")
