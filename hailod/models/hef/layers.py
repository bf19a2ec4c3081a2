"""From the edge layers of a core op to its streams, and to the vstreams that the host sees of them.

An edge layer at the boundary is one tensor in one stream (info), several tensors in one stream (mux), or one picture in
several streams (planes). Detections of one network that the neural core computes in several streams ("defused") are one
vstream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hailod.models.hef import chips, schema
from hailod.models.hef.errors import INTERNAL_FAILURE, INVALID_ARGUMENT, HefInvalid, HefNotSupported
from hailod.models.hef.formats import (
    COMPILER_ORDERS,
    HOST_ORDERS,
    PLANES_ORDERS,
    TYPES_BY_BYTES,
    FormatOrder,
    FormatType,
)
from hailod.models.hef.model import Direction, Nms, Quantisation, Shape, Stream, VStream

# HAILO_MAX_STREAM_NAME_SIZE counts the terminating zero.
MAX_NAME = 127
# Boxes have five values: four edges and the score.
BOX_VALUES = 5
# Zero points and scales of detections from the neural core: one pair for the boxes, one for the scores.
NMS_PAIRS = 2
# Where the chip itself cuts off what is padded, streams have to fit into this.
_MAX_PERIPH_BYTES = {4: 0x10000, 5: 0x2000}
# Frames go over the bus in words of this many bytes.
_WORD = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A boundary layer: what it is on the chip, for the host, and for operations that come after."""

    name: str
    direction: Direction
    streams: tuple[Stream, ...]
    vstreams: tuple[VStream, ...]
    pad_index: int | None


@dataclass(frozen=True, slots=True)
class LayerReader:
    """Reads the boundary layers of a core op; the extensions that the file uses say how."""

    group: str
    core_op: schema.CoreOp
    architecture: chips.Architecture
    extensions: frozenset[int]
    optional: frozenset[int]

    def layers(self) -> Iterator[Layer]:
        """The boundary layers in the order of the contexts."""
        for context in self.core_op.contexts:
            for edge in context.metadata.edge_layers:
                if edge.switch.connection == schema.BOUNDARY:
                    yield self._layer(edge)
                elif edge.switch.connection > schema.CACHE:
                    raise HefInvalid(f"a layer is connected in way {edge.switch.connection}, unknown", edge.offset)

    def _network(self, index: int, offset: int) -> str:
        """The full name of a network of the group."""
        if chips.MULTI_NETWORK not in self.optional:
            return f"{self.group}/{self.group}"
        names = self.core_op.network_names
        if index & 0xFF >= len(names):
            raise HefInvalid(
                f"a layer belongs to network {index}, and there are {len(names)}", offset, status=INVALID_ARGUMENT
            )
        return f"{self.group}/{names[index & 0xFF]}"

    def _layer(self, edge: schema.EdgeLayer) -> Layer:
        direction: Direction = "output" if edge.direction == schema.DEVICE_TO_HOST else "input"
        network = self._network(edge.network_index, edge.offset)
        if edge.kind == schema.INFO:
            stream = self._stream(edge.info, network, direction)
            return Layer(stream.name, direction, (stream,), (self._vstream(edge.info, stream),), edge.pad_index)
        if edge.kind == schema.MUX:
            stream = self._mux(edge.mux, network, direction)
            return Layer(stream.name, direction, (stream,), tuple(self._tensors(edge.mux, stream)), edge.pad_index)
        if edge.kind == schema.PLANES:
            return self._planes(edge.planes, network, direction, edge.pad_index)
        raise HefInvalid(f"a layer is of kind {edge.kind}, unknown", edge.offset, status=INTERNAL_FAILURE)

    def _stream(
        self, info: schema.LayerInfo, network: str, direction: Direction, *, within_mux: bool = False
    ) -> Stream:
        _check_name(info.name, info.offset)
        base = info.base
        order, kind = _format(base)
        if base.host_argmax:
            raise HefNotSupported("takes an argmax of old on the host; compile it again", info.offset)
        shape = _shape(base, order)
        turned = (info.transposed or self.core_op.metadata.transposed) and order is not FormatOrder.NC
        if turned:
            shape = (shape[1], shape[0], shape[2])
        cut = not within_mux and self._cuts_padding(base, order)
        padded = _shape_of(base) if cut else (base.padded_height, base.padded_width, base.padded_features)
        return Stream(
            name=info.name,
            network=network,
            direction=direction,
            index=base.sys_index,
            shape=shape,
            padded_shape=shape if order.is_nms else padded,
            order=order,
            type=kind,
            frame_bytes=self._nms_frame(base.additional_info.nms_info) if order.is_nms else _frame(padded, kind),
            quantisation=self._quantisation(info, order, shape, direction),
            transposed=turned,
        )

    def _mux(self, mux: schema.LayerMux, network: str, direction: Direction) -> Stream:
        _check_name(mux.name, mux.offset)
        order, kind = _format(mux.base)
        padded = (mux.base.padded_height, mux.base.padded_width, mux.base.padded_features)
        return Stream(
            name=mux.name,
            network=network,
            direction=direction,
            index=mux.base.sys_index,
            shape=_shape(mux.base, order),
            padded_shape=padded,
            order=order,
            type=kind,
            frame_bytes=_frame(padded, kind),
            quantisation=Quantisation((0.0,), (0.0,)),
            is_mux=True,
        )

    def _tensors(self, mux: schema.LayerMux, stream: Stream) -> Iterator[VStream]:
        """The tensors that a mux carries, which may be muxes themselves."""
        count = mux.mux_data.number_of_predecessors
        if count > len(mux.predecessors):
            raise HefInvalid(f"{mux.name!r} has {len(mux.predecessors)} tensors and says {count}", mux.offset)
        for edge in mux.predecessors[:count]:
            chosen = edge.chosen(schema.Edge.info, schema.Edge.mux)
            if chosen is schema.Edge.mux:
                yield from self._tensors(edge.mux, stream)
            elif chosen is schema.Edge.info:
                tensor = self._stream(edge.info, stream.network, stream.direction, within_mux=True)
                yield self._vstream(edge.info, tensor, streams=(stream.name,))
            else:
                raise HefInvalid(f"{mux.name!r} has a tensor of no kind", edge.offset, status=INTERNAL_FAILURE)

    def _planes(self, planes: schema.LayerPlanes, network: str, direction: Direction, pad_index: int | None) -> Layer:
        _check_name(planes.name, planes.offset)
        order = PLANES_ORDERS.get(planes.planes_format)
        if order is None:
            raise HefInvalid(f"{planes.name!r} has planes of format {planes.planes_format}, unknown", planes.offset)
        if not all(edge.has(schema.Edge.info) for edge in planes.planes) or not planes.planes:
            raise HefInvalid(f"{planes.name!r} has no planes", planes.offset, status=INTERNAL_FAILURE)
        streams = tuple(self._stream(edge.info, network, direction) for edge in planes.planes)
        if len({stream.type for stream in streams}) > 1:
            raise HefInvalid(f"the planes of {planes.name!r} are of several types", planes.offset)
        picture = VStream(
            name=planes.name,
            network=network,
            direction=direction,
            shape=(planes.height, planes.width, planes.features),
            order=order,
            type=streams[0].type,
            quantisation=Quantisation((0.0,), (0.0,)),
            streams=tuple(stream.name for stream in streams),
            original_names=tuple(name for edge in planes.planes for name in edge.info.original_names),
        )
        return Layer(planes.name, direction, streams, (picture,), pad_index)

    def _vstream(self, info: schema.LayerInfo, stream: Stream, *, streams: tuple[str, ...] | None = None) -> VStream:
        order = HOST_ORDERS.get(stream.order, stream.order)
        name, nms = stream.name, None
        if order.is_nms:
            own = info.base.additional_info.nms_info
            fused = self._fused(own, info.offset)
            name = fused.info.name if fused else name
            nms = _core_nms(fused.nms_info if fused else own)
        return VStream(
            name=name,
            network=stream.network,
            direction=stream.direction,
            shape=None if order.is_nms else stream.shape,
            order=order,
            type=FormatType.FLOAT32 if order.is_nms else stream.type,
            quantisation=stream.quantisation,
            transposed=stream.transposed,
            nms=nms,
            streams=streams or (stream.name,),
            original_names=info.original_names,
        )

    def _fused(self, own: schema.NmsInfo, offset: int) -> schema.FusedLayer | None:
        """The detections as a whole of which `own` are a part, where they are split."""
        if not (own.is_defused and self.core_op.fused_layers.has_fused_layers):
            return None
        wanted = own.defuse_info.original_name
        for layer in self.core_op.fused_layers.layers:
            if layer.info.name == wanted:
                _check_name(wanted, layer.offset)
                return layer
        raise HefInvalid(f"detections are a part of {wanted!r}, which is not there", offset)

    def _quantisation(
        self, info: schema.LayerInfo, order: FormatOrder, shape: Shape, direction: Direction
    ) -> Quantisation:
        given = info.numeric_info
        if chips.SCALE_PER_FEATURE not in self.extensions or not (given.scales or given.zero_points):
            return Quantisation((given.zero_point,), (given.scale,), given.minimum, given.maximum)
        pairs = NMS_PAIRS if order.is_nms else shape[2]
        if any(len(given_list) not in {0, pairs} for given_list in (given.zero_points, given.scales)):
            raise HefInvalid(
                f"{info.name!r} has {len(given.scales)} scales and {len(given.zero_points)} zero points"
                f" for {pairs} features",
                info.offset,
            )
        # Compilers of 5.x leave out a list of which all entries are equal.
        points = given.zero_points or (given.zero_point,) * pairs
        scales = given.scales or (given.scale,) * pairs
        if direction == "output":
            return Quantisation(points, scales, given.minimum, given.maximum, per_feature=True)
        if len(set(points)) > 1 or len(set(scales)) > 1:
            raise HefInvalid(f"the input {info.name!r} is quantised by feature, which inputs must not be", info.offset)
        return Quantisation((given.zero_point,), (given.scale,), given.minimum, given.maximum)

    def _cuts_padding(self, base: schema.LayerBase, order: FormatOrder) -> bool:
        """Whether the chip cuts the padding off, so that it never travels."""
        if chips.HW_PADDING in self.optional or order is not FormatOrder.NHCW:
            return False
        limit = _MAX_PERIPH_BYTES.get(self.architecture.hailort, 0)
        if base.max_shmifo_size:
            limit = min(limit, base.max_shmifo_size)
        row = base.width * base.features
        return base.core_buffers_per_frame == base.height and row % _WORD == 0 and row * base.data_bytes < limit

    def _nms_frame(self, nms: schema.NmsInfo) -> int:
        burst = nms.burst_size if chips.NMS_OUTPUT_BURST in self.extensions else 1
        per_class = _WORD + nms.bbox_size * max(burst, nms.max_output_size)
        return (nms.input_division_factor or 1) * nms.classes * per_class + nms.bbox_size * burst


def _check_name(name: str, offset: int) -> None:
    if len(name.encode()) > MAX_NAME:
        raise HefInvalid(f"a layer's name is longer than {MAX_NAME} bytes", offset, status=INTERNAL_FAILURE)


def _format(base: schema.LayerBase) -> tuple[FormatOrder, FormatType]:
    order = COMPILER_ORDERS.get(base.format)
    if order is None:
        raise HefInvalid(f"a layer has format {base.format}, unknown", base.offset, status=INTERNAL_FAILURE)
    kind = TYPES_BY_BYTES.get(base.data_bytes)
    if kind is None:
        raise HefInvalid(f"a layer has elements of {base.data_bytes} bytes", base.offset, status=INVALID_ARGUMENT)
    return order, kind


def _shape_of(base: schema.LayerBase) -> Shape:
    return (base.height, base.width, base.features)


def _shape(base: schema.LayerBase, order: FormatOrder) -> Shape:
    if not order.is_nms:
        return _shape_of(base)
    nms = base.additional_info.nms_info
    return (nms.classes, BOX_VALUES, nms.max_output_size * (nms.input_division_factor or 1))


def _frame(shape: Shape, kind: FormatType) -> int:
    height, width, features = shape
    return -(-height * width * features * kind.nbytes // _WORD) * _WORD


def _core_nms(info: schema.NmsInfo) -> Nms:
    # A description of old has no division factor, which means one.
    per_class = info.max_output_size * (info.input_division_factor or 1)
    return Nms("core", "unknown", info.classes, per_class, per_class * info.classes)
