"""What `import hailo_platform` finds in a program on the simulator: it gives way to the simulated module."""

import sys
from pathlib import Path

_simulated = True

_ROOT = str(Path(__file__).parents[4])

try:
    from hailod.simulator.launch import inherited
except ModuleNotFoundError:
    # Run from a source tree, of which the program's Python knows nothing.
    sys.path.append(_ROOT)
    from hailod.simulator.launch import inherited

inherited().install()
