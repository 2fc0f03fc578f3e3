"""What the process asks the kernel for, again and again or once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_BLOCK_MIB = 48
# Takes and leaves blocks in two threads; tells the pages asked for after the first of each, and
# the memory held at the end, in MiB.
_SCRIPT = f"""
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from liver_unet.freed_memory import give_back_freed_memory, keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def block():
    b"x" * ({_BLOCK_MIB} << 20)

if "keep" in sys.argv:
    keep_freed_memory()
with ThreadPoolExecutor(1) as pool:
    pool.submit(block).result()
    block()
    before = pages()
    for _ in range(5):
        pool.submit(block).result()
        block()
    asked = pages() - before
if "give" in sys.argv:
    give_back_freed_memory()
held = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
print(asked * resource.getpagesize() >> 20, held)
"""


def told(*words: str) -> tuple[int, int]:
    command = [sys.executable, "-c", _SCRIPT, *words]
    asked, held = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(asked), int(held)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux")
def test_freed_blocks_are_used_again_by_any_thread_and_handed_back_when_asked() -> None:
    asked_by_itself, _ = told()
    asked, held = told("keep")
    _, held_after = told("keep", "give")
    if asked_by_itself < 5 * _BLOCK_MIB:
        pytest.skip("this C library keeps what it frees anyway")
    assert asked < _BLOCK_MIB
    assert held - held_after > _BLOCK_MIB / 2
