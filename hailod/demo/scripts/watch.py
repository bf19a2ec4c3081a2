"""`hailod demo`: what the daemon publishes, and time to try the commands."""

from __future__ import annotations

from hailod.demo.stage import Stage

ABOUT = "what the daemon sees and says, until you end it"


def run(stage: Stage) -> None:
    while True:
        stage.watch(60.0)
