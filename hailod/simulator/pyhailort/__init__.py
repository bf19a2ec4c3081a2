"""`hailo_platform` itself: every class that a program sees, and the binding below it."""
