"""What each command does: from its arguments to an answer, or to the transaction that carries it out.

A handler only looks; what it returns is begun when the command is not a rehearsal. It raises CommandError for what is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hailod.config.diff import KeyPath
from hailod.config.load import Loaded
from hailod.config.model import Settings
from hailod.config.store import Edit, Overrides, Table
from hailod.control import transactions
from hailod.control.changes import check_value, from_args, needed, proposed, reset, validated, visible, without
from hailod.control.reconfigure import Reconfigure, fresh, preview
from hailod.control.transactions import Act, After, Transaction
from hailod.errors import CommandError
from hailod.mqtt import payloads
from hailod.mqtt.commands import (
    Args,
    CameraAdd,
    CameraDisable,
    CameraEnable,
    CameraRemove,
    CameraRestart,
    DaemonRestart,
    DeviceAcquire,
    DeviceRelease,
    DeviceRestart,
    HealthGet,
    ModelAdd,
    ModelRemove,
    ModelsList,
    ModelSwap,
    Ping,
    SetCamera,
    SetNode,
    SettingsGet,
    SettingsReset,
    SettingsSet,
    StateRefresh,
)
from hailod.mqtt.outbox import encode
from hailod.redact import scrub, secrets_of
from hailod.sources import anchored, validate_source

# What a reply may have besides what it is about.
MAX_ANSWER = 14_000


class Desk(transactions.Desk, Protocol):
    """What commands may do and ask."""

    @property
    def files(self) -> Settings:
        """The settings without what was set over MQTT."""

    @property
    def overrides(self) -> Overrides:
        """What was set over MQTT and is kept."""

    def tell_settings(self) -> None:
        """Publish the settings documents again."""

    def refresh(self) -> None:
        """Publish everything that is retained again."""

    def models(self) -> payloads.Payload:
        """What `N/models` says now."""

    def health(self) -> payloads.Payload:
        """What `N/health` says now."""

    def camera_restart(self, camera: str) -> None:
        """Open a camera's stream anew."""

    def daemon_restart(self) -> None:
        """End the process shortly, to be started anew."""

    def reloaded(self, loaded: Loaded) -> None:
        """These files were read again and are in effect."""

    def find_model(self, wish: ModelAdd) -> Callable[[], object]:
        """The errand that finds and verifies a model's file, and returns its path."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A command that is answered at once. `act` is what it does, which is left out of a rehearsal."""

    data: object = None
    act: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a command would do. `rehearsal` is what a dry run is answered with, `edit` what is to be kept, None where
    nothing of the settings changes. `device`: it cannot be done while the device is lent. `swap`: from which model to
    which it leads, for the events that tell of it."""

    transaction: Callable[[], Transaction]
    rehearsal: Mapping[str, object] = field(default_factory=dict)
    edit: Edit | None = None
    device: bool = False
    swap: Mapping[str, object] | None = None


Handler = Callable[[Any, Desk], Answer | Proposal]


def reconfigure(
    desk: Desk,
    settings: Settings,
    edit: Edit,
    answer: Mapping[str, object] | None = None,
    *,
    blame: str | None = None,
    swap: Mapping[str, object] | None = None,
) -> Proposal:
    """The way from the running settings to these."""
    return Proposal(
        lambda: Reconfigure(desk, settings, answer, field=blame),
        {**(answer or {}), **preview(desk.settings, settings), "revision": desk.revision},
        edit,
        device=bool(fresh(desk.settings, settings)),
        swap=swap if settings != desk.settings else None,
    )


def _set(desk: Desk, values: Mapping[KeyPath, object]) -> Proposal:
    return reconfigure(desk, proposed(desk.settings, values), Edit({".".join(path): values[path] for path in values}))


def _settings_set(args: SettingsSet, desk: Desk) -> Proposal:
    return _set(desk, from_args(args.node, args.models, args.cameras))


def _settings_reset(args: SettingsReset, desk: Desk) -> Proposal:
    path = tuple((args.path or "").split(".")) if args.path else ()
    settings = reset(desk.settings, desk.files, desk.overrides, path)
    return reconfigure(desk, settings, Edit(forget=(args.path or "",)))


def _settings_get(args: SettingsGet, desk: Desk) -> Answer:
    path = tuple(args.path.split(".")) if args.path else ()
    kept = sorted((*desk.overrides.values, *desk.overrides.tables))
    for spare in (False, True):
        data = {"revision": desk.revision, "settings": visible(desk.settings, path, spare=spare), "set": kept}
        if spare:
            data = {**data, "omitted": "what cameras have by default"}
        if len(encode(data)) <= MAX_ANSWER:
            return Answer(data)
    raise CommandError("too_large", "the settings do not fit into one reply: name a path", field="args.path")


def _set_camera(args: SetCamera, desk: Desk) -> Proposal:
    return _set(desk, {("cameras", args.camera, args.key): args.value})


def _set_node(args: SetNode, desk: Desk) -> Proposal:
    if args.key not in ("batch_size", "max_delay_ms"):
        return _set(desk, {(args.key,): args.value})
    model = desk.settings.default_model
    if model is None:
        raise CommandError("model_not_found", "there is no default model", field=args.key)
    return _set(desk, {("models", model, args.key): args.value})


def _model_swap(args: ModelSwap, desk: Desk) -> Proposal:
    settings = desk.settings
    if args.model not in settings.models:
        known = sorted(settings.models)
        raise CommandError("model_not_found", f"no model '{args.model}'", field="args.model", allowed=known)
    if args.camera is not None:
        _existing(settings, args.camera)
    path = ("model",) if args.camera is None else ("cameras", args.camera, "model")
    before = settings.default_model if args.camera is None else settings.model_of(args.camera)
    return reconfigure(
        desk,
        proposed(settings, {path: args.model}),
        Edit({".".join(path): args.model}),
        {"model": args.model},
        blame="args.model",
        swap={"from": before, "to": args.model, "camera": args.camera},
    )


def _camera_enable(args: CameraEnable, desk: Desk) -> Proposal:
    return _set(desk, {("cameras", args.camera, "enabled"): True})


def _camera_disable(args: CameraDisable, desk: Desk) -> Proposal:
    return _set(desk, {("cameras", args.camera, "enabled"): False})


def _camera_restart(args: CameraRestart, desk: Desk) -> Proposal:
    _existing(desk.settings, args.camera)
    answer = {"camera": args.camera, "restarted": [f"cameras.{args.camera}"]}
    return Proposal(lambda: Act(lambda: desk.camera_restart(args.camera), answer), answer)


def _camera_add(args: CameraAdd, desk: Desk) -> Proposal:
    settings, name = desk.settings, args.camera
    if name in settings.cameras:
        raise CommandError("bad_args", f"there is a camera '{name}' already", field="args.camera")
    if name in desk.files.cameras:
        text = f"the configuration has a camera '{name}'; settings.reset cameras.{name} brings it back"
        raise CommandError("bad_args", text, field="args.camera")
    source = args.source.get_secret_value()
    check_source(source)
    table: dict[str, object] = {"source": source, **args.settings}
    document = _with_table(settings, "cameras", name, table, args.settings)
    return reconfigure(desk, validated(document), Edit(tables={f"cameras.{name}": table}), {"camera": name})


def _camera_remove(args: CameraRemove, desk: Desk) -> Proposal:
    _existing(desk.settings, args.camera)
    settings = without(desk.settings, "cameras", args.camera)
    return reconfigure(desk, settings, _removal(desk, "cameras", args.camera), {"camera": args.camera})


def _model_add(args: ModelAdd, desk: Desk) -> Proposal:
    settings, name = desk.settings, args.name
    if name in settings.models or name in desk.files.models:
        raise CommandError("bad_args", f"there is a model '{name}' already", field="args.name")
    if (args.path is None) == (args.url is None) or (args.url is not None and args.sha256 is None):
        raise CommandError("bad_args", "name a path, or a url with its sha256", field="args.path")
    # Everything but the file can be judged at once.
    _with_model(settings, name, Path("to-be-found"), args.settings)

    def then(found: object) -> Transaction:
        path = Path(str(found))
        changed, edit = _with_model(desk.settings, name, path, args.settings)
        return _Keeping(Reconfigure(desk, changed, {"model": name}, field="args.path"), edit)

    step = "verifying the model's file" if args.url is None else "downloading the model"
    return Proposal(
        lambda: After(desk, step, desk.find_model(args), then),
        {"model": name, "revision": desk.revision, "restarted": [], "restart_required": False},
        Edit(),
    )


def _with_model(settings: Settings, name: str, path: Path, more: Mapping[str, object]) -> tuple[Settings, Edit]:
    """The settings with one model more, and what of that is to be kept."""
    table: dict[str, object] = {"path": str(path), **more}
    document = _with_table(settings, "models", name, table, more)
    values: dict[str, object] = {}
    if settings.model is None and settings.default_model is not None:
        # The only model was the default without being named.
        document["model"] = values["model"] = settings.default_model
    return validated(document), Edit(values, tables={f"models.{name}": table})


def _model_remove(args: ModelRemove, desk: Desk) -> Proposal:
    settings, name = desk.settings, args.name
    if name not in settings.models:
        known = sorted(settings.models)
        raise CommandError("model_not_found", f"no model '{name}'", field="args.name", allowed=known)
    if name in needed(settings) or name == settings.default_model:
        raise CommandError("forbidden", f"model '{name}' is in use: swap it for another first", field="args.name")
    return reconfigure(desk, without(settings, "models", name), _removal(desk, "models", name), {"model": name})


def _device_restart(args: DeviceRestart, desk: Desk) -> Proposal:
    return Proposal(lambda: transactions.DeviceRestart(desk, args.mode), {"mode": args.mode}, device=True)


def _daemon_restart(_: DaemonRestart, desk: Desk) -> Proposal:
    text = "hailod ends in half a second, with an exit code after which systemd starts it again"
    answer = {"restarted": ["hailod"], "text": text}
    return Proposal(lambda: Act(desk.daemon_restart, answer), answer)


def _refresh(_: StateRefresh, desk: Desk) -> Answer:
    return Answer({}, desk.refresh)


HANDLERS: Mapping[type[Args], Handler] = {
    Ping: lambda args, _: Answer(args.args),
    SettingsSet: _settings_set,
    SettingsReset: _settings_reset,
    SettingsGet: _settings_get,
    ModelsList: lambda _, desk: Answer(desk.models()),
    HealthGet: lambda _, desk: Answer(desk.health()),
    StateRefresh: _refresh,
    SetCamera: _set_camera,
    SetNode: _set_node,
    ModelSwap: _model_swap,
    ModelAdd: _model_add,
    ModelRemove: _model_remove,
    CameraEnable: _camera_enable,
    CameraDisable: _camera_disable,
    CameraRestart: _camera_restart,
    CameraAdd: _camera_add,
    CameraRemove: _camera_remove,
    DeviceRestart: _device_restart,
    DeviceRelease: lambda args, desk: Proposal(
        lambda: transactions.DeviceRelease(desk, args.for_s), {"for_s": args.for_s}
    ),
    DeviceAcquire: lambda _, desk: Proposal(lambda: transactions.DeviceAcquire(desk)),
    DaemonRestart: _daemon_restart,
}


class _Keeping:
    """A transaction whose success says what is to be kept, which nobody knew before."""

    def __init__(self, inner: Transaction, edit: Edit) -> None:
        self._inner = inner
        self._edit = edit

    @property
    def step(self) -> str:
        return self._inner.step

    def begin(self) -> transactions.Verdict | None:
        return self._with(self._inner.begin())

    def on(self, event: transactions.TransactionEvent) -> transactions.Verdict | None:
        return self._with(self._inner.on(event))

    def expire(self) -> transactions.Verdict:
        return self._inner.expire()

    def _with(self, verdict: transactions.Verdict | None) -> transactions.Verdict | None:
        if isinstance(verdict, transactions.Succeeded):
            return transactions.Succeeded(verdict.data, self._edit)
        return verdict


def check_source(source: str) -> None:
    """Raises CommandError, which holds nothing of a credential, for what cannot be a camera's source."""
    if not source.isprintable():
        raise CommandError("bad_args", "a source has printable characters only", field="args.source")
    try:
        validate_source(source)
    except ValueError as error:
        text = scrub(str(error), secrets_of(source))
        raise CommandError("bad_args", text[:300], field="args.source") from None
    if anchored(source, Path("/")) != source:
        raise CommandError("bad_args", "a file is named by its whole path", field="args.source")


def _existing(settings: Settings, camera: str) -> None:
    if camera not in settings.cameras:
        known = sorted(settings.cameras)
        raise CommandError("unknown_camera", f"no camera '{camera}'", field="args.camera", allowed=known)


def _with_table(settings: Settings, kind: str, name: str, table: Table, wishes: Mapping[str, object]) -> dict[str, Any]:
    """The document of the settings with one table more, in which each of the wishes may be set."""
    for key, value in wishes.items():
        check_value(settings, (kind, name, key[:64]), value)
    document = settings.model_dump(by_alias=True)
    document[kind][name] = dict(table)
    return document


def _removal(desk: Desk, kind: str, name: str) -> Edit:
    """How it is kept that a camera or model is gone: of one that only was added nothing is left."""
    path = f"{kind}.{name}"
    known = name in desk.files.cameras if kind == "cameras" else name in desk.files.models
    return Edit(forget=(path,), tables={path: None} if known else {})
