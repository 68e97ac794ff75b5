"""Start-up times against their limits: ``import kvverify`` and ``kvverify --help``, each the median of seven.

Every run is a fresh interpreter, its own start included. Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7
LIMITS = {  # seconds
    "import kvverify": ([sys.executable, "-c", "import kvverify"], 0.2),
    "kvverify --help": ([sys.executable, "-m", "kvverify", "--help"], 0.5),
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run; raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print one line for each command; 1 where one is over its limit."""
    missed = 0
    for name, (command, limit) in LIMITS.items():
        seconds(command)  # writes the byte code
        median = statistics.median(seconds(command) for _ in range(RUNS))
        missed += median > limit
        print(f"{name}: {median:.3f} s (limit {limit} s)")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
