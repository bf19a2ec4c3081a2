"""A desk at which commands are carried out, without a control loop behind it."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from hailod.config.model import CameraSettings, ModelSettings, Settings
from hailod.config.store import Edit


def settings(**changes: object) -> Settings:
    """Two cameras and three models, of which `one` is the default."""
    models = {name: ModelSettings(path=Path(f"{name}.hef")) for name in ("one", "two", "three")}
    cameras = {name: CameraSettings(source=SecretStr("synthetic:")) for name in ("front", "back")}
    return Settings(node="pi", model="one", models=models, cameras=cameras).model_copy(update=changes)


class FakeDesk:
    """Keeps settings and revision as the control loop does, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.settings = settings()
        self.revision = 1
        self.serving = {"one"}
        self.wanted = {"one"}
        self.beside: list[str | None] = []
        self.restarts: list[str] = []
        self.told = 0
        self.lent: list[float] = []
        self.acquired = 0
        self.released = False
        self.released_until = 0.0
        self.kept: dict[str, object] = {}
        # The tickets that the saver gives; None: all is on the disk already.
        self.tickets: list[int | None] = []
        self.shown: list[Settings] = []

    def tell_settings(self) -> None:
        self.told += 1

    def in_service(self, model: str) -> bool:
        return model in self.serving

    def all_in_service(self) -> bool:
        return self.serving >= self.wanted

    def load_beside(self, model: str | None) -> None:
        self.beside.append(model)

    def adopt(self, settings: Settings) -> int:
        self.settings = settings
        self.revision += 1
        return self.revision

    def keep(self, edit: Edit) -> int | None:
        self.kept.update(edit.values)
        return self.tickets.pop(0) if self.tickets else None

    def show_settings(self) -> None:
        self.shown.append(self.settings)

    def device_restart(self, mode: str) -> None:
        self.restarts.append(mode)
        self.serving.clear()

    def device_release(self, for_s: float) -> None:
        self.lent.append(for_s)
        self.released_until = 1_795_000_000.0 + for_s
        self.serving.clear()

    def device_acquire(self) -> None:
        self.acquired += 1
        self.released = False
