"""Child processes that find their modules compiled, as those of an installed package do."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "pycache"


def keep_compiled() -> None:
    """From now on what this process starts keeps compiled modules beside the tree, whatever its environment said.

    Without them each start of a daemon or a device host compiles all of hailod, which costs it a second.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(CACHE))
