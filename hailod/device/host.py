"""The device host: the process that owns the accelerator, and the only importer of `hailo_platform`.

Started by `spawner` as `python -m hailod.device.host JOBS_FD CONTROL_FD PARENT_PID`. Three threads: the main one obeys
control messages (open, load, configure, unload), one submits jobs, one beats and measures. It never recovers anything:
whatever the vendor library does wrong is reported, and the daemon decides whether this process lives.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hailod.device.protocol import (
    HEARTBEAT_S,
    JOB_BYTES,
    Completed,
    Message,
    Submit,
    receive_control,
    send_control,
)
from hailod.device.slots import Layout, SlotMap
from hailod.device.tensors import describe, tensors_from_json, tensors_to_json
from hailod.errors import DeviceLost, DeviceRejected, DeviceUnavailable, HailodError

PR_SET_PDEATHSIG = 1
READY_TIMEOUT_MS = 10_000
STATUS_INTERNAL = 8
MAX_TEXT = 2000
# INVALID_ARGUMENT and INVALID_OPERATION: how configure() refuses thresholds for an NMS that does not run on the host.
_NO_HOST_NMS = frozenset({2, 6})
_INSTALL = "sudo apt install hailo-all (Hailo-8, Hailo-8L) or hailo-h10-all (Hailo-10H)"


@dataclass(slots=True, eq=False)
class _Model:
    """One model on the device, from `load` to `unload`."""

    infer_model: Any
    path: str
    batch_size: int
    # What was asked of the device's own NMS as its score threshold.
    floor: float | None
    configured: Any = None
    bindings: list[Any] = field(default_factory=list)
    slots: SlotMap | None = None


class Host:
    """Everything between the two sockets and `hailo_platform`."""

    def __init__(self, jobs: socket.socket, control: socket.socket) -> None:
        self._jobs = jobs
        self._control = control
        self._generation = 0
        self._hailo: Any = None
        self._vdevice: Any = None
        # Asked for its temperature; get_physical_devices() would open it anew each time.
        self._chip: Any = None
        self._telemetry_s = 10.0
        self._full_clock = 0
        self._activate = False
        self._models: dict[int, _Model] = {}
        self._dropped = 0
        self._completions_lost = 0

    def run(self) -> None:
        """Obey until the daemon closes the control channel."""
        threading.Thread(target=self._guard(self._submit_jobs), name="jobs", daemon=True).start()
        threading.Thread(target=self._guard(self._beat), name="beat", daemon=True).start()
        commands: dict[str, Callable[[Message, list[int]], Message]] = {
            "open": self._open,
            "load": self._load,
            "configure": self._configure,
            "unload": self._unload,
        }
        while (received := receive_control(self._control)) is not None:
            message, fds = received
            kind = str(message["type"])
            began = time.monotonic()
            try:
                reply = commands[kind](message, fds)
            except HailodError as error:
                reply = self._failure(error, getattr(error, "status", None))
            except Exception as error:  # noqa: BLE001 - a call into the vendor library ends here
                status = status_of(error)
                if status == STATUS_INTERNAL:
                    # Not one of HailoRT's own words: whoever reads the log needs to know where it came from.
                    traceback.print_exc()
                reply = self._failure(error, status)
            finally:
                for fd in fds:
                    os.close(fd)
            reply |= {"took_ms": round((time.monotonic() - began) * 1000, 1)}
            for key in ("model", "request"):
                if key in message:
                    reply[key] = message[key]
            self._say({"type": reply.pop("type", f"{kind}.done"), "command": kind, **reply})

    # -- control -----------------------------------------------------------------------------------------------------

    def _open(self, message: Message, _: list[int]) -> Message:
        self._generation = int(str(message["generation"]))
        if message["backend"] == "simulated":
            install_simulator(message["simulated"])
        self._hailo = hailo = import_hailo_platform()
        self._activate = message["scheduler"] == "none"
        params = hailo.VDevice.create_params()
        algorithm = hailo.HailoSchedulingAlgorithm
        params.scheduling_algorithm = algorithm.NONE if self._activate else algorithm.ROUND_ROBIN
        if message.get("id") is not None:
            params.device_ids = [str(message["id"])]
        self._vdevice = hailo.VDevice(params)
        self._telemetry_s = float(str(message.get("telemetry_s", self._telemetry_s)))
        identity = self._identify()
        self._listen()
        return {"identity": identity}

    def _identify(self) -> Message:
        """Who the device is, from its firmware; empty strings for what it does not say."""
        self._chip = self._vdevice.get_physical_devices()[0]
        board = self._chip.control.identify()
        firmware = board.firmware_version
        return {
            "arch": str(getattr(board.device_architecture, "name", board.device_architecture)).lower(),
            "name": str(board.product_name).strip("\0 "),
            "serial_tail": str(board.serial_number).strip("\0 ")[-4:],
            "firmware": f"{firmware.major}.{firmware.minor}.{firmware.revision}",
            "hailort": str(getattr(self._hailo, "__version__", "")),
        }

    def _listen(self) -> None:
        """Have the firmware tell when it lowers its clock or stops all dataflow; where it cannot, polling remains."""
        from hailo_platform.pyhailort import pyhailort  # noqa: PLC0415 - known by now, and not exported at the top

        ids = pyhailort.NotificationId
        for number, heed in (
            (ids.HEALTH_MONITOR_CLOCK_CHANGED_EVENT, self._clock_changed),
            (ids.HEALTH_MONITOR_DATAFLOW_SHUTDOWN, self._shut_down),
        ):
            try:
                self._chip.control.set_notification_callback(_harmless(heed), number, None)
            except Exception as error:  # noqa: BLE001 - a call into the vendor library ends here
                sys.stderr.write(f"no notification {number}: {type(error).__name__}: {error}\n")

    def _clock_changed(self, body: Any) -> None:
        event = body.health_monitor_clock_changed_notification
        before, now = int(event.previous_clock), int(event.current_clock)
        self._full_clock = max(self._full_clock, before, now)
        self._say({"type": "clock", "hz": now, "throttled": now < self._full_clock})

    def _shut_down(self, body: Any) -> None:
        event = body.health_monitor_dataflow_shutdown_notification
        self._say({"type": "shutdown", "temp_c": round(max(event.ts0_temperature, event.ts1_temperature), 1)})

    def _load(self, message: Message, _: list[int]) -> Message:
        key, path = int(str(message["model"])), str(message["path"])
        batch_size, floor = int(str(message["batch_size"])), message.get("score_floor")
        infer_model = self._vdevice.create_infer_model(path)
        infer_model.set_batch_size(batch_size)
        nms = [output for output in infer_model.outputs if output.is_nms]
        if floor is not None:
            for output in nms:
                output.set_nms_score_threshold(float(str(floor)))
        asked = None if floor is None or not nms else float(str(floor))
        self._models[key] = _Model(infer_model, path, batch_size, asked)
        return {"tensors": tensors_to_json(describe(infer_model))}

    def _configure(self, message: Message, fds: list[int]) -> Message:
        model = self._models[int(str(message["model"]))]
        if len(fds) != 1:
            raise DeviceLost("configure came without its mapping")
        tensors = tensors_from_json(message["tensors"])
        model.slots = SlotMap(Layout.of(tensors, int(str(message["slots"]))), fds[0])
        model.configured = self._configured(model)
        if self._activate:
            model.configured.activate()
        model.bindings = []
        for inputs, outputs in zip(model.slots.inputs, model.slots.outputs, strict=True):
            model.bindings.append(model.configured.create_bindings(inputs, outputs))
        return {"queue_size": int(model.configured.get_async_queue_size())}

    def _configured(self, model: _Model) -> Any:
        """The configured model; without our score threshold where the NMS runs on the chip and has its own."""
        try:
            return model.infer_model.configure()
        except Exception as error:
            if model.floor is None or status_of(error) not in _NO_HOST_NMS:
                raise
            sys.stderr.write(f"the score threshold of {model.path} is what was compiled in: {error}\n")
        model.infer_model = self._vdevice.create_infer_model(model.path)
        model.infer_model.set_batch_size(model.batch_size)
        return model.infer_model.configure()

    def _unload(self, message: Message, _: list[int]) -> Message:
        """Drop a model that has nothing in flight: by its destructor, which releases the GIL, never by `shutdown()`."""
        model = self._models.pop(int(str(message["model"])), None)
        if model is not None and model.configured is not None:
            if self._activate:
                model.configured.deactivate()
            model.bindings.clear()
            model.configured.__exit__(None, None, None)
        return {}

    @staticmethod
    def _failure(error: Exception, status: int | None) -> Message:
        """Our own errors are classed by name, the vendor's by status; the daemon does the classing."""
        text = str(error) or type(error).__name__
        return {"type": "failed", "error": type(error).__name__, "status": status, "text": text[:MAX_TEXT]}

    def _say(self, message: Message) -> None:
        try:
            sent = send_control(self._control, message)
        except ValueError as error:
            sys.stderr.write(f"'{message['type']}' cannot be told: {error}\n")
            sent = False
        if not sent:
            self._dropped += 1

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _submit_jobs(self) -> None:
        while data := self._jobs.recv(JOB_BYTES):
            submit = Submit.unpack(data)
            started = time.monotonic_ns()
            try:
                model = self._models[submit.model]
                bindings = [model.bindings[slot] for slot in submit.slots]
                model.configured.wait_for_async_ready(timeout_ms=READY_TIMEOUT_MS, frames_count=len(bindings))
                model.configured.run_async(bindings, functools.partial(self._completed, submit.job, started))
            except Exception as error:  # noqa: BLE001 - a call into the vendor library ends here
                status = status_of(error)
                if status == STATUS_INTERNAL:
                    traceback.print_exc()
                self._report("run_async", submit.job, status, error)
                self._complete(submit.job, status, started, refused=True)

    def _completed(self, job: int, started: int, completion_info: Any) -> None:
        """HailoRT's callback, on its thread: must not raise and must not block."""
        try:
            error = completion_info.exception
            if error is None:
                self._complete(job, 0, started)
            else:
                status = status_of(error)
                self._report("completion", job, status, error)
                self._complete(job, status, started)
        except BaseException:  # noqa: BLE001 - an exception that left here would abort the process without a trace
            traceback.print_exc()
            os._exit(70)

    def _report(self, stage: str, job: int, status: int, error: BaseException) -> None:
        """The vendor's own words, for the log; what counts is the completion."""
        self._say({"type": "fault", "stage": stage, "job": job, "status": status, "text": str(error)[:MAX_TEXT]})

    def _complete(self, job: int, status: int, started: int, *, refused: bool = False) -> None:
        done = Completed(status, self._generation, job, started, time.monotonic_ns(), refused)
        try:
            self._jobs.send(done.pack(), socket.MSG_DONTWAIT)
        except BlockingIOError:
            # Cannot be: all windows together fit. If it is, the daemon sees a job grow old and ends this process.
            self._completions_lost += 1

    # -- heartbeat ---------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        measured = 0.0
        while True:
            self._say({"type": "beat", **self._usage()})
            now = time.monotonic()
            if self._chip is not None and now - measured >= self._telemetry_s:
                measured = now
                self._say({"type": "telemetry", **self._measure()})
            _interval.wait(HEARTBEAT_S)

    def _usage(self) -> Message:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 6),
            "rss_kb": _rss_kb(),
            "dropped": self._dropped,
            "completions_lost": self._completions_lost,
        }

    def _measure(self) -> Message:
        """Chip temperature; None where the device does not tell."""
        try:
            reading = self._chip.control.get_chip_temperature()
        except Exception as error:  # noqa: BLE001 - a call into the vendor library ends here
            return {"temp_c": None, "error": f"{type(error).__name__}: {error}"}
        return {"temp_c": round(max(reading.ts0_temperature, reading.ts1_temperature), 1)}

    @staticmethod
    def _guard(target: Callable[[], None]) -> Callable[[], None]:
        """A thread of the host ends: with the daemon gone, or by a bug, and in both cases so does the process."""

        def guarded() -> NoReturn:
            try:
                target()
            except (BrokenPipeError, ConnectionResetError):
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a thread ends here
                traceback.print_exc()
                os._exit(70)
            os._exit(0)

        return guarded


_interval = threading.Event()


def _harmless(heed: Callable[[Any], None]) -> Callable[[int, Any, object], None]:
    """A callback for the library's notification thread, where an escaping exception would abort the process."""

    def called(_device: int, notification: Any, _opaque: object) -> None:
        try:
            heed(notification.body)
        except BaseException:  # noqa: BLE001 - an exception that left here would abort the process
            traceback.print_exc()

    return called


def install_simulator(options: Any) -> None:
    """Put the simulated `hailo_platform` in the real one's place; `options` is the table `[device.simulated]`."""
    from hailod import simulator  # noqa: PLC0415 - only where it was asked for

    given = dict(options)
    faults = given.pop("faults", None)
    try:
        if faults is not None:
            given["faults"] = simulator.load_faults(Path(faults))
        simulator.install(simulator.SimulatorOptions(**given))
    except (simulator.FaultsError, OSError) as error:
        raise DeviceRejected(f"the faults to simulate cannot be scripted: {error}") from error


def import_hailo_platform() -> Any:
    """The vendor's module; DeviceUnavailable or DeviceRejected with what to install when it is missing or too old."""
    try:
        import hailo_platform  # noqa: PLC0415 - may be missing, and that is an answer
    except ImportError as error:
        raise DeviceUnavailable(f"hailo_platform cannot be imported ({error}): {_INSTALL}") from error
    if not hasattr(hailo_platform.VDevice, "create_infer_model"):
        version = getattr(hailo_platform, "__version__", "of unknown version")
        raise DeviceRejected(
            f"HailoRT {version} has no asynchronous Python API, 4.18 or newer is needed: "
            f"sudo apt update && sudo apt install --only-upgrade hailo-all"
        )
    return hailo_platform


def status_of(error: BaseException) -> int:
    """HailoRT's status number of an exception, INTERNAL_FAILURE where it carries none.

    Wrapped exceptions carry it as their cause's text, raw ones as their own, completion exceptions in their class.
    """
    for candidate in (error.__cause__, error):
        if candidate is not None:
            text = str(candidate)
            if text.isdigit():
                return int(text)
    words = str(error).replace("libhailort failed with error:", "status=").split("status=")
    if len(words) > 1 and (number := words[-1].split()[0]).isdigit():
        return int(number)
    return _STATUS_OF_CLASS.get(type(error).__name__, STATUS_INTERNAL)


_STATUS_OF_CLASS = {
    "HailoRTTimeout": 4,
    "HailoRTInvalidOperationException": 6,
    "HailoRTInvalidArgumentException": 2,
    "HailoRTFirmwareControlFailedException": 18,
    "HailoRTInvalidFrameException": 25,
    "HailoRTInvalidHEFException": 26,
    "HailoRTDriverOperationFailedException": 36,
    "HailoRTNotFoundException": 61,
    "HailoCommunicationClosedException": 62,
    "HailoRTStreamAborted": 63,
    "HailoRTStreamAbortedByUser": 63,
    "HailoRTNetworkGroupNotActivatedException": 69,
    "HailoRTHEFNotCompatibleWithDevice": 93,
}


def _rss_kb() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def _be_a_child(parent: int) -> None:
    """Die with the daemon, survive the terminal's signals, be the first to go when memory runs out."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("500")
    except OSError as error:
        sys.stderr.write(f"oom_score_adj cannot be raised: {error.strerror}\n")


def main(argv: list[str]) -> NoReturn:
    """The process: never returns, and leaves without running the vendor's destructors, which may hang."""
    jobs_fd, control_fd, parent = (int(word) for word in argv)
    _be_a_child(parent)
    host = Host(socket.socket(fileno=jobs_fd), socket.socket(fileno=control_fd))
    try:
        host.run()
    except BaseException:  # noqa: BLE001 - the process ends here
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
