"""Models that exist only as timing and script."""

from __future__ import annotations


def sees_two(height: int, width: int, *, switch_ms: float = 0.0, frame_ms: float = 2.0) -> str:
    """The `.sim.toml` of a model that sees a person (0.9) and a car (0.6) in every frame."""
    return f"""\
labels = ["person", "car"]
[simulator]
classes = 2
input = [{height}, {width}]
switch_ms = {switch_ms}
frame_ms = {frame_ms}
[[simulator.detections]]
class_id = 0
score = 0.9
box = [0.1, 0.2, 0.3, 0.8]
[[simulator.detections]]
class_id = 1
score = 0.6
box = [0.5, 0.5, 0.9, 0.9]
"""
