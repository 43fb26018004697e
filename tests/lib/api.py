"""HTTP to one replica, byte for byte: nothing is retried, nothing is hidden."""

import http.client
import json
import socket
import urllib.parse

HOST = "127.0.0.1"
TIMEOUT_S = 10


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # case-insensitive get(), as http.client gives them
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of a problem; None for other answers."""
        try:
            return self.json().get("code")
        except (ValueError, AttributeError):
            return None

    @property
    def revision(self):
        return int(self.headers["Callsign-Revision"])

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


class NotSent(Exception):
    """The request surely did not reach anybody."""


class Lost(Exception):
    """The request was sent, or part of it, and there is no answer."""


def quote(name):
    """A name as a path segment: everything that could be is escaped."""
    raw = name if isinstance(name, bytes) else name.encode()
    return urllib.parse.quote(raw, safe="")


class Access:
    """With what a replica is spoken to: TLS, if there is a context, and a token."""

    def __init__(self, context=None, token=None):
        self.context = context
        self.token = token

    def connection(self, port, timeout):
        if self.context is None:
            return http.client.HTTPConnection(HOST, port, timeout=timeout)
        return http.client.HTTPSConnection(HOST, port, timeout=timeout, context=self.context)

    def socket(self, port, timeout):
        sock = connect(port, timeout)
        return self.context.wrap_socket(sock, server_hostname=HOST) if self.context else sock

    def sign(self, request):
        """The bytes of a request, with the token."""
        if not self.token:
            return request
        line, rest = request.split(b"\r\n", 1)
        return b"%s\r\nAuthorization: Bearer %s\r\n%s" % (line, self.token.encode(), rest)

    def headers(self, more):
        return {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **(more or {})}


class Api:
    """A connection to one replica; opened when needed, one user at a time."""

    def __init__(self, port, timeout=TIMEOUT_S, access=Access()):
        self.port = port
        self.timeout = timeout
        self.access = access
        self._connection = None

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def request(self, method, target, body=None, headers=None):
        """An Answer, or NotSent, or Lost. A str is sent as UTF-8, anything
        else but bytes as JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if self._connection is None:
            connection = self.access.connection(self.port, self.timeout)
            try:
                connection.connect()
            except OSError as error:
                raise NotSent(str(error)) from error
            self._connection = connection
        try:
            self._connection.request(method, target, body=body,
                                     headers=self.access.headers(headers))
            response = self._connection.getresponse()
            if response.headers.get("Content-Type") == "text/event-stream":
                self.close()  # it has no end: that it began is the answer
                return Answer(response.status, response.headers, b"")
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(repr(error)) from error
        if response.will_close:
            self.close()
        return answer

    # The three calls, by their plainest spelling.

    def put(self, name, node_id, process_id, headers=None, **more):
        body = {"name": name, "node_id": node_id, "process_id": process_id, **more}
        return self.request("POST", "/api/registry", body, headers)

    def get(self, name, query=""):
        return self.request("GET", f"/api/registry/{quote(name)}{query and '?' + query}")

    def remove(self, name, query="", headers=None):
        target = f"/api/registry/{quote(name)}{query and '?' + query}"
        return self.request("DELETE", target, headers=headers)

    def cluster(self):
        return self.request("GET", "/api/cluster").json()

    def metric(self, name):
        """A value of /metrics without labels."""
        for line in self.request("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)


def connect(port, timeout=TIMEOUT_S):
    """A bare socket to a replica."""
    sock = socket.create_connection((HOST, port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_answer(stream, head=False):
    """One answer from a socket's makefile("rb"); None where the stream ends before."""
    status_line = stream.readline()
    if not status_line:
        return None
    headers = http.client.parse_headers(stream)
    length = 0 if head else int(headers.get("Content-Length", "0"))
    return Answer(int(status_line.split()[1]), headers, stream.read(length))


def raw(port, request, timeout=TIMEOUT_S):
    """Sends bytes as they are; the Answer, or None if the connection was closed without one."""
    with connect(port, timeout) as sock:
        try:
            sock.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused early: the answer may be there all the same
        with sock.makefile("rb") as stream:
            try:
                return read_answer(stream)
            except ConnectionResetError:
                return None


def pipeline(port, requests, window=64, access=Access()):
    """Sends many requests on one connection, `window` at a time ahead of their
    answers; yields the answers in order."""
    with access.socket(port, 60) as sock, sock.makefile("rb") as stream:
        for start in range(0, len(requests), window):
            part = [access.sign(r) for r in requests[start:start + window]]
            sock.sendall(b"".join(part))
            for _ in part:
                yield read_answer(stream)


def post_bytes(name, node_id, process_id):
    """A registration as the bytes of a request, for pipeline()."""
    body = json.dumps({"name": name, "node_id": node_id, "process_id": process_id}).encode()
    return (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body)
