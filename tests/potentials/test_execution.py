from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from onfly.potentials.execution import one_thread

FAULTS = """
import resource, torch
from onfly.potentials.execution import keep_freed_memory
print(keep_freed_memory())
for _ in range(3):
    torch.ones(20, 1_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(20, 1_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    found = subprocess.run(
        [sys.executable, "-c", FAULTS], env=clean | variables, capture_output=True, text=True
    )
    was_set, faults = found.stdout.split()
    return was_set == "True", int(faults)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again_unless_the_user_says_otherwise():
    was_set, few = page_faults()
    assert was_set
    was_set, many = page_faults(MALLOC_MMAP_THRESHOLD_="1000000")
    assert not was_set
    # 20 tensors of 80 MB; a page is 4 kB, or 2 MB where the kernel takes large ones
    assert few < 0.5 * many


def test_one_thread_restores_their_number():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
