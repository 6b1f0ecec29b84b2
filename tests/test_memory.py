import ctypes
import subprocess
import sys

import pytest

AGAIN = """
import resource, sys, threading
import numpy as np
from jaxpart.cpu import pages

if sys.argv[1] == "kept":
    pages.keep_pages()

def fill():
    np.ones(400 << 20, np.uint8)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

fill()
before = faults()
fill()
thread = threading.Thread(target=fill)  # has no arena of its own
thread.start()
thread.join()
print(faults() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc"
)
def test_large_arrays_find_their_pages_again():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", AGAIN, how], capture_output=True, text=True, check=True
            ).stdout
        )
        for how in ("kept", "given back")
    }
    assert faults["kept"] < 100  # of 100 000 pages; a thread's stack takes some
    assert faults["given back"] > faults["kept"] + 100  # else this test says nothing
