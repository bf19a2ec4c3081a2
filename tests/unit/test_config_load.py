"""Loading of settings: layers, origins, and messages that a newcomer can act on."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hailod.config.explain import PATTERNS, Grammar
from hailod.config.load import Layer, Loaded, load, migrate, secrets_in
from hailod.config.model import SCHEMA, Settings
from hailod.errors import ConfigError

DOZEN = """
[mqtt]
host = "127.0.0.1"
[device]
backend = "simulated"
[models.yolox_nano]
path = "yolox_nano.onnx"
[cameras.front]
source = "rtsp://user:geheim@127.0.0.1:8554/cam"
model = "yolox_nano"
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str, name: str = "hailod.toml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return tmp_path / "hailod.toml"

    return _write


def problems(file: Path | None, env: Mapping[str, str] | None = None, **others: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, env or {}, **others)
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


def credentials(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in files.items():
        directory.joinpath(name.replace("__", ".")).write_text(text)
    return directory


class TestLayers:
    def test_a_dozen_lines_are_a_configuration(self, write: Write) -> None:
        """The example of the manual loads; the rest are defaults."""
        loaded = load(write(DOZEN), {})
        assert loaded.settings.cameras["front"].threshold == 0.5
        assert loaded.settings.model_of("front") == "yolox_nano"
        assert loaded.config_dir == write(DOZEN).parent

    def test_each_layer_overrides_the_one_below(self, write: Write, tmp_path: Path) -> None:
        """Credentials beat the environment, which beats drop-ins in the order of their names, which beat the file."""
        file = write("[mqtt]\nhost = 'a'\nport = 1\nusername = 'a'\npassword = 'a'\nkeepalive = 10\n")
        write("[mqtt]\nport = 2\nusername = 'b'\npassword = 'b'\n", "conf.d/10-first.toml")
        write("[mqtt]\nusername = 'c'\npassword = 'c'\nkeepalive = 20\n", "conf.d/20-second.toml")
        write("[mqtt]\nhost = 'no'\n", "conf.d/README")
        env = {"HAILOD_MQTT__PASSWORD": "d", "HAILOD_MQTT__KEEPALIVE": "30", "PATH": "/bin"}
        loaded = load(file, env, credentials(tmp_path / "creds", mqtt__password="e\n"))
        mqtt = loaded.settings.mqtt
        assert (mqtt.host, mqtt.port, mqtt.username, mqtt.keepalive) == ("a", 2, "c", 30)
        assert mqtt.password is not None
        assert mqtt.password.get_secret_value() == "e"
        layers = {key: origin.layer for key, origin in loaded.provenance.items() if key.startswith("mqtt.")}
        assert layers["mqtt.host"] is Layer.FILE
        assert layers["mqtt.port"] is Layer.DROP_IN
        assert layers["mqtt.keepalive"] is Layer.ENVIRONMENT
        assert layers["mqtt.password"] is Layer.CREDENTIAL
        assert layers["mqtt.protocol"] is Layer.DEFAULT
        assert loaded.provenance["mqtt.username"].where.endswith("20-second.toml")

    def test_drop_in_adds_to_tables_of_the_file(self, write: Write) -> None:
        """A drop-in may set one key of a camera that the file defines."""
        file = write(DOZEN)
        write("[cameras.front]\nthreshold = 0.7\n", "conf.d/a.toml")
        camera = load(file, {}).settings.cameras["front"]
        assert (camera.threshold, camera.model) == (0.7, "yolox_nano")

    @pytest.mark.parametrize(
        ("variable", "text", "expected"),
        [
            ("HAILOD_CAMERAS__FRONT__THRESHOLD", "0.25", ("threshold", 0.25)),
            ("HAILOD_CAMERAS__FRONT__ENABLED", "false", ("enabled", False)),
            ("HAILOD_CAMERAS__FRONT__ENABLED", "off", ("enabled", False)),
            ("HAILOD_CAMERAS__FRONT__ROTATE", "90", ("rotate", 90)),
            ("HAILOD_CAMERAS__FRONT__CROP", "[0, 0, 0.5, 1]", ("crop", (0.0, 0.0, 0.5, 1.0))),
            ("HAILOD_CAMERAS__FRONT__LABELS", '["person"]', ("labels", ["person"])),
            ("HAILOD_CAMERAS__FRONT__MAX_FPS", "", ("max_fps", None)),
        ],
    )
    def test_environment_reaches_every_type(
        self, write: Write, variable: str, text: str, expected: tuple[str, object]
    ) -> None:
        """A variable sets a number, a switch or a list; an empty one sets nothing."""
        name, value = expected
        assert getattr(load(write(DOZEN), {variable: text}).settings.cameras["front"], name) == value

    def test_password_of_digits_stays_text(self, write: Write) -> None:
        """A password that looks like a number or a list is taken as it is."""
        for text in ("0123", "true", "[x]"):
            password = load(write(DOZEN), {"HAILOD_MQTT__PASSWORD": text}).settings.mqtt.password
            assert password is not None
            assert password.get_secret_value() == text

    def test_environment_finds_names_with_a_dash(self, write: Write) -> None:
        """A camera `front-door` is FRONT_DOOR in a variable, which cannot hold a dash."""
        file = write("[cameras.front-door]\nsource = 'synthetic:'\n")
        settings = load(file, {"HAILOD_CAMERAS__FRONT_DOOR__THRESHOLD": "0.9"}).settings
        assert settings.cameras.keys() == {"front-door"}
        assert settings.cameras["front-door"].threshold == 0.9

    def test_camera_source_as_credential(self, write: Write, tmp_path: Path) -> None:
        """A camera's URL may come from systemd alone; credentials of others are left alone."""
        file = write("[cameras.front]\nthreshold = 0.6\n")
        directory = credentials(tmp_path / "c", cameras__front__source="rtsp://u:p@h/x\n", other="1")
        loaded = load(file, {}, directory)
        assert loaded.settings.cameras["front"].source.get_secret_value() == "rtsp://u:p@h/x"
        assert loaded.provenance["cameras.front.source"].layer is Layer.CREDENTIAL

    def test_every_leaf_has_an_origin(self, write: Write) -> None:
        """The origin of every effective value is known, defaults included."""
        provenance = load(write(DOZEN), {}).provenance
        assert str(provenance["device.backend"]).startswith("file /")
        assert str(provenance["cameras.front.crop"]) == "default"
        assert str(provenance["schema"]) == "default"
        assert {"node", "device.simulated.arch", "models.yolox_nano.path"} <= provenance.keys()


class TestMessages:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[mqtt]\nport = 99999", "mqtt.port = 99999: must be a whole number from 1 to 65535"),
            ("[mqtt]\nhots = 'x'", "mqtt.hots: unknown key; did you mean host?"),
            ("treshold = 1", "treshold: unknown key; known here: cameras, device,"),
            ("threshold = 1", "threshold: unknown key; it belongs in [cameras.NAME]"),
            ("mqtt = 'x'", "mqtt: must be a table, written [mqtt]"),
            ("cameras = 3", "cameras: must be a table, written [cameras.NAME]"),
            ("log_level = 'loud'", 'log_level = "loud": must be one of "debug", "info", "warning", "error"'),
            ("node = 'A B'", 'node = "A B": must be 1 to 48 of the characters a-z, 0-9, _ and -'),
            ("node = 'client'", "node = \"client\": 'client' is reserved"),
            ("[mqtt.tls]\ninsecure = 3", "mqtt.tls.insecure = 3: must be true or false"),
            ("[cameras.'Front Door']\nsource = 'x'", 'cameras."Front Door": a name must be 1 to 48 of'),
            ("[cameras.a]\nenabled = true", "cameras.a.source: is missing; it must be text of 1 to 2048 characters"),
            ("[cameras.a]\nsource = 'x'\ncrop = [0, 1]", "cameras.a.crop = [0, 1]: must be a list of 4, each a number"),
            ("[cameras.a]\nsource = 'x'\ncrop = [1, 1, 0, 0]", "crop is [x1, y1, x2, y2] with x1 < x2"),
            ("[cameras.a]\nsource = 'x'\nmodel = 'y'", "cameras.a.model = \"y\": no model 'y' (known: none"),
            (
                "[cameras.a]\nsource = 'x'\nmax_fps = 0",
                "cameras.a.max_fps = 0: must be a number above 0 and at most 1000",
            ),
            ("[cameras.a]\nsource = 'x'\nfps = nan", "cameras.a.fps = NaN: must be a number above 0"),
            ("[cameras.a]\nsource = 'x'\nlabels = [1]", "cameras.a.labels = [1]: must be a list of which each is text"),
            ("[models.a]\npath = 'x'\nlabels = 5", "must be a list of which each is text or a path"),
            ("model = 'x'", "model = \"x\": no model 'x'"),
        ],
    )
    def test_says_file_key_value_and_what_is_allowed(self, write: Write, text: str, expected: str) -> None:
        """A wrong setting is refused with one line that says where it stands and what may stand there."""
        file = write(text)
        lines = problems(file)
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"{file}: ")
        assert expected in lines[0]

    def test_all_problems_at_once(self, write: Write) -> None:
        """Whoever has made five mistakes, in files and environment, is told of five."""
        file = write("foo = 1\n[mqtt]\nport = 0\n[cameras.a]\nsource = 'x'\nmodel = 'b'\n[cameras.c]\nthreshold = 9\n")
        write("[device]\nbackend = 'cuda'\n", "conf.d/x.toml")
        lines = problems(file, {"HAILOD_MQTT__KEEPALIVE": "soon", "HAILOD_MQTT__HOTS": "x"})
        keys = ("foo", "mqtt.port", "cameras.c.source", "cameras.c.threshold", "device.backend", "KEEPALIVE", "HOTS")
        assert [key for key in keys if not any(key in line for line in lines)] == []
        assert any("conf.d/x.toml: device.backend" in line for line in lines)
        assert any("HAILOD_MQTT__HOTS: no such setting; did you mean HAILOD_MQTT__HOST?" in line for line in lines)

    def test_unknown_models_are_told_for_each_camera(self, write: Write) -> None:
        """Two cameras with a wrong model are two lines."""
        assert len(problems(write("[cameras.a]\nsource='x'\nmodel='m'\n[cameras.b]\nsource='x'\nmodel='m'\n"))) == 2

    def test_variable_that_is_a_table(self, write: Write) -> None:
        """A variable that names a table, or nothing, is refused with an example of what would be right."""
        lines = problems(write(""), {"HAILOD_MQTT": "x", "HAILOD_CAMERAS": "y", "HAILOD_X": "z", "HAILOD_SCHEMA": "2"})
        assert lines[0].endswith("such as HAILOD_CAMERAS__NAME")
        assert lines[1].endswith("such as HAILOD_MQTT__HOST")
        assert ["no such setting" in line for line in lines[2:]] == [True, True]

    @pytest.mark.parametrize(
        "text",
        [
            "[mqtt]\npassword = ['geheim']",
            "[mqtt]\npasword = 'geheim'",
            "[mqtt]\nhost = 'mqtt://user:geheim@h'",
            "[mqtt]\nhost = 'user:geheim@h'",
            "[mqtt]\nhost = 'see mqtt://user:geheim@h'",
            "[cameras]\na = 'rtsp://u:geheim@h/'",
            "[cameras.a]\nsource = ['rtsp://u:geheim@h/']",
            "[cameras.a]\nsource = 'foo:geheim@h'",
            "[cameras.a]\nsource = 'foo://u:geheim@h'",
            "[cameras.a]\nsource = 'h/x?password=geheim'",
            "[cameras.a]\nsource = 'x'\nmodel = 'rtsp://u:geheim@h/'",
            "[cameras.a]\nsource = 'x'\nlabels = {a = 'rtsp://u:geheim@h/'}",
        ],
    )
    def test_no_secret_in_a_message(self, write: Write, text: str) -> None:
        """However a password was misplaced or mistyped, the message does not repeat it."""

        def refuse(source: str) -> None:
            if source != "x":
                raise ValueError(f"cannot open {source}")

        assert "geheim" not in "\n".join(problems(write(text), source_check=refuse))

    def test_source_is_checked(self, write: Write) -> None:
        """A source that nobody can open is refused with its redacted address."""

        def refuse(source: str) -> None:
            raise ValueError("unknown scheme; use rtsp, http or csi")

        (line,) = problems(write(DOZEN), source_check=refuse)
        assert line.endswith(
            'cameras.front.source = "rtsp://***@127.0.0.1:8554/cam": unknown scheme; use rtsp, http or csi'
        )

    def test_hostile_text_is_short_and_printable(self, write: Write) -> None:
        """Keys and values that would move the cursor or flood the screen are escaped and cut."""
        lines = problems(
            write('log_level = "\\u001b[31m\\n"\n"\\u001b\\n' + "x" * 500 + '" = 1\n[mqtt]\nhost = "' + "/" * 900 + '"')
        )
        assert len(lines) == 3
        assert all(line.isprintable() and len(line) < 400 for line in lines)

    def test_every_pattern_has_words(self) -> None:
        """Nobody is shown a regular expression."""

        def patterns(node: object) -> Iterator[str]:
            if isinstance(node, dict):
                if isinstance(node.get("pattern"), str):
                    yield node["pattern"]
                for value in node.values():
                    yield from patterns(value)
            elif isinstance(node, list):
                for value in node:
                    yield from patterns(value)

        found = set(patterns(Settings.model_json_schema()))
        assert found
        assert found <= PATTERNS.keys()

    def test_every_leaf_has_words(self, write: Write) -> None:
        """For every setting it can be said what is allowed."""
        grammar = Grammar(Settings)
        for key in load(write(DOZEN), {}).provenance:
            assert grammar.allowed(tuple(key.split("."))), key


class TestFiles:
    def test_missing_file(self, tmp_path: Path) -> None:
        """A missing file is an error and not an empty configuration."""
        (line,) = problems(tmp_path / "nowhere.toml")
        assert line == f"{tmp_path}/nowhere.toml: no such file; name another with --config"

    @pytest.mark.parametrize(
        ("text", "place"),
        [("a = \n", "line 1, column 5"), ("[mqtt]\nhost = 'x'\nhost = 'y'\n", "line 3"), ("[[", "line 1")],
    )
    def test_syntax_error_says_where(self, write: Write, text: str, place: str) -> None:
        """A slip of the pen is told with its line and column."""
        (line,) = problems(write(text))
        assert "not valid TOML at " in line
        assert place in line

    @pytest.mark.parametrize("text", ["x = " + "[" * 50_000, "x = " + "9" * 5_000, "x = 2026-99-99"])
    def test_hostile_toml_is_refused(self, write: Write, text: str) -> None:
        """Documents made to break the parser are refused like any other mistake."""
        assert len(problems(write(text))) == 1

    def test_too_large(self, write: Write) -> None:
        """A file of over a megabyte is not read to its end."""
        assert "larger than 1000000 bytes" in problems(write("#" * 1_000_001))[0]

    def test_no_text(self, tmp_path: Path) -> None:
        """A file that is no text is refused with the line."""
        file = tmp_path / "hailod.toml"
        file.write_bytes(b"# a\n\xff\xfe")
        assert "line 2 is not UTF-8" in problems(file)[0]

    def test_byte_order_mark_and_windows_lines(self, tmp_path: Path) -> None:
        """A file written by a Windows editor is read."""
        file = tmp_path / "hailod.toml"
        file.write_bytes("\ufefflog_level = 'debug'\r\n".encode())
        assert load(file, {}).settings.log_level == "debug"

    def test_neither_directory_nor_fifo(self, tmp_path: Path) -> None:
        """What is no regular file is refused at once, a FIFO too."""
        os.mkfifo(tmp_path / "fifo.toml")
        assert "is not a regular file" in problems(tmp_path)[0]
        assert "is not a regular file" in problems(tmp_path / "fifo.toml")[0]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_unreadable(self, write: Write) -> None:
        """A file without permission says which user may not read it."""
        file = write("")
        file.chmod(0)
        assert "may not read it" in problems(file)[0]

    def test_broken_drop_in_is_named(self, write: Write) -> None:
        """Each broken file is named, all at once."""
        file = write("a = ")
        write("b = ", "conf.d/b.toml")
        assert [line.split(":")[0] for line in problems(file)] == [str(file), str(file.parent / "conf.d" / "b.toml")]

    def test_too_many_drop_ins(self, write: Write) -> None:
        """A directory full of drop-ins is a mistake."""
        file = write("")
        for number in range(101):
            write("", f"conf.d/{number}.toml")
        assert "101 files; at most 100" in problems(file)[0]

    def test_credential_that_is_no_secret(self, write: Write, tmp_path: Path) -> None:
        """A mistyped credential is refused with the names that are known."""
        (line,) = problems(write(""), credentials_dir=credentials(tmp_path / "c", mqtt__pasword="x"))
        assert line.endswith("no such credential; known: mqtt.password, cameras.NAME.source")

    def test_missing_credentials_directory(self, write: Write, tmp_path: Path) -> None:
        """A directory of credentials that does not exist is told."""
        assert "credentials cannot be listed" in problems(write(""), credentials_dir=tmp_path / "none")[0]


class TestSchema:
    def test_later_schema(self, write: Write) -> None:
        """A file of a later hailod is refused with what to do."""
        (line,) = problems(write(f"schema = {SCHEMA + 1}\nnew_setting = 1"))
        assert "from a later hailod" in line
        assert "upgrade hailod" in line

    @pytest.mark.parametrize("value", ["'1'", "0", "true", "1.0"])
    def test_schema_that_is_no_number(self, write: Write, value: str) -> None:
        """A schema is a whole number."""
        assert "schema: must be a whole number" in problems(write(f"schema = {value}"))[0]

    def test_older_schema_is_migrated_with_a_note(self) -> None:
        """A file of an earlier hailod is understood by way of every version between, and the user is told."""

        def rename(document: dict[str, Any]) -> dict[str, Any]:
            document["mqtt"]["host"] = document["mqtt"].pop("broker")
            return document

        original = {"schema": 1, "mqtt": {"broker": "x"}}
        document, note = migrate(original, "f.toml", schema=3, migrations={1: rename, 2: lambda d: d | {"new": 1}})
        assert document == {"schema": 3, "mqtt": {"host": "x"}, "new": 1}
        assert original == {"schema": 1, "mqtt": {"broker": "x"}}
        assert note is not None
        assert note.startswith("f.toml has schema 1 and was read as schema 3")

    def test_drop_ins_are_of_the_files_schema(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        """A drop-in that does not say its schema has that of the file beside it, and is migrated like it."""

        def rename(document: dict[str, Any]) -> dict[str, Any]:
            return {("log_level" if key == "verbosity" else key): value for key, value in document.items()}

        monkeypatch.setattr("hailod.config.load.migrate", functools.partial(migrate, schema=2, migrations={1: rename}))
        file = write("schema = 1\nverbosity = 'info'\n")
        write("verbosity = 'debug'\n", "conf.d/old.toml")
        write("schema = 2\nnode = 'new'\n", "conf.d/new.toml")
        loaded = load(file, {})
        assert (loaded.settings.log_level, loaded.settings.node) == ("debug", "new")
        assert [note.split()[0].rpartition("/")[2] for note in loaded.notes] == ["hailod.toml", "old.toml"]

    def test_schema_that_cannot_be_migrated(self) -> None:
        """A file too old to be understood is refused with what to do."""
        with pytest.raises(ConfigError, match="too old for this hailod, which reads schema 2 to 2"):
            migrate({}, "f.toml", schema=2, migrations={})

    def test_current_schema_needs_no_note(self) -> None:
        """A file of this version is taken as it is."""
        assert migrate({"schema": SCHEMA}, "f.toml") == ({"schema": SCHEMA}, None)


def test_secrets_are_listed_for_the_log_filter(write: Write) -> None:
    """What must never be logged can be asked of the settings."""
    assert {"geheim", "brokerpw"} <= secrets_in(load(write(DOZEN), {"HAILOD_MQTT__PASSWORD": "brokerpw"}).settings)


def test_loaded_hides_its_secrets(write: Write) -> None:
    """Printing what was loaded shows no secret."""
    loaded: Loaded = load(write(DOZEN), {"HAILOD_MQTT__PASSWORD": "brokerpw"})
    assert "geheim" not in repr(loaded)
    assert "brokerpw" not in repr(loaded)
