"""A real RTSP server for tests, run by the system's Python: serves the H.264 of MP4s for ever, without re-encoding.

    /usr/bin/python3 rtsp_server.py FILE... [--port N] [--auth basic|digest --user U --password P]

Prints `port N` when it listens. Needs gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-{base,good,bad}.
"""

import argparse
import os
import signal

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

H264 = "video/x-h264,stream-format=byte-stream,alignment=au"


def access_units(path):
    """The file's access units as (bytes, is key frame, pts, dts), times in nanoseconds from the first dts."""
    pipeline = Gst.parse_launch(
        f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! {H264} ! appsink name=sink sync=false'
    )
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    units = []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        units.append((data, key, buffer.pts, buffer.dts))
    pipeline.set_state(Gst.State.NULL)
    first = min(dts for *_, dts in units)
    return [(data, key, pts - first, dts - first) for data, key, pts, dts in units]


def joined(parts):
    """The access units of several files in a row, as of one."""
    units, begin = [], 0
    for part in parts:
        units += [(data, key, pts + begin, dts + begin) for data, key, pts, dts in part]
        begin = units[-1][3] + (part[-1][3] - part[0][3]) // max(1, len(part) - 1)
    return units


class Loop:
    """Feeds one media's appsrc with the access units, again and again, with timestamps that go on."""

    def __init__(self, units):
        self.units = units
        gap = (units[-1][3] - units[0][3]) // max(1, len(units) - 1)
        self.length = units[-1][3] + gap
        self.count = 0

    def feed(self, source, _wanted):
        turn, index = divmod(self.count, len(self.units))
        data, key, pts, dts = self.units[index]
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts = pts + turn * self.length
        buffer.dts = dts + turn * self.length
        if not key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        self.count += 1
        source.emit("push-buffer", buffer)


def configure(_factory, media, units):
    source = media.get_element().get_by_name_recurse_up("source")
    source.connect("need-data", Loop(units).feed)


def require_login(server, factory, kind, user, password):
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if kind == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--auth", choices=["basic", "digest"])
    parser.add_argument("--user", default="user")
    parser.add_argument("--password", default="")
    options = parser.parse_args()

    Gst.init(None)
    units = joined([access_units(os.path.abspath(file)) for file in options.files])
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=source format=time block=true max-bytes=400000 caps={H264} ! h264parse"
        " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
    )
    factory.set_shared(True)
    factory.connect("media-configure", configure, units)
    if options.auth:
        require_login(server, factory, options.auth, options.user, options.password)
    server.get_mount_points().add_factory("/cam", factory)
    loop = GLib.MainLoop()
    if server.attach(None) == 0:
        raise SystemExit("the port is not free")
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    print(f"port {server.get_bound_port()}", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
