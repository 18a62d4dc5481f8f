"""`make soak`: hours of faults under load, by a seed that can be played again.

ARGS="--minutes 60 --seed 7". Ends with 1 when a promise was broken.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from brokers import SHAPES
from run import soak


def main() -> int:
    """Soak, print the verdict, and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=3.0, help="how long (3)")
    arguments.add_argument("--seed", type=int, default=None, help="of load and faults (random)")
    arguments.add_argument(
        "--shape", choices=SHAPES, default="single", help="of the broker (single)"
    )
    arguments.add_argument("--rate", type=float, default=40.0, help="calls a second (40)")
    arguments.add_argument("--keep", type=Path, default=None, help="keep logs and histories here")
    options = arguments.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    again = f"--seed {seed} --shape {options.shape} --minutes {options.minutes:g}"
    print(f'seed {seed}: play it again with make soak ARGS="{again}"', flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            arguments.error(f"--keep {folder}: not empty; histories of two runs do not mix")
        found = asyncio.run(
            soak(
                folder,
                shape=options.shape,
                seed=seed,
                seconds=options.minutes * 60,
                rate=options.rate,
                say=lambda line: print(line, flush=True),
            )
        )
    print(found, flush=True)
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
