"""Freed memory stays with the process while a model is trained."""

import platform
import subprocess
import sys

import pytest

# In a process of its own: what other tests have freed may be there to be taken again without a fault.
_SCRIPT = """
import resource
from pathlib import Path
import torch
from ensemble_ad.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(25_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

usual = faults()
before = resident()
with keep_freed_memory():
    faults()
    assert faults() < usual / 20
    assert resident() > before + 50_000_000
assert resident() < before + 50_000_000
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_memory_is_kept_while_a_model_is_trained_and_given_back_after():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
