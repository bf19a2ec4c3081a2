"""What was set over MQTT, on disk: whole or not at all, believed in nothing, and never a reason not to start."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hailod.checks import Status
from hailod.cli.check import check_config
from hailod.cli.config import describe
from hailod.config.diff import leaves
from hailod.config.explain import Grammar
from hailod.config.load import Layer, Loaded, load, with_overrides
from hailod.config.model import Reach, Settings
from hailod.config.store import BROKEN, FILE, MAX_BYTES, MAX_SET, Edit, Overrides, Store, StoreError, may_be_set

FILES = """
model = "one"
[mqtt]
password = "geheim"
[models.one]
path = "one.hef"
[models.two]
path = "two.hef"
[cameras.front]
source = "rtsp://user:geheim@h/x"
threshold = 0.4
[cameras.back]
source = "synthetic:"
"""
SET = {"cameras.front.threshold": 0.6, "cameras.front.enabled": False, "model": "two"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def files(tmp_path: Path) -> Loaded:
    file = tmp_path / "hailod.toml"
    file.write_text(FILES)
    return load(file, {"HAILOD_CAMERAS__BACK__MAX_FPS": "5"})


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB that is nearly full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def written(store: Store, text: str | bytes) -> None:
    store.path.write_bytes(text if isinstance(text, bytes) else text.encode())


def document(values: object, **changes: object) -> str:
    return json.dumps({"v": 1, "revision": 7, "set": values, **changes})


def refusals(files: Loaded, store: Store) -> list[str]:
    """What is left out; that the rest of the settings is as without it is seen to here."""
    loaded = with_overrides(files, store)
    assert loaded.settings == files.settings
    assert loaded.overrides.values == {}
    return list(loaded.discarded)


class TestLayer:
    def test_what_was_set_is_there_again(self, store: Store, files: Loaded) -> None:
        """What is written comes back over all other layers, with its origin, and everything else stays as it was."""
        store.write(Overrides(7, {**SET, "cameras.back.max_fps": 3.5}))
        loaded = with_overrides(files, store)
        front, back = loaded.settings.cameras["front"], loaded.settings.cameras["back"]
        assert (front.threshold, front.enabled, back.max_fps, loaded.settings.model) == (0.6, False, 3.5, "two")
        assert loaded.settings.mqtt == files.settings.mqtt
        assert front.source == files.settings.cameras["front"].source
        assert loaded.overrides == Overrides(7, {**SET, "cameras.back.max_fps": 3.5})
        assert loaded.discarded == ()
        assert loaded.provenance["cameras.front.threshold"].layer is Layer.OVERRIDE
        assert loaded.provenance["cameras.front.threshold"].where == str(store.path)
        assert loaded.provenance["cameras.back.threshold"].layer is Layer.DEFAULT

    def test_origin_is_shown(self, store: Store, files: Loaded) -> None:
        """`hailod config show` says which values come from the file of what was set over MQTT."""
        store.write(Overrides(7, SET))
        (line,) = [line for line in describe(with_overrides(files, store)) if "front.threshold" in line]
        assert line.split("  # ") == [line.split("  # ")[0], f"set over MQTT, {store.path}"]
        assert line.startswith("cameras.front.threshold = 0.6 ")

    def test_what_is_left_out_is_shown(self, store: Store, files: Loaded) -> None:
        """`hailod config show` and `hailod check` say what does not fit any more."""
        store.write(Overrides(7, {"cameras.gone.threshold": 0.5, "cameras.lost.threshold": 0.5}))
        loaded = with_overrides(files, store)
        *_, gone, _lost = describe(loaded)
        assert gone == f"# left out: {store.path}: cameras.gone.threshold: there is no camera 'gone' any more"
        result = check_config(loaded)
        assert (result.status, result.text.endswith("(and 1 more)")) == (Status.WARN, True)

    def test_without_a_file_nothing_changes(self, store: Store, files: Loaded) -> None:
        """A first start, with or without the folder, begins at revision 1 and is no trouble."""
        for folder in (store, Store(store.directory / "none"), Store(Path("/dev/null/none"))):
            loaded = with_overrides(files, folder)
            assert (loaded.settings, loaded.overrides, loaded.discarded) == (files.settings, Overrides(), ())

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("cameras.front.threshold", 7, "cameras.front.threshold = 7: must be a number from 0.05 to 0.95"),
            ("cameras.front.threshold", {"a": 1}, "cameras.front.threshold"),
            ("cameras.front.max_fps", float("nan"), "must be a number above 0"),
            ("cameras.front.enabled", "perhaps", 'cameras.front.enabled = "perhaps": must be true or false'),
            ("cameras.gone.threshold", 0.5, "cameras.gone.threshold: there is no camera 'gone' any more"),
            ("models.gone.max_same_source_frames", 2, "there is no model 'gone' any more"),
            ("model", "gone", "model = \"gone\": no model 'gone' (known: one, two)"),
            ("cameras.front.model", "gone", "cameras.front.model = \"gone\": no model 'gone' (known: one, two)"),
            ("cameras.front.treshold", 0.5, "no such setting"),
            ("cameras.front", {}, "no such setting"),
            ("cameras", {}, "no such setting"),
            ("", 1, "no such setting"),
            ("\u001b[31m." * 20, 1, "no such setting"),
            ("x" * 5000, 1, "no such setting"),
            ("cameras.front.source", "rtsp://evil/x", "cameras.front.source: is not set over MQTT"),
            ("models.one.path", "evil.hef", "is not set over MQTT"),
            ("models.one.labels", "/etc/shadow", "is not set over MQTT"),
            ("mqtt.discovery", "off", "is not set over MQTT"),
            ("mqtt.host", "evil", "is not set over MQTT"),
            ("mqtt.password", "geheim", "mqtt.password: is not set over MQTT"),
            ("device.backend", "simulated", "is not set over MQTT"),
            ("state_dir", "/tmp", "is not set over MQTT"),
            ("schema", 2, "is not set over MQTT"),
        ],
    )
    def test_leaf_that_does_not_fit_is_left_out_alone(
        self, store: Store, files: Loaded, key: str, value: object, words: str
    ) -> None:
        """One value that is out of range, of a camera that is gone or not to be set here is told in one printable line
        with the file, and the others are in effect."""
        written(store, document({"cameras.front.threshold": 0.7, key: value, "cameras.back.enabled": False}))
        loaded = with_overrides(files, store)
        kept = {"cameras.front.threshold": 0.7, "cameras.back.enabled": False}
        kept.pop(key, None)
        assert loaded.overrides == Overrides(7, kept)
        assert loaded.settings.cameras["back"].enabled is False
        (line,) = loaded.discarded
        assert line.startswith(f"{store.path}: ")
        assert words in line
        assert line.isprintable()
        assert len(line) < 400
        assert "geheim" not in line

    def test_what_may_be_set_restarts_at_most_its_own_camera_or_model(self) -> None:
        """No secret, no file, nothing of the broker, of the device's identity or of the process may be set."""
        grammar = Grammar(Settings)
        for path, reach in leaves(Settings).items():
            own = {"cameras": Reach.CAMERA, "models": Reach.MODEL}.get(path[0], Reach.LIVE)
            named = tuple("front" if key == "*" else key for key in path)
            allowed = may_be_set(named)
            if allowed:
                assert reach in (Reach.LIVE, own), path
                assert not grammar.is_secret(path)
                assert path[0] not in ("mqtt", "node", "state_dir", "schema")
                assert path[-1] not in ("path", "source", "id", "backend", "ca", "cert", "key")
            elif path[0] in ("device", "pipeline", "cameras"):
                assert reach not in (Reach.LIVE, own) or grammar.is_secret(path), path
        for key in ("enabled", "threshold", "max_fps", "model", "rotate", "crop", "max_lag", "frozen_after"):
            assert may_be_set(("cameras", "front", key))
        for key in ("batch_size", "max_delay_ms", "decoder", "labels"):
            assert may_be_set(("models", "one", key))
        assert may_be_set(("model",))


PORCH = {"source": "rtsp://user:geheim@h/porch", "threshold": 0.6}


def admit(path: tuple[str, ...], table: object) -> None:
    """Takes everything but one name."""
    if path[1] == "evil":
        raise ValueError("no such source")


class TestAddedTables:
    def test_what_was_added_and_removed_is_so_again(self, store: Store, files: Loaded) -> None:
        """A camera and a model that were added are there with what was set of them later, and no other."""
        tables = {"cameras.porch": PORCH, "models.three": {"path": "/m/three.hef"}, "cameras.back": None}
        kept = Overrides(7, {"cameras.porch.max_fps": 4.0, "cameras.porch.model": "three"}, tables)
        store.write(kept)
        loaded = with_overrides(files, store, admit)
        porch = loaded.settings.cameras["porch"]
        assert sorted(loaded.settings.cameras) == ["front", "porch"]
        assert porch.source.get_secret_value() == PORCH["source"]
        assert (porch.threshold, porch.max_fps, porch.model) == (0.6, 4.0, "three")
        assert loaded.settings.models["three"].path == Path("/m/three.hef")
        assert (loaded.overrides, loaded.discarded, loaded.files) == (kept, (), files.settings)
        assert loaded.provenance["cameras.porch.source"].layer is Layer.OVERRIDE
        assert "cameras.back.source" not in loaded.provenance
        shown = "\n".join(describe(loaded))
        assert 'cameras.porch.source = "rtsp://***@h/porch"' in shown
        assert "geheim" not in shown
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        ("key", "table", "words"),
        [
            ("cameras.front", PORCH, "has a camera of this name by now"),
            ("models.one", {"path": "x.hef"}, "has a model of this name by now"),
            ("cameras.evil", PORCH, "no such source"),
            ("cameras.porch", {}, "cameras.porch.source: is missing"),
            ("cameras.porch", {**PORCH, "threshold": 7}, "must be a number from 0.05 to 0.95"),
            ("cameras.porch", {**PORCH, "colour": 7}, "colour is not set over MQTT"),
            ("cameras.PORCH", PORCH, "a name must be"),
            ("models.three", {"path": "x.hef", "labels": "/etc/shadow"}, "labels is not set over MQTT"),
            ("cameras.gone", None, "there is no camera 'gone' any more"),
            ("models.one", None, "no model 'one'"),
            ("mqtt", {"host": "evil"}, "no such table"),
            ("mqtt.tls", {"insecure": True}, "no such table"),
            ("cameras.a.b", PORCH, "no such table"),
            ("x" * 5000, PORCH, "no such table"),
        ],
    )
    def test_table_that_does_not_fit_is_left_out_alone(
        self, store: Store, files: Loaded, key: str, table: object, words: str
    ) -> None:
        """A table that may not be, or fits no more, is told in one printable line without a credential; the others are
        in effect."""
        written(store, document({"cameras.back.enabled": False}, tables={key: table, "cameras.yard": PORCH}))
        loaded = with_overrides(files, store, admit)
        (line,) = loaded.discarded
        assert words in line
        assert line.isprintable()
        assert "geheim" not in line
        assert sorted(loaded.settings.cameras) == ["back", "front", "yard"]
        assert loaded.settings.cameras["back"].enabled is False

    def test_nothing_is_added_where_nobody_looks_at_it(self, store: Store, files: Loaded) -> None:
        """Who reads the file without a judge of sources and paths gets no camera from it."""
        store.write(Overrides(7, {}, {"cameras.porch": PORCH}))
        assert with_overrides(files, store).settings == files.settings

    def test_edit_forgets_before_it_sets(self) -> None:
        """What lies at or below a path is forgotten, then the new values are kept."""
        kept = Overrides(1, {"model": "one", "cameras.a.fps": 1, "cameras.ab.fps": 2}, {"cameras.a": PORCH})
        edited = kept.changed(Edit({"cameras.a.fps": 3}, ("cameras.a",)), 2)
        assert edited == Overrides(2, {"model": "one", "cameras.ab.fps": 2, "cameras.a.fps": 3})
        assert kept.changed(Edit(forget=("",)), 2) == Overrides(2)


class TestHostileFile:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ('{"v":1,"revision":7,"set":{"model":"two"', "is not JSON"),
            (b"\xff\xfe", "is not UTF-8"),
            ("\0" * 100, "is not JSON"),
            ("[" * 100_000, "nested too deeply"),
            ('{"v":1,"revision":1,"set":{"a":' + "9" * 6000 + "}}", "is not JSON that can be used"),
            ('{"v":1,"v":1,"revision":1,"set":{}}', "is not JSON that can be used"),
            ("[]", "is not a file of hailod's settings"),
            ("{}", "is not a file of hailod's settings"),
            ('{"v":true,"revision":1,"set":{}}', "is not a file of hailod's settings"),
            ('{"v":2,"revision":1,"set":{}}', "from a later hailod"),
            ('{"v":1,"revision":0,"set":{}}', "has no revision"),
            ('{"v":1,"revision":1e3,"set":{}}', "has no revision"),
            ('{"v":1,"revision":99999999999999999999,"set":{}}', "has no revision"),
            ('{"v":1,"revision":1,"set":[]}', "has no table"),
            (document({str(number): 1 for number in range(MAX_SET + 1)}), "more than 1024"),
            (" " * (MAX_BYTES + 1), "larger than"),
        ],
    )
    def test_file_that_cannot_be_used_is_told_and_put_aside(
        self, store: Store, files: Loaded, text: str | bytes, words: str
    ) -> None:
        """Whatever is in the file, the settings of the other layers are in effect; it is kept, once, for a look."""
        written(store, text)
        (line,) = refusals(files, store)
        assert line.startswith(str(store.path))
        assert words in line
        assert with_overrides(files, store).unusable
        store.directory.joinpath(BROKEN).write_text("an earlier one")
        store.prepare(put_aside=True)
        assert os.listdir(store.directory) == [BROKEN]
        assert store.directory.joinpath(BROKEN).read_bytes() == (text.encode() if isinstance(text, str) else text)

    @pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
    def test_only_a_regular_file_of_this_folder_is_read(
        self, store: Store, files: Loaded, tmp_path: Path, kind: str
    ) -> None:
        """A link is not followed, a FIFO not waited for; both make room for the file of the next change."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text(document({"model": "two"}))
        if kind == "link":
            store.path.symlink_to(elsewhere)
        elif kind == "fifo":
            os.mkfifo(store.path)
        else:
            store.path.mkdir()
        assert len(refusals(files, store)) == 1
        store.prepare(put_aside=True)
        store.write(Overrides(8, {"model": "two"}))
        assert with_overrides(files, store).overrides.revision == 8
        assert elsewhere.read_text() == document({"model": "two"})


class TestWriting:
    def test_file_is_for_its_owner_alone(self, store: Store) -> None:
        """The folder is not for everybody, the file for nobody else, and nothing but the file is left by a write."""
        store.write(Overrides(2, SET))
        store.write(Overrides(3, SET))
        assert stat.S_IMODE(store.directory.stat().st_mode) == 0o750
        assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
        assert os.listdir(store.directory) == [FILE]
        assert json.loads(store.path.read_text()) == {"v": 1, "revision": 3, "set": SET}

    def test_leftovers_of_a_killed_writer_go_at_the_start(self, store: Store) -> None:
        """Half-written files are removed, others are left alone; a folder in their place stops nothing."""
        for name in (f".{FILE}.17-1", f".{FILE}.17-2", "components.json"):
            store.directory.joinpath(name).write_text("half")
        store.directory.joinpath(f".{FILE}.17-3").mkdir()
        store.prepare()
        assert sorted(os.listdir(store.directory)) == [f".{FILE}.17-3", "components.json"]

    def test_link_in_the_place_of_the_file_is_replaced(self, store: Store, tmp_path: Path) -> None:
        """A write replaces a link and leaves alone what it points to."""
        target = tmp_path / "target"
        target.write_text("mine")
        store.path.symlink_to(target)
        store.write(Overrides(2, SET))
        assert target.read_text() == "mine"
        assert not store.path.is_symlink()

    def test_full_disk_leaves_the_file_as_it_was(self, full_disk: Path) -> None:
        """When the disk is full the change is refused with the remedy, the old file stands whole, and nothing else is
        left; when there is room again it is written."""
        store = Store(full_disk / "state")
        store.prepare()
        store.write(Overrides(2, SET))
        before = store.path.read_bytes()
        hog = full_disk / "hog"
        with pytest.raises(OSError, match="No space left"):
            hog.write_bytes(b"x" * 131_072)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            store.write(Overrides(3, SET))
        assert "make room" in caught.value.fix
        assert store.path.read_bytes() == before
        assert os.listdir(store.directory) == [FILE]
        hog.unlink()
        store.write(Overrides(3, SET))
        assert store.read().overrides.revision == 3

    def test_read_only_disk_is_told_at_the_start(self, full_disk: Path) -> None:
        """A folder that cannot be written to is told before anything is lost by it, and so is each change."""
        store = Store(full_disk)
        subprocess.run(["mount", "-o", "remount,ro", full_disk], check=True)
        for attempt in (store.prepare, lambda: store.write(Overrides(2, SET)), Store(full_disk / "none").prepare):
            with pytest.raises(StoreError, match="Read-only file system") as caught:
                attempt()
            assert "writable" in caught.value.fix

    def test_limit_on_the_size_of_files_is_told(self, store: Store) -> None:
        """A limit that stops a write half way leaves the old file whole."""
        store.write(Overrides(2, SET))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            with pytest.raises(StoreError, match="File too large"):
                store.write(Overrides(3, SET))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert store.read().overrides == Overrides(2, SET)
        assert os.listdir(store.directory) == [FILE]

    @pytest.mark.parametrize(
        ("directory", "words", "fix"),
        [("none/state", "No such file", "create"), ("file", "Not a directory", "is a folder")],
    )
    def test_folder_that_cannot_be_had_is_told(self, tmp_path: Path, directory: str, words: str, fix: str) -> None:
        """A folder is made where its parent is there, and told of with the remedy where not."""
        tmp_path.joinpath("file").write_text("")
        with pytest.raises(StoreError, match=words) as caught:
            Store(tmp_path / directory).prepare()
        assert fix in caught.value.fix

    @pytest.mark.parametrize("values", [{str(number): 1 for number in range(MAX_SET + 1)}, {"a": "x" * MAX_BYTES}])
    def test_nothing_is_written_that_would_not_be_read(self, store: Store, values: dict[str, object]) -> None:
        """A document that outgrows what is read again is refused before it takes the place of one that is."""
        with pytest.raises(StoreError, match="more than"):
            store.write(Overrides(2, values))
        assert os.listdir(store.directory) == []

    def test_sync_that_fails_is_a_write_that_failed(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the disk did not confirm is not called written, and leaves nothing behind."""

        def fail(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        store.write(Overrides(2, SET))
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            store.write(Overrides(3, SET))
        assert store.read().overrides.revision == 2
        assert os.listdir(store.directory) == [FILE]
