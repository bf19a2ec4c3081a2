"""The part of the desk at which models are laid ready beside those that run, and at which things are looked up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path

from hailod.config.load import Loaded
from hailod.config.model import Settings
from hailod.config.store import Overrides
from hailod.control.cameras import Cameras
from hailod.control.errands import Errands
from hailod.control.lineup import Lineup
from hailod.control.reports import Reports
from hailod.control.saver import Saver
from hailod.mqtt.commands import ModelAdd
from hailod.mqtt.payloads import Payload
from hailod.pipeline.engine import Engine

# The file that `model.add` means, verified for this chip (None: not known). Raises HailodError; takes its time.
FindModel = Callable[[ModelAdd, str | None], Path]


class Workbench(ABC):
    """Used by the control thread. `files` are the settings of the files alone."""

    def __init__(
        self,
        *,
        lineup: Lineup,
        errands: Errands,
        engine: Engine,
        cameras: Cameras,
        reports: Reports,
        saver: Saver,
        find_model: FindModel,
        files: Settings,
    ) -> None:
        self._lineup = lineup
        self._errands = errands
        self._engine = engine
        self._cameras = cameras
        self._reports = reports
        self._keeper = saver
        self._find_model = find_model
        self._files = files

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """Those that run."""

    @abstractmethod
    def models_wanted(self, names: Collection[str]) -> None:
        """These models are wanted from now on."""

    def want(self) -> None:
        """Have the engine load what the line-up says."""
        wanted = self._lineup.wanted
        self._engine.want(wanted)
        self.models_wanted(wanted.keys())

    def reloaded(self, loaded: Loaded) -> None:
        """The files were read again and are in effect."""
        self._files = loaded.files or loaded.settings

    @property
    def files(self) -> Settings:
        return self._files

    @property
    def overrides(self) -> Overrides:
        return self._keeper.overrides

    def errand(self, work: Callable[[], object]) -> int:
        return self._errands.run(work)

    def draft(self, settings: Settings) -> int | None:
        work = self._lineup.unread(settings)
        return None if work is None else self._errands.run(work)

    def stage(self, settings: Settings) -> None:
        self._lineup.stage(settings)
        self.want()

    @property
    def staged(self) -> bool:
        return self._lineup.staged

    def settle(self) -> None:
        if self._lineup.settle():
            self.want()

    def proven(self, models: Collection[str]) -> bool | None:
        settings = self.settings
        unproven = {model for model in models if not self._engine.delivers(model)}
        if not unproven:
            return True
        return False if {settings.model_of(camera) for camera in self._cameras.online} & unproven else None

    def all_in_service(self) -> bool:
        return self._engine.in_service >= self._engine.wanted

    def find_model(self, wish: ModelAdd) -> Callable[[], object]:
        arch = str(self._engine.link.identity.get("arch") or "") or None
        return lambda: self._find_model(wish, arch)

    def camera_restart(self, camera: str) -> None:
        self._cameras.restart(camera)

    def refresh(self) -> None:
        self._reports.repeat_states()

    def models(self) -> Payload:
        return self._reports.models_document(self._lineup.plans)

    def health(self) -> Payload:
        return self._reports.health_document()
