"""The errors of hailod, named by what to do about them.

HailodError
├─ ConfigError             bad settings: exit code 78, systemd does not restart
├─ SourceError             a camera; the message never holds a credential
│  ├─ SourceUnavailable    cannot be opened: back off, open again
│  ├─ SourceLost           was open and went away: open again
│  └─ SourceEnded          a file that came to its end
├─ DeviceError             the accelerator
│  ├─ DeviceUnavailable    missing, in use, no driver or no hailo_platform: back off for ever
│  ├─ DeviceRejected       wrong HEF, chip or versions: name the fix, do not loop
│  ├─ SessionLost          the ConfiguredInferModel is dead: a new one is needed
│  ├─ DeviceLost           the host process or the driver failed: a new process is needed
│  ├─ DeviceHung           no sign of life: kill the process
│  └─ DeviceTooHot         the chip stopped itself: wait until it has cooled
├─ InferenceError          one frame that has no result; which frame, whose, and what is done about it
│  ├─ InferenceTimeoutError   no answer in time: wait again, then skip the frame
│  ├─ InferenceSubmitError    the device did not take it: restart the device, try the frame once more
│  ├─ InferenceWaitError      the device took it and failed: try it once more while it is fresh, then skip it
│  └─ InferencePipelineError  the synchronous pipeline failed: fatal
├─ ModelError              a model file or manifest that cannot be used here
├─ DecodeError             outputs that the decoder cannot believe: wrong model or our bug
└─ CommandError            a remote command that was refused; belongs in the reply
"""

from __future__ import annotations

from collections.abc import Sequence


class HailodError(Exception):
    """Anything that hailod itself raises."""


class ConfigError(HailodError):
    """Settings that cannot be used; the message names file, key, value and what is allowed."""

    exit_code = 78


class SourceError(HailodError):
    """A camera failed. `code` is stable for machines; the message is for people and free of credentials."""

    def __init__(self, message: str, *, code: str = "source_error") -> None:
        super().__init__(message)
        self.code = code


class SourceUnavailable(SourceError):
    """The source cannot be opened now."""


class SourceLost(SourceError):
    """The source was open and delivers no more."""


class SourceEnded(SourceError):
    """The file is at its end."""


class DeviceError(HailodError):
    """The accelerator failed. `status` is HailoRT's status number where there is one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DeviceUnavailable(DeviceError):
    """No device to be had: missing, in use, or its driver or library is not installed."""


class DeviceRejected(DeviceError):
    """The device refuses this model or these versions; trying again changes nothing."""


class SessionLost(DeviceError):
    """The configured model aborted and never comes back."""


class DeviceLost(DeviceError):
    """The device host or the driver failed."""


class DeviceHung(DeviceError):
    """The device host shows no sign of life."""


class DeviceTooHot(DeviceError):
    """The chip's firmware stopped all dataflow to protect it."""


class InferenceError(HailodError):
    """One frame has no result. `__cause__` is the device's error, with HailoRT's status where there is one.

    `source` is the camera or file, `frame` its number there, `action` what is to be done; `str()` shows all of it.
    """

    action = ""

    def __init__(self, source: str, frame: int, cause: BaseException | None = None) -> None:
        super().__init__(source, frame)
        self.source = source
        self.frame = frame
        self.__cause__ = cause

    @property
    def status(self) -> int | None:
        """HailoRT's status number, None where it has none."""
        return getattr(self.__cause__, "status", None)

    def __str__(self) -> str:
        cause = "" if self.__cause__ is None else f": {self.__cause__}"
        return f"{self.source}, frame {self.frame}{cause}; {self.action}"


class InferenceTimeoutError(InferenceError):
    """No answer came within the time that the device has."""

    action = "wait for it again, then skip the frame"


class InferenceSubmitError(InferenceError):
    """`run_async` refused the frame, and with that the configured model is dead."""

    action = "restart the device and try the frame once more"


class InferenceWaitError(InferenceError):
    """The device took the frame and its completion is an error, or it died with it."""

    action = "try the frame once more while it is fresh, then skip it"


class InferencePipelineError(InferenceError):
    """The synchronous pipeline failed; it has no second chance."""

    action = "end the run: a synchronous pipeline does not recover"


class ModelError(HailodError):
    """A model file, manifest or decoder choice that cannot work; the message says what was expected and what came."""


class DecodeError(HailodError):
    """Output tensors that cannot be what the decoder was made for."""


class CommandError(HailodError):
    """A remote command refused. `code` is one of the closed list of the MQTT interface."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        allowed: Sequence[object] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.allowed = allowed
        self.retryable = retryable
