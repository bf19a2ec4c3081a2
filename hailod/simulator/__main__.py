"""`python -m hailod.simulator script.py`: see `hailod.simulator.runner`."""

from hailod.simulator.runner import main

main()
