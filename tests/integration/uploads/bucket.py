"""As much of S3 as storage speaks: objects, uploads in parts, lists; in this process, on loopback."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_MODIFIED = "2026-04-24T12:00:00.000Z"


@dataclass
class Bucket:
    """One bucket's objects by key, and what was asked of it."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    dispositions: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    largest_part: int = 0
    broken: bool = False


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """A bucket at `bucket.url`, path style: the first part of a path is the bucket's name."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "partNumber" in self._query:
            self.bucket.parts[self._query["uploadId"]][int(self._query["partNumber"])] = body
            self.bucket.largest_part = max(self.bucket.largest_part, len(body))
        else:
            self._keep(body)
        self._answer(200, ETag='"etag"')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "uploads" in self._query:
            self._keep(b"")
            upload_id = f"upload-{len(self.bucket.parts)}"
            self.bucket.parts[upload_id] = {}
            self._answer(
                200, f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        elif "uploadId" in self._query:
            parts = self.bucket.parts.pop(self._query["uploadId"])
            self.bucket.objects[self._key] = b"".join(parts[number] for number in sorted(parts))
            self._answer(200, '<CompleteMultipartUploadResult><ETag>"etag"</ETag></CompleteMultipartUploadResult>')
        else:
            keys = re.findall("<Key>(.*?)</Key>", body.decode())
            for key in keys:
                self.bucket.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>")

    def do_GET(self) -> None:
        if "list-type" in self._query:
            self._answer(200, _listed(self.bucket, self._query.get("prefix", "")))
        else:
            self._send_object()

    do_HEAD = do_GET  # noqa: N815 - the base class's naming

    def do_DELETE(self) -> None:
        self.bucket.objects.pop(self._key, None)
        self._answer(204)

    def _send_object(self) -> None:
        content = self.bucket.objects.get(self._key)
        if content is None:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, content, ETag='"etag"', **{"Last-Modified": "Fri, 24 Apr 2026 12:00:00 GMT"})

    def _keep(self, content: bytes) -> None:
        self.bucket.objects[self._key] = content
        self.bucket.dispositions[self._key] = self.headers.get("Content-Disposition", "")

    def _answer(self, status: int, body: str | bytes = b"", **headers: str) -> None:
        if self.bucket.broken:
            status, body = 403, "<Error><Code>AccessDenied</Code></Error>"
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[2]

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _listed(bucket: Bucket, prefix: str) -> str:
    found = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_MODIFIED}</LastModified><Size>{len(content)}</Size></Contents>"
        for key, content in sorted(bucket.objects.items())
        if key.startswith(prefix)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
