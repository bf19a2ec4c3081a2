"""From a network group of the description to what is configured and bound: its core op, its layers, its vstreams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hailod.models.hef import chips, schema
from hailod.models.hef.errors import INTERNAL_FAILURE, HefInvalid
from hailod.models.hef.layers import Layer, LayerReader
from hailod.models.hef.model import NetworkGroup, VStream
from hailod.models.hef.operations import operations


@dataclass(frozen=True, slots=True)
class Features:
    """What decides how a description is understood."""

    architecture: chips.Architecture
    extensions: frozenset[int]
    optional: frozenset[int]

    @property
    def net_flow(self) -> bool:
        """Whether groups are graphs of operations, of which one runs on the chip."""
        return chips.NET_FLOW in self.extensions


def network_group(group: schema.NetworkGroup, features: Features) -> NetworkGroup:
    """The network group of that message; raises HefError."""
    whole, core_op = core_ops(group, features)
    name = _name(group, core_op)
    layers = tuple(LayerReader(name, core_op, features.architecture, features.extensions, features.optional).layers())
    _check_names(layers, group.offset)
    inputs = [layer for layer in layers if layer.direction == "input"]
    outputs = [layer for layer in layers if layer.direction == "output"]
    pads = {layer.pad_index: layer for layer in reversed(outputs) if layer.pad_index is not None}
    computed = tuple(operations(group, name, pads)) if features.net_flow else ()
    order = _order_of_outputs(group, whole, core_op)
    return NetworkGroup(
        name=name,
        networks=tuple(_networks(name, group.network_names or core_op.network_names, features)),
        contexts=len(core_op.contexts),
        multi_context=len(core_op.contexts) > 1,
        bottleneck_fps=core_op.metadata.bottleneck_fps,
        inputs=tuple(stream for layer in inputs for stream in layer.streams),
        outputs=tuple(stream for layer in outputs for stream in layer.streams),
        input_vstreams=tuple(vstream for layer in inputs for vstream in layer.vstreams),
        output_vstreams=_output_vstreams(outputs, computed, order),
        sorted_outputs=order,
        layouts=tuple(partial.layout.clusters for partial in whole.partials),
    )


def core_ops(group: schema.NetworkGroup, features: Features) -> tuple[schema.CoreOp, schema.CoreOp]:
    """What runs on the chip: as a whole, and as it is laid out.

    They differ where a network was laid out for each set of clusters that a chip may have; all layouts have the same
    streams, and the first one is taken.
    """
    whole: schema.CoreOp = group
    if features.net_flow:
        found = next((op.core_op for op in group.ops if op.has(schema.Op.core_op)), None)
        if found is None:
            raise HefInvalid("a network group has nothing that runs on the chip", group.offset)
        whole = found
    laid_out = whole if whole.contexts or not whole.partials else whole.partials[0].core_op
    if not laid_out.contexts:
        raise HefInvalid("a network group has no context", group.offset)
    return whole, laid_out


def _name(group: schema.NetworkGroup, core_op: schema.CoreOp) -> str:
    named: schema.CoreOp = group.partials[0].core_op if group.partials else group
    return named.metadata.name or group.name or core_op.metadata.name


def _networks(group: str, names: Sequence[str], features: Features) -> Iterator[str]:
    if chips.MULTI_NETWORK in features.optional and names:
        yield from (f"{group}/{name}" for name in names)
    else:
        yield f"{group}/{group}"


def _check_names(layers: Iterable[Layer], offset: int) -> None:
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen:
            raise HefInvalid(f"two layers are called {layer.name!r}", offset)
        seen.add(layer.name)


def _order_of_outputs(group: schema.NetworkGroup, whole: schema.CoreOp, core_op: schema.CoreOp) -> tuple[str, ...]:
    """The outputs' names in order, which descriptions of different age have at different places."""
    if whole.fused_layers.has_fused_layers:
        return whole.fused_layers.sorted_outputs
    in_layout = group.partials[0].core_op.sorted_outputs if whole is group and group.partials else ()
    order = in_layout or group.sorted_outputs or core_op.contexts[-1].metadata.sorted_outputs
    if not order:
        raise HefInvalid("the order of the outputs is not given", group.offset)
    return order


def _output_vstreams(
    outputs: Iterable[Layer], computed: Iterable[VStream], order: Sequence[str]
) -> tuple[VStream, ...]:
    """What the host gets: outputs of the core that no operation takes, and what the operations make of the others."""
    computed = tuple(computed)
    taken = {stream for vstream in computed for stream in vstream.streams}
    vstreams: dict[str, VStream] = {}
    for vstream in (vstream for layer in outputs if layer.name not in taken for vstream in layer.vstreams):
        # Each part of split detections gives the whole once more, and is one of its streams.
        known = vstreams.setdefault(vstream.name, vstream)
        if known is not vstream:
            vstreams[vstream.name] = known.joined(vstream)
    ranks = {name: rank for rank, name in enumerate(order)}
    everything = (*vstreams.values(), *computed)
    if lost := [vstream.name for vstream in everything if vstream.name not in ranks]:
        raise HefInvalid(f"output {lost[0]!r} has no place in the order of outputs", status=INTERNAL_FAILURE)
    return tuple(sorted(everything, key=lambda vstream: ranks[vstream.name]))
