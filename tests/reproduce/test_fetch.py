"""Archives from a loopback server: resumed where they stopped, checked, unpacked once."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from reproduce.datasets.fetch import fetch
from zoo.errors import DataError

pytestmark = pytest.mark.fast


def archive(kind: str) -> bytes:
    buffer, text = io.BytesIO(), bytes(range(256)) * 400
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("part/data.bin", text)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            info = tarfile.TarInfo("part/data.bin")
            info.size = len(text)
            file.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
            asked.append((self.path, start))
            if content is None:
                self.send_error(404)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:])

        def log_message(self, *_):
            pass

    files, asked = {"/set.zip": archive("zip"), "/set.tar": archive("tar")}, []
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", files, asked
    httpd.shutdown()
    httpd.server_close()


def entry(server, name: str) -> dict[str, str]:
    url, files, _ = server
    return {"url": f"{url}/{name}", "md5": hashlib.md5(files.get(f"/{name}", b"")).hexdigest(), "into": "images"}


@pytest.mark.parametrize("name", ["set.zip", "set.tar"])
def test_fetched_unpacked_and_left_alone(server, tmp_path, name):
    for _ in range(2):
        fetch([entry(server, name)], tmp_path)
    assert (tmp_path / "images/part/data.bin").read_bytes() == bytes(range(256)) * 400
    assert server[2] == [(f"/{name}", 0)]


def test_resumes_where_another_process_stopped(server, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(server[1]["/set.zip"][:1000])
    fetch([entry(server, "set.zip")], tmp_path)
    assert server[2] == [("/set.zip", 1000)]
    assert (tmp_path / "images/part/data.bin").is_file()


def test_complete_but_not_renamed_is_not_fetched_again(server, tmp_path):
    (tmp_path / ".set.zip.part").write_bytes(server[1]["/set.zip"])
    fetch([entry(server, "set.zip")], tmp_path)
    assert server[2] == []


def test_an_archive_that_is_already_there_is_used(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(server[1]["/set.zip"])
    fetch([entry(server, "set.zip")], tmp_path)
    assert server[2] == [] and (tmp_path / "images/part/data.bin").is_file()


def test_wrong_content_is_deleted_and_never_unpacked(server, tmp_path):
    with pytest.raises(DataError, match="md5 0000"):
        fetch([entry(server, "set.zip") | {"md5": "0" * 32}], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file_is_an_error_that_names_it(server, tmp_path):
    with pytest.raises(DataError, match=r"/none\.zip could not be fetched"):
        fetch([entry(server, "none.zip")], tmp_path)
