"""The exceptions of `hailo_platform.pyhailort.pyhailort`, and how a native status becomes one of them.

Only calls wrapped in `ExceptionWrapper` translate; from the others the native exception escapes, as in HailoRT 4.x.
"""

from __future__ import annotations

from types import TracebackType

from hailod.simulator.native import (
    STATUSES,
    STATUSES_5,
    HailoRTCustomException,
    HailoRTStatusException,
    profile,
    set_profile,
)


class HailoRTException(Exception):
    """Base of what users see. In 5.x also of what the binding raises."""

    __slots__ = ()


class UdpRecvError(HailoRTException):
    """Status 21."""


class InvalidProtocolVersionException(HailoRTException):
    """Status 15."""


class HailoRTFirmwareControlFailedException(HailoRTException):
    """Status 18."""


class HailoRTInvalidFrameException(HailoRTException):
    """Status 25."""


class HailoRTUnsupportedOpcodeException(HailoRTException):
    """Status 48."""


class HailoRTTimeout(HailoRTException):
    """Status 4."""


class HailoRTStreamAborted(HailoRTException):
    """Status 63."""


class HailoRTStreamAbortedByUser(HailoRTException):
    """Exported, and never raised in 4.23."""


class HailoRTInvalidOperationException(HailoRTException):
    """Status 6."""


class HailoRTInvalidArgumentException(HailoRTException):
    """Status 2."""


class HailoRTNotFoundException(HailoRTException):
    """Status 61."""


class HailoRTInvalidHEFException(HailoRTException):
    """Status 26."""


class HailoRTHEFNotCompatibleWithDevice(HailoRTException):
    """Status 93."""


class HailoRTEthException(HailoRTException):
    """Status 19."""


class HailoRTDriverOperationFailedException(HailoRTException):
    """Status 36."""


class HailoRTNetworkGroupNotActivatedException(HailoRTException):
    """Status 69."""


class HailoCommunicationClosedException(HailoRTException):
    """Status 62."""


class HailoStatusInvalidValueException(Exception):
    """A number that is no status."""


HailoRTPCIeDriverException = HailoRTDriverOperationFailedException

EXCEPTIONS: dict[str, type[Exception]] = {
    name: thing for name, thing in globals().items() if isinstance(thing, type) and issubclass(thing, Exception)
} | {"HailoRTPCIeDriverException": HailoRTPCIeDriverException}
del EXCEPTIONS["HailoRTStatusException"], EXCEPTIONS["HailoRTCustomException"]


def use_profile(name: str) -> None:
    """Simulate a version of HailoRT from now on: "4.23" or "5.2". KeyError for another.

    In 5.x the binding registered its exceptions below HailoRTException. They are raised by the same code in both, so
    the classes are given the other base.
    """
    set_profile(name)
    base = HailoRTException if profile().one_exception_tree else Exception
    HailoRTStatusException.__bases__ = HailoRTCustomException.__bases__ = (base,)


class ExceptionWrapper:
    """Turns a native status into the exception that stands for it, the status staying readable as its cause."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(value, HailoRTStatusException):
            self._raise_indicative_status_exception(value)

    def _raise_indicative_status_exception(self, libhailort_exception: HailoRTStatusException) -> None:
        raise self.create_exception_from_status(int(str(libhailort_exception))) from libhailort_exception

    @staticmethod
    def create_exception_from_status(error_code: int) -> Exception:
        known = STATUSES | STATUSES_5 if profile().one_exception_tree else STATUSES
        name, exception, message = known.get(error_code, ("", None, None))
        if exception is None:
            raise HailoStatusInvalidValueException(f"{error_code} is not a failure status")
        return EXCEPTIONS[exception](message or f"libhailort failed with error: {error_code} ({name})")
