"""Downloads of model files, from a real server that lies, stalls and redirects."""

from __future__ import annotations

import errno
import hashlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hailod.clock import FakeClock
from hailod.models import fetch as module
from hailod.models.fetch import FetchError, fetch
from tests.support.certificates import Authority

MODEL = bytes(range(256)) * 1024
HASH = hashlib.sha256(MODEL).hexdigest()

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the script of the server."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        try:
            self.server.answer(self)  # type: ignore[attr-defined]
        except (OSError, ValueError):
            # The client has had enough.
            self.close_connection = True

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A web server on a free port of this machine; `over` is set when the test ends."""

    block_on_close = True
    daemon_threads = False

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="web server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join(10)
        self.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def url(self, path: str = "/zoo/yolov8s.hef") -> str:
        return f"http://{self.host}{path}"

    def handle_error(self, *_: object) -> None:
        pass


def whole(handler: Handler) -> None:
    handler.head(Content_Length=len(MODEL))
    handler.wfile.write(MODEL)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def get(server: Server, directory: Path, sha256: str = HASH, url: str | None = None, **options: object) -> Path:
    given: dict[str, object] = {"allowed_hosts": [server.host], "plain_loopback": True} | options
    return fetch(url or server.url(), sha256, directory, **given)  # type: ignore[arg-type]


def refusal(server: Server, directory: Path, *args: str, **options: object) -> FetchError:
    """What the download fails with; nothing is left of it."""
    before = set(directory.iterdir()) if directory.is_dir() else set()
    with pytest.raises(FetchError) as caught:
        get(server, directory, *args, **options)
    assert set(directory.iterdir() if directory.is_dir() else ()) == before
    return caught.value


def test_right_file_is_added(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A file of the right hash lies in the folder, which is made, and progress was told; a second time it is there."""
    server = serve(whole)
    told: list[tuple[int, int | None]] = []
    path = get(server, tmp_path / "models", HASH.upper(), progress=lambda *state: told.append(state))
    assert path == tmp_path / "models" / "yolov8s.hef"
    assert path.read_bytes() == MODEL
    assert path.stat().st_mode & 0o777 == 0o640
    assert told[-1] == (len(MODEL), len(MODEL))
    assert get(server, tmp_path / "models") == path
    assert len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["yolov8s.hef"]


def test_chunked_file(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A file whose length the server does not say is taken too."""

    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.head(Transfer_Encoding="chunked")
        for at in range(0, len(MODEL), 50_000):
            part = MODEL[at : at + 50_000]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    assert get(serve(answer), tmp_path, name="own-name.hef") == tmp_path / "own-name.hef"


def test_other_file_of_the_name_is_never_replaced(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A file that has the name already and another content stays, and so does what a link of that name points to."""
    (tmp_path / "yolov8s.hef").write_bytes(b"mine")
    server = serve(whole)
    assert refusal(server, tmp_path).code == "busy"
    assert (tmp_path / "yolov8s.hef").read_bytes() == b"mine"
    (tmp_path / "linked.hef").symlink_to(tmp_path / "elsewhere")
    assert refusal(server, tmp_path, name="linked.hef").code == "busy"
    assert not (tmp_path / "elsewhere").exists()
    assert server.asked == []


def test_wrong_hash(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A file of another hash never takes its place."""
    error = refusal(serve(whole), tmp_path, hashlib.sha256(b"other").hexdigest())
    assert (error.code, error.retryable) == ("model_incompatible", False)
    assert "sha256" in str(error)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://other.example/a.hef", "forbidden"),
        ("https://models.example:8443/a.hef", "forbidden"),
        ("https://models.example.evil.example/a.hef", "forbidden"),
        ("http://models.example/a.hef", "bad_args"),
        ("ftp://models.example/a.hef", "bad_args"),
        ("file:///etc/passwd", "bad_args"),
        ("https://user:geheim@models.example/a.hef", "bad_args"),
        ("https://geheim@models.example/a.hef", "bad_args"),
        ("https://models.example/a.exe", "bad_args"),
        ("https://models.example/%2e%2e%2fetc.hef", "bad_args"),
        ("https://models.example/.hidden.hef", "bad_args"),
        ("https://models.example/", "bad_args"),
        ("https://models.example:99999/a.hef", "bad_args"),
        ("https://[::1/a.hef", "bad_args"),
        ("https://models.example/a b.hef", "bad_args"),
        ("https://models.example/a.hef\r\nHost: x", "bad_args"),
        ("https://models.examplé/a.hef", "bad_args"),
        ("https://models.example/" + "a" * 3000 + ".hef", "bad_args"),
        ("", "bad_args"),
    ],
)
def test_address_that_is_not_asked(tmp_path: Path, url: str, code: str) -> None:
    """Only https to a host of the list, at its usual port or the one that is listed; nothing of the URL is repeated."""
    with pytest.raises(FetchError) as caught:
        fetch(url, HASH, tmp_path, allowed_hosts=["models.example"])
    assert caught.value.code == code
    assert "geheim" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sha256", ["", "abc", HASH[:-1], HASH + "0", "z" * 64])
def test_hash_must_be_one(tmp_path: Path, sha256: str) -> None:
    """Without a hash nothing is downloaded."""
    with pytest.raises(FetchError, match="64 hexadecimal"):
        fetch("https://models.example/a.hef", sha256, tmp_path, allowed_hosts=["models.example"])


def test_no_host_is_allowed_by_default(tmp_path: Path) -> None:
    """An empty list allows nothing, and plain HTTP to this machine is for tests that ask for it."""
    with pytest.raises(FetchError, match="models_hosts"):
        fetch("https://models.example/a.hef", HASH, tmp_path, allowed_hosts=[])
    with pytest.raises(FetchError, match="https only"):
        fetch("http://127.0.0.1:8080/a.hef", HASH, tmp_path, allowed_hosts=["127.0.0.1:8080"])


def test_redirects_stay_within_the_list(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A redirect to a host of the list is followed, one to any other is not, and neither is an endless round."""
    other = serve(whole)

    def answer(handler: Handler) -> None:
        places = {
            "/out.hef": other.url(),
            "/round.hef": "/round.hef",
            "/ftp.hef": "ftp://127.0.0.1/a.hef",
            "/no.hef": "",
        }
        handler.head(302, Location=places[handler.path], Content_Length=0)

    server = serve(answer)
    assert refusal(server, tmp_path, url=server.url("/out.hef")).code == "forbidden"
    assert other.asked == []
    assert refusal(server, tmp_path, url=server.url("/round.hef")).code == "forbidden"
    assert refusal(server, tmp_path, url=server.url("/ftp.hef")).code == "bad_args"
    assert refusal(server, tmp_path, url=server.url("/no.hef")).code == "forbidden"
    path = get(server, tmp_path, url=server.url("/out.hef"), allowed_hosts=[server.host, other.host])
    assert path.name == "out.hef"
    assert path.read_bytes() == MODEL


def test_length_that_is_a_lie(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A server that promises more than it sends, too much, or less than it sends is not believed."""

    def saying(length: object) -> Server:
        def answer(handler: Handler) -> None:
            handler.head(Content_Length=length)
            handler.wfile.write(MODEL)

        return serve(answer)

    assert "broke off" in str(refusal(saying(len(MODEL) + 1), tmp_path))
    assert refusal(saying(10**15), tmp_path).code == "too_large"
    assert refusal(saying(10**15), tmp_path, max_bytes=10**16).code == "internal"  # no disk has so much room
    assert refusal(saying(1000), tmp_path).code == "model_incompatible"


def test_endless_body(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """What has no end is cut off at the size limit."""

    def answer(handler: Handler) -> None:
        handler.head()
        while not handler.server.over.is_set():  # type: ignore[attr-defined]
            handler.wfile.write(bytes(65_536))

    assert refusal(serve(answer), tmp_path, max_bytes=1_000_000).code == "too_large"


def test_slow_trickle_ends_with_the_time(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A server that sends a byte now and then, in the head too, is given up when the time is over."""
    clock = FakeClock()

    def body(handler: Handler) -> None:
        handler.head(Content_Length=len(MODEL))
        handler.wfile.write(MODEL[:100])
        clock.advance(100.0)
        handler.server.over.wait(20)  # type: ignore[attr-defined]

    def head(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        clock.advance(100.0)
        handler.server.over.wait(20)  # type: ignore[attr-defined]

    for answer in (body, head):
        error = refusal(serve(answer), tmp_path, timeout_s=60.0, clock=clock)
        assert (error.code, error.retryable) == ("timeout", True)


def test_download_can_be_cancelled(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A download that waits for its server ends when it is told to."""
    cancelled = threading.Event()

    def answer(handler: Handler) -> None:
        handler.head(Content_Length=len(MODEL))
        cancelled.set()
        handler.server.over.wait(20)  # type: ignore[attr-defined]

    assert refusal(serve(answer), tmp_path, cancelled=cancelled).code == "expired"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda handler: handler.head(404), "model_not_found"),
        (lambda handler: handler.head(500), "model_not_found"),
        (lambda handler: handler.head(206, Content_Length=0), "model_not_found"),
        (lambda handler: handler.head(200, Content_Encoding="gzip"), "model_incompatible"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "model_not_found"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000), "model_not_found"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), "model_not_found"),
        (lambda handler: None, "model_not_found"),
    ],
)
def test_other_answers(tmp_path: Path, serve: Callable[[Answer], Server], answer: Answer, code: str) -> None:
    """Whatever else a server answers is an error with a code."""
    assert refusal(serve(answer), tmp_path).code == code


def test_full_disk(tmp_path: Path, serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that becomes full is told as such, and nothing is left on it."""

    def full(_descriptor: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write", full)
    error = refusal(serve(whole), tmp_path)
    assert error.code == "internal"
    assert "make room" in str(error)


def test_folder_that_cannot_be(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """A folder that is a file, a link or cannot be made is told."""
    server = serve(whole)
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for directory in (tmp_path / "file", tmp_path / "link", tmp_path / "none" / "models"):
        with pytest.raises(FetchError, match="cannot be written") as caught:
            get(server, directory)
        assert caught.value.code == "internal"
    assert list((tmp_path / "real").iterdir()) == []


def test_what_a_killed_download_left_is_removed(tmp_path: Path, serve: Callable[[Answer], Server]) -> None:
    """The next download removes the parts of a process that was killed, and nothing else."""
    (tmp_path / ".a.hef.999999999-1-ab.part").touch()
    (tmp_path / "a.hef").touch()
    get(serve(whole), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.hef", "yolov8s.hef"]


def test_certificate_must_be_trusted(
    tmp_path: Path, serve: Callable[[Answer], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over https the certificate must be of a trusted authority and of the host that is asked; proxies of the
    environment are not."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    own = Authority(tmp_path / "own", "own")
    right, wrong = own.sign("right", "IP:127.0.0.1"), own.sign("wrong", "DNS:other.example")
    models = tmp_path / "models"
    models.mkdir()
    for signed, trust, fails in ((right, own.ca, False), (right, None, True), (wrong, own.ca, True)):
        server = serve(whole)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed.cert, signed.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        options = {"url": f"https://{server.host}/yolov8s.hef", "trust": ssl.create_default_context(cafile=trust)}
        if fails:
            error = refusal(server, models, **options)  # type: ignore[arg-type]
            assert error.code == "forbidden"
            assert "certificate" in str(error)
            assert server.asked == []
        else:
            get(server, models, **options).unlink()  # type: ignore[arg-type]


def test_server_that_is_not_there(tmp_path: Path) -> None:
    """A host where nothing listens, or whose name is unknown, is told by its name."""
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        with pytest.raises(FetchError, match="cannot be reached") as caught:
            fetch(f"https://{host}/a.hef", HASH, tmp_path, allowed_hosts=[host])
        assert caught.value.retryable
    assert list(tmp_path.iterdir()) == []
