"""pyhailort's own log, on standard output, unlike libhailort's. Its file in the working directory is left out."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stdout` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("always sys.stdout")


def default_logger() -> logging.Logger:
    """The logger "pyhailort", level INFO, made when it is first asked for."""
    logger = logging.getLogger("pyhailort")
    if not any(isinstance(handler, _StandardOutput) for handler in logger.handlers):
        logger.setLevel(logging.INFO)
        logger.addHandler(_StandardOutput())
    return logger
