"""Reading a HEF: the file is verified, its description parsed, and what the host can know of it put together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hailod.models.hef import chips, schema
from hailod.models.hef.container import Envelope, read_envelope
from hailod.models.hef.errors import HefInvalid, HefNotSupported
from hailod.models.hef.groups import Features, core_ops, network_group
from hailod.models.hef.model import Hef, NetworkGroup, Resource
from hailod.models.hef.wire import Budget, Span

# HAILO_MAX_NETWORK_GROUPS
MAX_GROUPS = 8


def read_hef(source: str | os.PathLike[str] | bytes) -> Hef:
    """What a HEF says of itself, from a file or from its bytes, once its hash is found right.

    Raises HefError with HailoRT's status: 13 for a file that is missing, 14 for one that is none or ends within its
    header, 91 for damage, 92 for what is no HEF or of a kind that HailoRT does not take, and 26 (rarely 2 or 8) for
    contradictions. Time is linear in the size of the file; memory is about twice the size of the description, and
    besides it what `wire.Budget` allows.
    """
    envelope = read_envelope(source)
    whole = Span(envelope.description, 0, len(envelope.description), envelope.offset, Budget())
    return _assemble(envelope, schema.Description(whole), None if isinstance(source, bytes) else os.fspath(source))


def _assemble(envelope: Envelope, description: schema.Description, path: str | None) -> Hef:
    header = description.header
    features = Features(
        architecture=chips.architecture_of(header.hw_arch),
        extensions=_extensions(description),
        optional=frozenset(each.type_index for each in description.optional_extensions),
    )
    messages = description.network_groups
    if not 1 <= len(messages) <= MAX_GROUPS:
        raise HefInvalid(f"there are {len(messages)} network groups in it; 1 to {MAX_GROUPS} may be")
    groups = tuple(network_group(message, features) for message in messages)
    if len({group.name for group in groups}) < len(groups):
        raise HefInvalid("two network groups have the same name")
    sizes = envelope.sizes
    if envelope.version == 0:
        # The configuration lies in pieces within the description.
        sizes = replace(sizes, configuration=sum(_written(core_ops(message, features)[1]) for message in messages))
    compiler = _compiler(header)
    return Hef(
        path=path,
        format_version=envelope.version,
        signature=envelope.signature,
        sizes=sizes,
        architecture=features.architecture,
        compiler=compiler,
        compiled_at=header.timestamp,
        hailort=chips.oldest_hailort(envelope.version, compiler, features.extensions, features.architecture),
        extensions=tuple(sorted(features.extensions)),
        groups=groups,
        resources=tuple(Resource(each.name, each.size) for each in description.external_resources),
        warnings=(*chips.remarks(features.architecture, compiler, features.extensions), *_remarks(groups)),
    )


def _compiler(header: schema.Header) -> str:
    """The compiler's version. Some write more than that into the text, and later ones write the numbers as well."""
    if header.has(schema.Header.sdk_version):
        version = header.sdk_version
        return f"{version.major}.{version.minor}.{version.revision}"
    return ".".join(str(part) for part in chips.version_of(header.sdk_version_text)) or header.sdk_version_text


def _extensions(description: schema.Description) -> frozenset[int]:
    """What the file uses; HefNotSupported where no HailoRT knows it, or none takes such old files any more."""
    # Descriptions of version 0 have no extensions, and so lack the one that has been required for long.
    used = description.extensions if description.header.version > 0 else ()
    if unknown := [each.name or str(each.type_index) for each in used if each.type_index not in chips.EXTENSIONS]:
        raise HefNotSupported(f"it uses what HailoRT up to 5.2 does not know: {', '.join(unknown[:8])}")
    indices = frozenset(each.type_index for each in used)
    if chips.PERIPH_IN_HAILORT not in indices:
        raise HefNotSupported("it is too old for any HailoRT that is in use; compile it again")
    return indices


def _written(core_op: schema.CoreOp) -> int:
    """How many bytes a core op of a file of version 0 writes to the chip."""
    operations = [*core_op.preliminary_config.operations]
    for context in core_op.written:
        operations += context.operations
    return sum(action.write_data_ccw.data_bytes for operation in operations for action in operation.actions)


def _remarks(groups: Iterable[NetworkGroup]) -> Iterator[str]:
    for group in groups:
        on_core = any(vstream.nms is not None and vstream.nms.where == "core" for vstream in group.output_vstreams)
        if group.multi_context and on_core:
            yield (
                f"{group.name} has NMS on the neural core and {group.contexts} contexts: what the device reports is"
                " undefined; compile it with NMS on the host (engine=cpu)"
            )
