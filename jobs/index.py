"""Sketch a repository of teachers: ``python jobs/index.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

# Run from a checkout, the package lies beside this folder, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rayxkd.cli import main

if __name__ == "__main__":
    main(["index", *sys.argv[1:]])
