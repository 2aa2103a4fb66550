"""Servers on the loopback address that hold a store: one of HTTP, which can misbehave, and moto's of S3."""

import contextlib
import logging
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from store_samples import tree

STALL = 3.0  # seconds, longer than the tests' clients wait
CHUNK = 2**16


class HttpServer:
    """A folder's files below /stores/NAME, as `files`, which a test may change.

    `faults` of a path are used up one by one: a status, "truncated" (breaks off), "stalled" (in the
    middle), "silent" (from the start) or ("chunked", so many bytes in all, whatever the length announced).
    `requests` counts what was asked for, `sent` the bytes in chunks.
    """

    def __init__(self, *folders):
        self.files = {
            f"/stores/{folder.name}/{name}": data
            for folder in folders
            for name, data in tree(folder).items()
        }
        self.faults, self.requests, self.headers = {}, Counter(), {}
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def root(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def url(self, name="resnet20.zarr"):
        return f"{self.root}/stores/{name}"

    def answer(self, request):
        path = unquote(request.path)
        self.requests[path.partition(".zarr/")[2]] += 1
        queue = self.faults.get(path.partition(".zarr/")[2], [])
        fault = queue.pop(0) if queue else None
        if fault == "silent":
            time.sleep(STALL)
            request.close_connection = True
            return
        status = fault if isinstance(fault, int) else 200 if path in self.files else 404
        data = self.files[path] if status == 200 else b"no secrets here"
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        for name, value in self.headers.items():
            request.send_header(name, value)
        if isinstance(fault, tuple):
            self.answer_in_chunks(request, fault[1])
            return
        request.end_headers()
        if fault in ("truncated", "stalled"):
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            if fault == "stalled":
                time.sleep(STALL)
            request.close_connection = True
            return
        request.wfile.write(data)

    def answer_in_chunks(self, request, size):
        request.close_connection = True
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        with contextlib.suppress(OSError):  # the client has heard enough
            for start in range(0, size, CHUNK):
                piece = bytes(min(CHUNK, size - start))
                request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.sent += len(piece)
            request.wfile.write(b"0\r\n\r\n")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextlib.contextmanager
def http_server(*folders):
    server = HttpServer(*folders)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def s3_server(monkeypatch, *folders):
    """Moto's S3 with a folder's files in the bucket `stores`, and the environment that leads there."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    root = "http://{}:{}".format(*server.get_host_and_port())
    for key, value in {
        "AWS_ENDPOINT_URL": root,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "A-SECRET",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(key, value)

    client = boto3.client("s3", endpoint_url=root)
    client.create_bucket(Bucket="stores")

    def put(key, data):
        client.put_object(Bucket="stores", Key=key, Body=data)

    for folder in folders:
        for name, data in tree(folder).items():
            put(f"{folder.name}/{name}", data)
    try:
        yield put
    finally:
        server.stop()
