import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from metarl.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("not glibc")
torch.set_num_threads(1)
for i in range(30):
    if i == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode):
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_that_was_freed_is_used_again():
    given_back, kept = page_faults("plain"), page_faults("keep")
    assert kept < 100
    assert given_back > 10 * kept + 100  # ten blocks of 64 MB, in pages of 4 kB or 2 MB
