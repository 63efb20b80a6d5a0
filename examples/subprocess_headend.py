"""Start a headend as a process, wait for its ready file, ask its API, stop it: what any language can do.

python examples/subprocess_headend.py [RUNNING-CONFIG]
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path


def main() -> None:
    """Run a headend for a moment and print who is connected."""
    with tempfile.TemporaryDirectory() as directory:
        ready_file = Path(directory) / "ready.json"
        command = [sys.executable, "-m", "asa_emu", "serve", *sys.argv[1:]]
        command += ["--listen", "127.0.0.1:0", "--state", directory, "--ready-file", str(ready_file)]
        with subprocess.Popen(command) as headend:
            try:
                # the file appears whole, or not at all: its presence is all there is to wait for
                while not ready_file.exists():
                    if headend.poll() is not None:
                        sys.exit(headend.returncode)
                    time.sleep(0.05)
                ready = json.loads(ready_file.read_text("utf-8"))
                print("point a client at", f"https://{ready['https']}", "with", ready["pin"])
                print("sessions:", ask(ready, "/v1/sessions"))
            finally:
                headend.terminate()


def ask(ready: dict[str, str], path: str) -> object:
    """What the management API answers."""
    request = urllib.request.Request(
        f"http://{ready['manage']}{path}", headers={"Authorization": f"Bearer {ready['manage_token']}"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
