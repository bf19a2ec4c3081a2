"""Settings: what they are (`model`), where they come from (`load`), and what a change of them restarts (`diff`)."""
