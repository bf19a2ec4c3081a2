"""The folder that a program on the simulator has on its PYTHONPATH."""
