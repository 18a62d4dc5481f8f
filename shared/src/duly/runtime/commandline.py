"""What the command lines of the services share: the file, and how an error ends them."""

import argparse
import sys
from pathlib import Path
from typing import Final

from duly.errors import ConfigError, DulyError

FAILED: Final = 1
WRONG_USE: Final = 2


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the YAML file (default: the file named by DULY_CONFIG, else ./duly.yaml if it "
        "exists)",
    )


def reported(error: DulyError, *, prefix: str = "") -> int:
    """Print an error, and return the exit code: 2 when a setting is wrong, else 1."""
    print(f"{prefix}{error}", file=sys.stderr)  # noqa: T201 - the log may not be there yet
    return WRONG_USE if isinstance(error, ConfigError) else FAILED
