"""The control plane's language: from an inbound message to a command, and from its outcome to a reply. Pure.

    match parse(inbound, topics):
        case None:        not for us, silence
        case Refusal():   never ran; answer, and clear the topic if told so
        case Request():   run it unless `ReplyCache.claim` says that it was run before

Nothing of a message is believed: its size, depth, encoding, types, names and ranges are checked here; whether a camera
or model exists is for the control thread to say. Which commands and scalars there are is told by the tables of `table`.
"""

from hailod.mqtt.commands.history import RateLimit, ReplyCache
from hailod.mqtt.commands.parse import (
    LONGEST_DEADLINE,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ID,
    Envelope,
    Origin,
    Refusal,
    Request,
    parse,
)
from hailod.mqtt.commands.replies import accepted, error, failure, ok, progress
from hailod.mqtt.commands.table import (
    CAMERA_SCALARS,
    COMMANDS,
    NODE_SCALARS,
    Args,
    CameraAdd,
    CameraDisable,
    CameraEnable,
    CameraRemove,
    CameraRestart,
    Command,
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
    Scalar,
    SetCamera,
    SetNode,
    SettingsGet,
    SettingsReset,
    SettingsSet,
    Spec,
    StateRefresh,
    arguments,
)

__all__ = [
    "CAMERA_SCALARS",
    "COMMANDS",
    "LONGEST_DEADLINE",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_ID",
    "NODE_SCALARS",
    "Args",
    "CameraAdd",
    "CameraDisable",
    "CameraEnable",
    "CameraRemove",
    "CameraRestart",
    "Command",
    "DaemonRestart",
    "DeviceAcquire",
    "DeviceRelease",
    "DeviceRestart",
    "Envelope",
    "HealthGet",
    "ModelAdd",
    "ModelRemove",
    "ModelSwap",
    "ModelsList",
    "Origin",
    "Ping",
    "RateLimit",
    "Refusal",
    "ReplyCache",
    "Request",
    "Scalar",
    "SetCamera",
    "SetNode",
    "SettingsGet",
    "SettingsReset",
    "SettingsSet",
    "Spec",
    "StateRefresh",
    "accepted",
    "arguments",
    "error",
    "failure",
    "ok",
    "parse",
    "progress",
]
