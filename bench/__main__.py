"""`python -m bench [--only NAME]… [--seconds N] [--repeat N]`: one JSON document on stdout, progress on
stderr.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from bench.measures import MEASURES, Facts, Measure


def _median(measure: Measure, seconds: float, repeat: int) -> Facts:
    """The middle run of several, by the fact that counts, with that fact of all runs beside it."""
    runs = [measure.run(seconds)]
    if not measure.key or "skipped" in runs[0]:
        return runs[0]
    runs += [measure.run(seconds) for _ in range(1, repeat)]
    runs.sort(key=lambda facts: float(facts[measure.key]))
    middle = runs[len(runs) // 2]
    return middle if repeat == 1 else {**middle, "runs": [facts[measure.key] for facts in runs]}


def _machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory, as JSON.")
    parser.add_argument("--only", action="append", choices=[*MEASURES], help="this measure (may be repeated)")
    parser.add_argument("--seconds", type=float, default=4.0, help="spent on each rate (default 4)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, the middle one counts")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("the bench reads /proc and pins processes to cores: it needs Linux", file=sys.stderr)
        return 2
    gc.set_threshold(50_000, 50, 100)
    document: dict[str, Any] = {"machine": _machine(), "seconds": arguments.seconds, "measures": {}}
    for name in arguments.only or MEASURES:
        print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
        started = time.monotonic()
        facts = _median(MEASURES[name], arguments.seconds, arguments.repeat)
        document["measures"][name] = facts
        shown = {key: facts[key] for key in ("value", "wall", "per_cpu_second", "limited_by") if key in facts}
        print(f"{time.monotonic() - started:.1f} s {shown or ''}", file=sys.stderr, flush=True)
    document["machine"]["load_average_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(document, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
