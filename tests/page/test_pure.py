"""The page's pure modules under `node --test`: seconds, and no browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="there is no Node here; the page itself needs none")
@pytest.mark.timeout(60)
def test_the_pure_modules_of_the_page() -> None:
    done = subprocess.run([str(NODE), "--test", str(Path(__file__).with_name("pure.test.mjs"))], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
