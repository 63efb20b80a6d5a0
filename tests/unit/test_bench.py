"""The bench prints one JSON document; what its figures are is not a test's business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["hub_forward", "liveness_hour"])
def test_bench_prints_one_json_document(name: str) -> None:
    command = [sys.executable, "-m", "bench", "--only", name, "--seconds", "0.2"]
    finished = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=ROOT)
    document = json.loads(finished.stdout)
    assert document["machine"]["cores"] >= 1
    assert list(document["measures"]) == [name]
    assert name.encode() in finished.stderr
