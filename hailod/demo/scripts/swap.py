"""`hailod demo swap`: two models take turns while the cameras go on."""

from __future__ import annotations

import itertools

from hailod.demo.stage import MODELS, Stage

ABOUT = "swaps the model every five seconds over MQTT, and shows how long inference paused for it (gap_ms)"
EVERY_S = 5.0


def run(stage: Stage) -> None:
    for model in itertools.cycle(reversed(MODELS)):
        stage.watch(EVERY_S)
        stage.say(f"cmd/model.swap to {model}")
        stage.command("model.swap", {"model": model})
