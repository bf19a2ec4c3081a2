"""A desk at which commands are carried out, without a control loop behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from pydantic import SecretStr

from hailod.config.load import Loaded
from hailod.config.model import CameraSettings, ModelSettings, Settings
from hailod.config.store import Edit, Overrides
from hailod.control.changes import needed
from hailod.control.reconfigure import fresh
from hailod.mqtt.commands import ModelAdd


def settings(**changes: object) -> Settings:
    """Two cameras and three models, of which `one` is the default."""
    models = {name: ModelSettings(path=Path(f"{name}.hef")) for name in ("one", "two", "three")}
    cameras = {name: CameraSettings(source=SecretStr("synthetic:")) for name in ("front", "back")}
    return Settings(node="pi", model="one", models=models, cameras=cameras).model_copy(update=changes)


class FakeDesk:
    """Keeps settings and revision as the control loop does, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.settings = self.files = settings()
        self.overrides = Overrides()
        self.revision = 1
        # Models in service, and those that are wanted for good.
        self.serving = {"one"}
        self.wanted = {"one"}
        # What was laid beside what runs, None when that was over.
        self.beside: list[str | None] = []
        self.next: Settings | None = None
        # Whether new models have delivered; None: no frames come.
        self.proof: bool | None = True
        self.drafts: list[int | None] = []
        self.errands: list[Callable[[], object]] = []
        self.restarts: list[str] = []
        self.cameras_restarted: list[str] = []
        self.daemon_restarts = 0
        self.refreshed = 0
        self.told = 0
        self.lent: list[float] = []
        self.acquired = 0
        self.released = False
        self.released_until = 0.0
        self.kept: dict[str, object] = {}
        # The tickets that the saver gives; None: all is on the disk already.
        self.tickets: list[int | None] = []
        self.shown: list[Settings] = []
        self.found: Callable[[ModelAdd], Path] = lambda wish: Path(f"/models/{wish.path}")
        self.read_again: list[Loaded] = []

    def tell_settings(self) -> None:
        self.told += 1

    def refresh(self) -> None:
        self.refreshed += 1

    def models(self) -> dict[str, object]:
        return {"v": 1, "models": sorted(self.settings.models)}

    def health(self) -> dict[str, object]:
        return {"v": 1, "state": "ok"}

    def camera_restart(self, camera: str) -> None:
        self.cameras_restarted.append(camera)

    def daemon_restart(self) -> None:
        self.daemon_restarts += 1

    def find_model(self, wish: ModelAdd) -> Callable[[], object]:
        return lambda: self.found(wish)

    def reloaded(self, loaded: Loaded) -> None:
        self.read_again.append(loaded)

    def errand(self, work: Callable[[], object]) -> int:
        self.errands.append(work)
        return len(self.errands)

    def draft(self, settings: Settings) -> int | None:
        return self.drafts.pop(0) if self.drafts else None

    def stage(self, settings: Settings) -> None:
        self.next = settings
        (new,) = sorted(fresh(self.settings, settings))
        self.beside.append(new)
        if new in needed(self.settings):
            # It serves as it was; `serving` means here: as it is wanted.
            self.serving.discard(new)

    @property
    def staged(self) -> bool:
        return self.next is None or fresh(self.settings, self.next) <= self.serving

    def adopt(self, settings: Settings) -> int:
        self.settings = settings
        self.revision += 1
        return self.revision

    def settle(self) -> None:
        if self.next is not None:
            self.next = None
            self.beside.append(None)

    def proven(self, models: Collection[str]) -> bool | None:
        return self.proof

    def all_in_service(self) -> bool:
        return self.serving >= self.wanted

    def keep(self, edit: Edit) -> int | None:
        self.overrides = self.overrides.changed(edit, self.revision)
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
