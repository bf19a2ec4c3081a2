"""Two programs for HailoRT, to be run on a device or by `python -m hailod.simulator`; they know nothing of either."""
