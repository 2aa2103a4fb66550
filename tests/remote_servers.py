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


class HttpServer:
    """A folder's files below /stores/NAME, as `files`, which a test may change.

    `faults` of a path are used up one by one: a status, "truncated" (breaks off), "stalled" (in the
    middle) or "silent" (from the start). `requests` counts what was asked for.
    """

    def __init__(self, *folders):
        self.files = {
            f"/stores/{folder.name}/{name}": data
            for folder in folders
            for name, data in tree(folder).items()
        }
        self.faults, self.requests, self.headers = {}, Counter(), {}
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
        request.end_headers()
        if fault in ("truncated", "stalled"):
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            if fault == "stalled":
                time.sleep(STALL)
            request.close_connection = True
            return
        request.wfile.write(data)

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
