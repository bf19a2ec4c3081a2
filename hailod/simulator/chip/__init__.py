"""The simulated chip: its scheduler and virtual time, its temperature, its faults, and who owns it."""
