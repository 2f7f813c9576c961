"""Say what a scan would take and cost: ``python jobs/simulate.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

# Run from a checkout, the package lies beside this folder, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rayxkd.cli import main

if __name__ == "__main__":
    main(["simulate", *sys.argv[1:]])
