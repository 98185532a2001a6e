"""A small HTTP/1.1 request reader: bytes in, requests out, no socket.

Hand-written because the answers of this server must be able to break the protocol at any byte, which server libraries
exist to prevent. It is strict about what it reads (RFC 9112): what could be framed in two ways is refused, so that a
test which counts upstream requests cannot be fooled by smuggling.
"""

import re
from collections.abc import Mapping

import msgspec

MAX_HEAD = 64 * 1024
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.([01])")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(rb"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")

REASONS: Mapping[int, str] = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 529: "Overloaded",
}  # fmt: skip


class BadRequestError(Exception):
    """Bytes that are not a request this server reads; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Request(msgspec.Struct, frozen=True):
    """One whole request. Header names are lower case; repeated headers are joined with a comma."""

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    body: bytes
    keep_alive: bool

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: bytes) -> str:
        """The header's value, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")


class _Head(msgspec.Struct, frozen=True):
    method: str
    target: str
    headers: Mapping[bytes, bytes]
    keep_alive: bool
    length: int | None  # None: chunked


class Parser:
    """Reads the requests of one connection, in order. `feed` bytes, then take requests with `next` until None."""

    def __init__(self, max_body: int) -> None:
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._max_body = max_body
        self._continue = False

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def pending(self) -> int:
        """Bytes read and not yet part of a request."""
        return len(self._buffer)

    def wants_continue(self) -> bool:
        """True once for each request that waits for `100 Continue` before it sends its body."""
        wanted, self._continue = self._continue, False
        return wanted

    def next(self) -> Request | None:
        """The next whole request; None when more bytes are needed. Raises BadRequestError."""
        head = self._head or self._read_head()
        if head is None:
            return None
        body = self._read_chunked() if head.length is None else self._read_sized(head.length)
        if body is None:
            return None
        self._head, self._continue = None, False
        return Request(head.method, head.target, head.headers, body, head.keep_alive)

    def _read_head(self) -> _Head | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 2.2: ignore empty lines before a request
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise BadRequestError(431, "the request head is larger than 64 KiB")
            return None
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        self._head = head = _parse_head(lines, self._max_body)
        self._continue = head.headers.get(b"expect", b"").lower() == b"100-continue"
        self._chunks, self._size = [], 0
        return head

    def _read_sized(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _read_chunked(self) -> bytes | None:
        while True:
            line_end = self._buffer.find(b"\r\n", 0, 4096)
            if line_end < 0:
                if len(self._buffer) >= 4096:
                    raise BadRequestError(400, "a chunk's size line is longer than 4 KiB")
                return None
            match = _CHUNK_SIZE.fullmatch(self._buffer, 0, line_end)
            if match is None:
                raise BadRequestError(400, "a chunk's size is not a hexadecimal number")
            size = int(match[1], 16)
            if self._size + size > self._max_body:
                raise BadRequestError(413, f"the request body is larger than {self._max_body} bytes")
            if size == 0:
                return self._read_trailers(line_end + 2)
            start, end = line_end + 2, line_end + 2 + size
            if len(self._buffer) < end + 2:
                return None
            if self._buffer[end : end + 2] != b"\r\n":
                raise BadRequestError(400, "a chunk does not end where its size says")
            self._chunks.append(bytes(self._buffer[start:end]))
            self._size += size
            del self._buffer[: end + 2]

    def _read_trailers(self, start: int) -> bytes | None:
        if self._buffer[start : start + 2] == b"\r\n":
            del self._buffer[: start + 2]
            return b"".join(self._chunks)
        end = self._buffer.find(b"\r\n\r\n", start)
        if end < 0:
            if len(self._buffer) - start >= MAX_HEAD:
                raise BadRequestError(431, "the trailers are larger than 64 KiB")
            return None
        del self._buffer[: end + 4]
        return b"".join(self._chunks)


def _parse_head(lines: list[bytes], max_body: int) -> _Head:
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        raise BadRequestError(400, "the request line is not `METHOD target HTTP/1.1`")
    headers: dict[bytes, bytes] = {}
    for raw in lines[1:]:
        name, colon, value = raw.partition(b":")
        if not colon or _NAME.fullmatch(name) is None or b"\n" in value or b"\r" in value or b"\0" in value:
            raise BadRequestError(400, "a header line is not `name: value`")
        name, value = name.lower(), value.strip(b" \t")
        headers[name] = headers[name] + b", " + value if name in headers else value
    tokens = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in tokens if line[3] == b"1" else b"keep-alive" in tokens
    return _Head(line[1].decode(), line[2].decode(), headers, keep_alive, _body_length(headers, max_body))


def _body_length(headers: Mapping[bytes, bytes], max_body: int) -> int | None:
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coding is not None:
        if length is not None or coding.lower() != b"chunked":
            raise BadRequestError(400, "transfer-encoding must be `chunked` and stand without content-length")
        return None
    if length is None:
        return 0
    if _DIGITS.fullmatch(length) is None:
        raise BadRequestError(400, "content-length is not one number")
    if int(length) > max_body:
        raise BadRequestError(413, f"the request body is larger than {max_body} bytes")
    return int(length)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """A response head, with the empty line."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
