"""A real HEF, against what HailoRT 4.23 itself reads in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hailod.models.hef import FormatOrder, FormatType, read_hef


def test_real_file_is_read_as_hailort_reads_it(shared: Path) -> None:
    """Names, shapes, formats, quantisation, contexts and rate of a model of the model zoo are HailoRT's."""
    path = shared / "data/hefs/arcface_mobilefacenet.hef"
    if not path.is_file():
        pytest.skip("the HEF is not in the folder 'shared'")
    hef = read_hef(path)
    assert (hef.format_version, hef.architecture.name, hef.compiler) == (1, "hailo8", "3.29.0")
    (group,) = hef.groups
    assert (group.name, group.multi_context) == ("arcface_mobilefacenet", False)
    assert group.bottleneck_fps == pytest.approx(3460.238, abs=1e-3)
    (picture,), (vector,) = group.input_vstreams, group.output_vstreams
    assert (picture.name, picture.shape) == ("arcface_mobilefacenet/input_layer1", (112, 112, 3))
    assert (picture.order, picture.type) == (FormatOrder.NHWC, FormatType.UINT8)
    assert picture.quantisation.single[:2] == (0.0, 1.0)
    assert (vector.name, vector.shape) == ("arcface_mobilefacenet/fc1", (1, 1, 512))
    assert (vector.order, vector.type) == (FormatOrder.NC, FormatType.UINT8)
