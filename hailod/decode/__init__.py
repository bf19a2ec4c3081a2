"""From output tensors to detections: the decoders by name, and the choice of one for a model."""

from __future__ import annotations

from hailod.decode.base import Decoder
from hailod.decode.nms import NmsByClass, NmsByScore
from hailod.decode.yolox import Yolox
from hailod.errors import ModelError
from hailod.models.manifest import Manifest
from hailod.types import ModelTensors

DECODERS: dict[str, type[NmsByClass | NmsByScore | Yolox]] = {
    "nms_by_class": NmsByClass,
    "nms_by_score": NmsByScore,
    "yolox": Yolox,
}


def make_decoder(manifest: Manifest, tensors: ModelTensors) -> Decoder:
    """The decoder that the manifest names, else the one whose expectations the outputs meet.

    Raises ModelError with a table of what each decoder asked for refused, and of the outputs that came.
    """
    if manifest.decoder is not None and manifest.decoder not in DECODERS:
        raise ModelError(f"decoder '{manifest.decoder}' is unknown (allowed: {', '.join(DECODERS)})")
    names = list(DECODERS) if manifest.decoder is None else [manifest.decoder]
    refusals = []
    for name in names:
        try:
            decoder = DECODERS[name](manifest, tensors)
        except ModelError as error:
            refusals.append(f"  {name}: {error}")
            continue
        if manifest.labels and len(manifest.labels) != decoder.classes:
            raise ModelError(
                f"the outputs have {decoder.classes} classes and the manifest {len(manifest.labels)} labels"
            )
        return decoder
    came = [f"  {o.name}: {o.dtype} {o.order} {o.shape}" for o in tensors.outputs] or ["  none"]
    raise ModelError("\n".join(["no decoder fits this model. Outputs:", *came, "Decoders:", *refusals]))
