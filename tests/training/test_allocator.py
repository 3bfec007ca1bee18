"""Freed memory stays with the process while a model is trained."""

import platform
import subprocess
import sys

import pytest

# In a process of its own: what other tests have freed may be there to be taken again. It is the resident memory that is
# looked at, not the page faults: how many there are depends on the system's huge pages.
_SCRIPT = """
import resource
from pathlib import Path
import torch
from ensemble_ad.training.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def left(before):
    torch.ones(25_000_000)
    return resident() - before

left(0)
before = resident()
print(left(before))
with keep_freed_memory():
    print(left(before))
    for _ in range(100):
        left(before)
    print(left(before))
print(resident() - before)
"""
_BLOCK = 100_000_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_memory_is_kept_during_training_and_given_back_after():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    usually, kept, kept_after_a_hundred, after = map(int, done.stdout.split())
    assert usually < _BLOCK / 2
    assert kept > _BLOCK / 2
    assert kept_after_a_hundred < 20 * _BLOCK, "freed blocks are taken again"
    assert after < _BLOCK / 2
