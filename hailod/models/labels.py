"""Names of classes: from a file of one per line, or from a list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hailod.errors import ModelError

MAX_LABELS = 4096
MAX_LENGTH = 64
# Four bytes for each character and one for its line's end.
_MAX_BYTES = MAX_LABELS * (4 * MAX_LENGTH + 1)


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a UTF-8 file, the first line being class 0. ModelError names file and line of what is wrong."""
    # A pipe or a device of that name would be read for ever.
    if not os.path.isfile(path):
        raise ModelError(f"{path}: no such file of labels")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ModelError(
            f"{path}: larger than {_MAX_BYTES} bytes (allowed: {MAX_LABELS} labels of {MAX_LENGTH} letters)"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    return check_labels(text.rstrip().split("\n"), str(path))


def check_labels(labels: Iterable[str], where: str) -> tuple[str, ...]:
    """The labels, stripped; ModelError, which says `where`, if they are too many, too long or unprintable."""
    checked = tuple(label.strip() for label in labels)
    if len(checked) > MAX_LABELS:
        raise ModelError(f"{where}: {len(checked)} labels (allowed: {MAX_LABELS})")
    for number, label in enumerate(checked, 1):
        if not label or len(label) > MAX_LENGTH or not label.isprintable():
            raise ModelError(
                f"{where}: label {number}: {label[:MAX_LENGTH]!r} (allowed: 1 to {MAX_LENGTH} printable characters)"
            )
    return checked
