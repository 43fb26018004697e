"""Hostile clients against real daemons: nothing crashes, nothing hangs, and
nothing that was not asked for properly is done.

CALLSIGN_ASAN_BUILDDIR names a build with AddressSanitizer, whose daemon is
then the victim. The judge of "nothing was done" is the registry's revision,
which any write that changes something raises.
"""

import os
import pathlib
import random
import socket
import struct
import time

import pytest

import api
import cluster as clusters

BUILD = os.environ.get("CALLSIGN_ASAN_BUILDDIR")
HOST = b"Host: x\r\n"
BODY = b'{"name":"evil","node_id":6,"process_id":6}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
OWNER = b'{"node_id":6,"process_id":6}'
EVIL = b"POST /api/registry HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + BODY
PATIENCE_S = 15  # for an answer, or an end, on a daemon with sanitizers on busy cores
ALIVE_S = 5  # for /livez meanwhile


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """Three replicas; the one that is asked is a follower, so that what is
    forwarded is attacked too."""
    folder = tmp_path_factory.mktemp("hostile")
    calm = ["--election-timeout-ms", "2000", "--heartbeat-ms", "200", "--http-connections", "600"]
    with clusters.Cluster(folder, flags=calm) as three:
        for replica in three:
            if BUILD:
                replica.daemon = pathlib.Path(BUILD) / "callsignd"
        three.start().wait_ready()
        follower = three.followers()[0]
        with follower.api() as a:
            assert a.put("evil", 1, 1).status == 201
        yield follower
        assert [r.id for r in three.running()] == [1, 2, 3]
        for replica in three:
            assert replica.terminate() == 0, f"see {replica.log_path}"


def check_alive(replica):
    began = time.monotonic()
    with replica.api(timeout=ALIVE_S) as a:
        assert a.request("GET", "/livez").status == 200
    assert time.monotonic() - began < ALIVE_S


def revision(replica):
    """As of now, on any replica: a linearizable read."""
    return replica.ask("GET", "/api/registry/evil").revision


def converse(replica, message):
    """Sends a message, says that there is no more, and returns the statuses of
    all answers until the daemon closes. What does not end is an error. Nothing
    is an answer behind one that says "close": libmicrohttpd 0.9.75 sends the
    head of its own refusal of a length twice."""
    with api.connect(replica.http_port, PATIENCE_S) as sock:
        try:
            sock.sendall(message)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before its end
        statuses = []
        with sock.makefile("rb") as stream:
            try:
                while (answer := api.read_answer(stream)) is not None:
                    statuses.append(answer.status)
                    if answer.headers.get("Connection") == "close":
                        stream.read()  # to the end, which has to come
                        break
            except ConnectionResetError:
                pass  # closed with our bytes unread
        return statuses


def post(*headers, body=b"", line=b"POST /api/registry HTTP/1.1", host=HOST):
    return line + b"\r\n" + host + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def to(target, body, method=b"POST"):
    length = [b"Content-Length: %d" % len(body)] if body else []
    return post(*length, line=method + b" " + target + b" HTTP/1.1", body=body)


def chunked(body, *headers):
    return post(b"Transfer-Encoding: chunked", *headers, body=body)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


# Each must be refused, whatever is behind it must not be obeyed.
REFUSED = {
    # Where a message ends: what a proxy in front and we see differently.
    "length and coding": post(LENGTH[:-2], b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + EVIL),
    "coding and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 4",
                              body=b"5c\r\n" + EVIL + b"\r\n0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 0", LENGTH[:-2], body=EVIL),
    "the same length twice": post(LENGTH[:-2], LENGTH[:-2], body=BODY),
    "a list of lengths": post(b"Content-Length: 42, 42", body=BODY),
    "a signed length": post(b"Content-Length: +42", body=BODY),
    "a negative length": post(b"Content-Length: -42", body=BODY),
    "a hexadecimal length": post(b"Content-Length: 0x2a", body=BODY),
    "a length of 2^64": post(b"Content-Length: 18446744073709551616", body=BODY),
    "a length of 2^64 + 42": post(b"Content-Length: 18446744073709551658", body=BODY),
    "a length of 2^63": post(b"Content-Length: 9223372036854775808", body=BODY),
    "an empty length": post(b"Content-Length:", body=EVIL),
    "an unknown coding": post(b"Transfer-Encoding: xchunked", body=chunk(BODY) + b"0\r\n\r\n"),
    "two codings": post(b"Transfer-Encoding: gzip, chunked", body=chunk(BODY) + b"0\r\n\r\n"),
    "chunked is not the last": post(b"Transfer-Encoding: chunked, identity",
                                    body=chunk(BODY) + b"0\r\n\r\n"),
    "coding twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", LENGTH[:-2],
                         body=EVIL),
    "a space before the colon": post(b"Transfer-Encoding : chunked", LENGTH[:-2], body=BODY + EVIL),
    "a tab in the coding": post(b"Transfer-Encoding: \x0bchunked", LENGTH[:-2], body=BODY + EVIL),
    "a header without a colon": post(b"Content-Length 42", body=BODY),
    "a header without a name": post(b": 42", LENGTH[:-2], body=BODY),
    "a header name that is no token": post(b"Content\x7fLength: 42", LENGTH[:-2], body=BODY),
    "a control character in a value": post(b"X: a\x01b", LENGTH[:-2], body=BODY),
    "chunk size of 2^64": chunked(b"10000000000000000\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "negative chunk size": chunked(b"-2a\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "no chunk size": chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"5\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks without an end": chunked(chunk(BODY)),
    "half a body": post(b"Content-Length: 100", body=BODY),
    # The request line.
    "version 0.9": b"GET /livez\r\n",
    "version 2.0 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 9.9": post(LENGTH[:-2], line=b"POST /api/registry HTTP/9.9", body=BODY),
    "no host": post(LENGTH[:-2], host=b"", body=BODY),
    "two hosts": post(b"Host: y", LENGTH[:-2], body=BODY),
    "a TLS hello": bytes.fromhex("160301020001000001fc0303") + bytes(64),
    "a line of 9 KiB": to(b"/api/registry?" + b"a" * 9000, BODY),
    "a line of 1 MiB": to(b"/api/registry?" + b"a" * 2**20, BODY),
    "headers of 40 KiB": post(*[b"X-%d: %s" % (i, b"v" * 1000) for i in range(40)], LENGTH[:-2],
                              body=BODY),
    "100,000 headers": post(*[b"a: b"] * 100000, LENGTH[:-2], body=BODY),
    "100,000 cookies": post(b"Cookie: " + b"a=b; " * 8000, LENGTH[:-2], body=BODY),
    "a body of 64 KiB and a byte": post(b"Content-Length: 65537", body=BODY + b" " * (65537 - 42)),
    "chunks of 1 MiB": chunked(chunk(BODY) + chunk(b" " * 4096) * 256 + b"0\r\n\r\n"),
    "a length of 4 GiB": post(b"Content-Length: 4294967296", body=BODY),
    # Names.
    "a name of 1025 bytes": to(b"/api/registry/" + b"n" * 1025, OWNER, b"PUT"),
    "an empty name": to(b"/api/registry/", OWNER, b"PUT"),
    **{f"escape {e!r}": to(b"/api/registry/evil" + e, OWNER, b"PUT")
       for e in (b"%", b"%2", b"%zz", b"%00", b"%ff", b"%c0%80", b"%ed%a0%80", b"%f4%90%80%80")},
    # Bodies.
    **{f"body {b[:40]!r}": to(b"/api/registry", b) for b in (
        b"", b"null", b"[]", b'"evil"', b"{", BODY[:-1], BODY + b"x", BODY + BODY,
        b"\xef\xbb\xbf" + BODY, BODY.replace(b"{", b'{"name":"evil",'),
        b'{"name":"evil\\u0000","node_id":6,"process_id":6}',
        b'{"name":"\\ud800","node_id":6,"process_id":6}',
        b'{"name":"\xff","node_id":6,"process_id":6}',
        b'{"name":"' + b"\\u00e9" * 10000 + b'","node_id":6,"process_id":6}',
        BODY[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"name=evil&node_id=6&process_id=6")},
    **{f"id {i[:24]!r}": to(b"/api/registry", BODY.replace(b"6", i, 1)) for i in (
        b"18446744073709551616", b"-1", b"6.0", b"6e0", b"06", b"+6", b"0x6", b"NaN", b"true",
        b"null", b"[6]", b'"6 "', b'"-6"', b"6" * 60000)},
    # Guards: one that is not understood must not be passed over.
    **{f"guard {g!r}": post(LENGTH[:-2], g, body=BODY) for g in (
        b"If-None-Match: \"1\"", b"If-Match: *", b"If-Match: W/\"1\"", b"If-Match: \"1\", \"2\"",
        b"If-Match: \"18446744073709551616\"", b"If-Match: 1", b"If-Match:")},
    "a guard without its half": to(b"/api/registry/evil?node_id=6", b"", b"DELETE"),
    "a misspelt guard": to(b"/api/registry/evil?nodeid=6&process_id=6", b"", b"DELETE"),
    "a guard in a body": to(b"/api/registry/evil", BODY, b"DELETE"),
    "two environments": to(b"/api/registry/evil?env_id=1&env_id=2", b"", b"DELETE"),
    "an expectation": post(b"Expect: 200-ok", LENGTH[:-2], body=BODY),
    "an unknown method": post(LENGTH[:-2], line=b"EVIL /api/registry HTTP/1.1", body=BODY),
    "a method for a proxy": b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(victim, what):
    before = revision(victim)
    statuses = converse(victim, REFUSED[what])
    assert all(400 <= s < 600 and s != 500 for s in statuses), statuses
    assert len(statuses) <= 1, f"what stood behind it was answered: {statuses}"
    assert revision(victim) == before, f"it changed something, and was answered {statuses}"
    check_alive(victim)


def test_pipelined(victim):
    """A thousand requests in one go are all answered, in order, before the end."""
    pair = to(b"/api/registry/evil", b"", b"GET") + to(b"/nowhere", b"", b"GET")
    with api.connect(victim.http_port, PATIENCE_S) as sock:
        sock.sendall(pair * 500)
        with sock.makefile("rb") as stream:
            statuses = [api.read_answer(stream).status for _ in range(1000)]
    assert statuses == [200, 404] * 500


def test_byte_by_byte(victim):
    before = revision(victim)
    with api.connect(victim.http_port, PATIENCE_S) as sock:
        for i in range(len(EVIL)):
            sock.sendall(EVIL[i:i + 1])
        with sock.makefile("rb") as stream:
            assert api.read_answer(stream).status == 200
    assert revision(victim) == before + 1


def test_reset_in_the_middle(victim):
    """A body that is cut off by a reset, at each of its bytes, is not a request."""
    before = revision(victim)
    reset = struct.pack("ii", 1, 0)
    for cut in range(1, len(EVIL), 3):
        with api.connect(victim.http_port, PATIENCE_S) as sock:
            sock.sendall(EVIL[:cut])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert revision(victim) == before
    check_alive(victim)


def test_never_reads(victim):
    """Fifty clients that ask for ever and never take an answer delay nobody."""
    asked = b"GET /metrics HTTP/1.1\r\n%s\r\n" % HOST * 200
    deaf = [api.connect(victim.http_port, PATIENCE_S) for _ in range(50)]
    try:
        for sock in deaf:
            sock.setblocking(False)
        for _ in range(20):
            for sock in deaf:
                try:
                    sock.send(asked)
                except OSError:
                    pass  # full, or cut: as it should be
            check_alive(victim)
            assert victim.ask("GET", "/api/registry/evil").status == 200
    finally:
        for sock in deaf:
            sock.close()


def open_descriptors(replica):
    return len(os.listdir(f"/proc/{replica.process.pid}/fd"))


def test_slow_clients(victim):
    """Three hundred that never send the rest keep nobody out, and are cut off."""
    def at_rest():
        return open_descriptors(victim)
    before = at_rest()
    slow = [api.connect(victim.http_port, PATIENCE_S) for _ in range(300)]
    try:
        for i, sock in enumerate(slow):
            sock.sendall(EVIL[:30 + i % (len(EVIL) - 30)])  # the line is whole
        check_alive(victim)
        assert victim.ask("GET", "/api/registry/evil").status == 200
        for sock in slow:
            # Refused or cut, with or without an answer before it.
            while sock.recv(4096):
                pass
            sock.close()
    finally:
        for sock in slow:
            sock.close()
    clusters.eventually("all their descriptors are closed", lambda: at_rest() <= before + 2)


def spoil(rng, message):
    """A valid message with some bytes changed, dropped, doubled."""
    message = bytearray(message)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(message))
        match rng.randrange(4):
            case 0:
                message[at] = rng.randrange(256)
            case 1:
                del message[at:at + rng.randint(1, 8)]
            case 2:
                message[at:at] = message[at:at + rng.randint(1, 40)]
            case 3:
                message[at:at] = rng.choice([b"\r\n", b"\0", b"%", b'"', b"{", b": ", b"\xff"])
        if not message:
            return b"\n"
    return bytes(message)


def test_spoilt_at_random(victim, request):
    """Ten thousand messages, spoilt at random: every answer is one, none is 500."""
    seed = os.environ.get("CALLSIGN_SEED", str(time.time_ns()))
    rng = random.Random(seed)
    print(f"CALLSIGN_SEED={seed}")
    good = [EVIL, chunked(chunk(BODY) + b"0\r\n\r\n"),
            b"GET /api/registry/evil?env_id=1&consistency=stale HTTP/1.1\r\n" + HOST + b"\r\n",
            b"DELETE /api/registry?name=evil&node_id=6&process_id=6 HTTP/1.1\r\n" + HOST + b"\r\n",
            post(b"Content-Length: %d" % len(OWNER), b'If-Match: "1"',
                 line=b"PUT /api/registry/ev%69l?env_id=2 HTTP/1.1", body=OWNER),
            b"GET /api/cluster HTTP/1.1\r\n" + HOST + b"If-None-Match: *\r\n\r\n"]
    for _ in range(2500):
        message = b"".join(spoil(rng, rng.choice(good)) for _ in range(4))
        statuses = converse(victim, message)
        assert all(200 <= s < 600 and s != 500 for s in statuses), (message, statuses)
    check_alive(victim)
