"""Floods against real daemons: probes are answered all the while, and memory
comes back. Clients come from addresses of their own, as in life."""

import contextlib
import itertools
import multiprocessing
import os
import random
import resource
import selectors
import socket
import time

import pytest

import api
import cluster as clusters

PROBE_MS = 100
# What else runs on the machine may hold a probe up now and then; a daemon that is
# overloaded holds up more than one in twenty.
PROBES_MIN = 20
LATE_ALLOWED = 0.05
CONNECTIONS = 4096
MEMORY_KIB = 48 << 10  # what may stay behind: the allocator's, not growing with the flood


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12000:
        pytest.skip(f"12000 open files are needed, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    calm = ["--election-timeout-ms", "2000", "--heartbeat-ms", "200"]
    try:
        with clusters.Cluster(tmp_path_factory.mktemp("overload"), flags=calm) as three:
            three.start().wait_ready()
            leader = three.leader()
            with leader.api() as a:
                assert a.put("n", 1, 1).status == 201
            yield leader
            assert leader.state()["leader"] == leader.id, "it lost its office"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_kib(replica):
    with open(f"/proc/{replica.process.pid}/status", encoding="utf-8") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmRSS")))


def descriptors(replica):
    return len(os.listdir(f"/proc/{replica.process.pid}/fd"))


def probe(replica, ended, results):
    """Asks /livez again and again, each time on a new connection, until `ended`,
    and often enough to judge: how long each took in ms, and what was no 200."""
    times, failures = [], []
    while not ended.is_set() or len(times) < PROBES_MIN:
        began = time.monotonic()
        try:
            with replica.api(timeout=5) as a:
                status = a.request("GET", "/livez").status
        except (api.NotSent, api.Lost) as error:
            status = repr(error)
        times.append((time.monotonic() - began) * 1000)
        if status != 200:
            failures.append(status)
        ended.wait(0.01)
    results.put((times, failures))


@contextlib.contextmanager
def probed(replica):
    """/livez is asked all the while, by a process of its own: what the flood
    costs this one must not count."""
    forked = multiprocessing.get_context("fork")
    ended, results = forked.Event(), forked.Queue()
    process = forked.Process(target=probe, args=(replica, ended, results))
    process.start()
    try:
        yield
    finally:
        ended.set()
        times, failures = results.get(timeout=20)
        process.join()
    late = [t for t in times if t > PROBE_MS]
    print(f"/livez: {len(times)} times, longest {max(times):.1f} ms, "
          f"{len(late)} later than {PROBE_MS} ms")
    assert not failures, failures[:5]
    assert len(late) <= LATE_ALLOWED * len(times), sorted(late)[-10:]


def flood(replica, count, message=b"", pace=200):
    """Connections from many addresses, `pace` of them begun at once; those
    that are open in the end."""
    addresses = itertools.cycle(f"127.0.{i}.9" for i in range(1, 30))
    opened = []
    for start in range(0, count, pace):
        part = []
        for _ in range(min(pace, count - start)):
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((next(addresses), 0))
            with contextlib.suppress(BlockingIOError):
                sock.connect((api.HOST, replica.http_port))
            part.append(sock)
        with selectors.DefaultSelector() as waiting:
            for sock in part:
                waiting.register(sock, selectors.EVENT_WRITE)
            deadline = time.monotonic() + 5
            while waiting.get_map() and time.monotonic() < deadline:
                for key, _ in waiting.select(1):
                    waiting.unregister(key.fileobj)
                    if message:
                        with contextlib.suppress(OSError):
                            key.fileobj.send(message)
        opened += part
    return opened


def close_all(socks):
    for sock in socks:
        sock.close()


@contextlib.contextmanager
def nothing_stays(replica):
    """Descriptors and memory are as before, once it is over."""
    files, memory = descriptors(replica), rss_kib(replica)
    with probed(replica):
        yield
    clusters.eventually("all descriptors are closed", lambda: descriptors(replica) <= files + 8)
    clusters.eventually(f"memory is back at {memory} KiB",
                        lambda: rss_kib(replica) <= memory + MEMORY_KIB)


def check_works(replica):
    with replica.api() as a:
        assert a.get("n").status == 200
        assert a.put("n", 1, random.randrange(2**32)).status == 200


def test_ten_thousand_idle_connections(victim):
    """More than may be open: those that come last push the others out, and
    everybody who asks is served."""
    with nothing_stays(victim):
        idle = flood(victim, 10000)
        try:
            check_works(victim)
            with victim.api() as a:
                assert a.metric("callsign_http_connections") <= CONNECTIONS + 64
                assert a.metric("callsign_http_connections_pushed_total") > 0
        finally:
            close_all(idle)


def test_a_thousand_slow_clients(victim):
    """Each sends a byte now and then and never the end."""
    head = b"GET /api/registry/n HTTP/1.1\r\nX: "
    with nothing_stays(victim):
        slow = flood(victim, 1000, head)
        ended = set()
        try:
            until = time.monotonic() + 20
            while len(ended) < 1000 and time.monotonic() < until:
                for sock in set(slow) - ended:
                    try:
                        sock.send(b"a")
                    except BlockingIOError:
                        pass
                    except OSError:
                        ended.add(sock)
                time.sleep(0.2)
                check_works(victim)
            assert len(ended) == 1000, "all are cut after ten seconds"
        finally:
            close_all(slow)


def test_more_slow_clients_than_there_may_be(victim):
    """They cannot keep anybody out: the slowest of them has to go."""
    with nothing_stays(victim):
        slow = flood(victim, CONNECTIONS + 1000, b"GET /api/registry/n HTTP/1.1\r\nX: ")
        try:
            check_works(victim)
        finally:
            close_all(slow)


MALFORMED = [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /api/registry HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/registry HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{]",
    b"POST /api/registry HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /api/registry/%ff HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(2000),
    b"GET /api/registry?env_id=x HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(500)]


def test_ten_thousand_malformed_requests(victim):
    with nothing_stays(victim):
        for start in range(0, 10000, 500):
            socks = flood(victim, 500, MALFORMED[start // 500 % len(MALFORMED)])
            check_works(victim)
            close_all(socks)


def test_few_files_are_no_danger(folder):
    """With a low limit of open files fewer connections are taken, and the log
    says so; what strangers open is never what the storage lacks."""
    replica = clusters.Replica(folder, 1)
    replica.wrapper = ["prlimit", "--nofile=400:400"]
    replica.start()
    replica.wait_ready()
    assert "event=file_limit_low files=400" in replica.log
    assert "http_connections=24 watch_streams=57 " in replica.log
    idle = flood(replica, 1000, pace=100)
    try:
        for i in range(100):
            with replica.api() as a:
                assert a.put(f"n{i}", 1, 1).status == 201
        assert descriptors(replica) < 300
    finally:
        close_all(idle)
    assert replica.terminate() == 0


def test_one_address_takes_its_part_only(folder):
    replica = clusters.Replica(folder, 1, ["--http-connections-per-client", "50"])
    replica.start()
    replica.wait_ready()
    mine = [api.connect(replica.http_port) for _ in range(50)]
    try:
        with pytest.raises((api.Lost, api.NotSent)):
            replica.ask("GET", "/livez")
        other = flood(replica, 1, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        other[0].settimeout(5)
        assert other[0].recv(4096).startswith(b"HTTP/1.1 200")
        close_all(other)
    finally:
        close_all(mine)
    replica.kill()
