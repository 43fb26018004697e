"""Three replicas under TLS everywhere, and strangers at their peer ports."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
import time

import pytest

import api
import certs
import cluster as clusters
import writers

ENDS_S = 6  # a stranger is cut after three seconds, on a busy machine a little later


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    calm = ["--election-timeout-ms", "1500", "--heartbeat-ms", "100"]
    with clusters.Cluster(tmp_path_factory.mktemp("peer-tls"), flags=calm) as cluster:
        yield cluster.secure().start().wait_ready()
        assert [r.id for r in cluster.running()] == [1, 2, 3]


def test_failover(new_cluster):
    """Everything that makes a cluster, over TLS: writes through every replica,
    a leader that dies under load, one that comes back."""
    cluster = new_cluster().secure().start().wait_ready()
    with writers.Writers(cluster) as load:
        leader = cluster.leader()
        load.wait_progress(100)
        leader.kill()
        load.wait_progress(100, cluster.running())
        assert cluster.leader() is not leader
        leader.start()
        leader.wait_ready()
        load.wait_progress(100)
        load.stop()
        acked, _, _ = load.check(cluster)
        assert acked >= 300
    cluster.wait_same()


def test_a_snapshot_comes_over_tls(new_cluster):
    cluster = new_cluster(flags=["--snapshot-threshold", "64", "--snapshot-trailing", "16"])
    cluster.secure().start().wait_ready()
    behind = cluster.followers()[0]
    behind.kill()
    with cluster.leader().api() as a:
        for i in range(300):
            assert a.put("n" * 900 + str(i), 1, i).status == 201
    behind.start()
    behind.wait_ready()
    cluster.wait_same()
    with behind.api() as a:
        assert a.metric("callsign_snapshots_restored_total") >= 1


# --- Strangers ------------------------------------------------------------------


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def hello(cluster, sender, receiver, cluster_id=None):
    """HELLO as docs/protocol.md has it."""
    cluster_id = cluster_id or bytes.fromhex(cluster[1].state()["cluster_id"])
    payload = (b"CALLSIGN" + struct.pack("<HHI", 1, 1, 0) + cluster_id
               + struct.pack("<QQ", sender, receiver)
               + struct.pack("<H", 1) + b"x" + struct.pack("<H", 1) + b"y")
    rest = struct.pack("<BBHIQ", 1, 1, 0, 0, 0) + payload
    return struct.pack("<II", len(payload), crc32c(rest)) + rest


def all_of(sock):
    """What comes until the other side ends it, which it has to."""
    sock.settimeout(ENDS_S)
    said = b""
    try:
        while piece := sock.recv(4096):
            said += piece
    except (ssl.SSLError, ConnectionResetError):
        pass
    return said


def plain(replica, message):
    with socket.create_connection((api.HOST, replica.peer_port), timeout=ENDS_S) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(message)
        return all_of(sock)


def secured(replica, context, message):
    """What is answered inside of TLS; nothing where there is no handshake."""
    context.check_hostname = False  # of a replica's, the URI is what counts
    with socket.create_connection((api.HOST, replica.peer_port), timeout=ENDS_S) as raw:
        try:
            with context.wrap_socket(raw) as sock:
                sock.sendall(message)
                return all_of(sock)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return b""


def check_unharmed(cluster, before):
    """The links are the ones that were there, nobody had to be elected."""
    states = [r.state() for r in cluster]
    assert {(s["leader"], s["term"]) for s in states} == before
    for replica in cluster:
        with replica.api() as a:
            assert a.metric("callsign_peers_connected") == 2
            assert a.put(f"alive-{replica.id}", 1, 1).status in (200, 201)


def leadership(cluster):
    return {(s["leader"], s["term"]) for s in (r.state() for r in cluster)}


def test_a_stranger_without_tls_gets_nothing(three):
    before = leadership(three)
    for message in (hello(three, 3, 1), b"GET / HTTP/1.1\r\n\r\n", bytes(4096), os.urandom(4096),
                    bytes.fromhex("1603010200010001fc0303") + os.urandom(600),
                    bytes.fromhex("16030340ff") + bytes(20000)):
        said = plain(three[1], message)
        assert len(said) < 16, said  # an alert of TLS at most
    check_unharmed(three, before)


def test_a_stranger_with_a_wrong_certificate_gets_nothing(three, folder):
    before = leadership(three)
    rogue = folder / "rogue"
    certs.make(rogue, "replica", 2, 3)
    other = folder / "other"
    shutil.copytree(three.certs, other)
    certs.make(other, "replica", 3, cluster="other")
    certs.make(other, "http", "localhost")
    message = hello(three, 3, 1)
    trusted = three.certs / "ca.crt"

    def context(path, cert=None):
        made = ssl.create_default_context(cafile=str(trusted))
        if cert:
            made.load_cert_chain(path / f"{cert}.crt", path / f"{cert}.key")
        return made
    assert secured(three[1], context(None), message) == b"", "no certificate"
    assert secured(three[1], context(rogue, "replica-3"), message) == b"", "a rogue authority"
    assert secured(three[1], context(other, "replica-3"), message) == b"", "another cluster's"
    assert secured(three[1], context(other, "http"), message) == b"", "no replica's"
    old = context(three.certs, "replica-3")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert secured(three[1], old, message) == b"", "TLS 1.2"
    # Of this cluster, but not who it says; then the refusal says why, and that is all.
    said = secured(three[1], context(three.certs, "replica-2"), message)
    assert b"another replica's" in said and len(said) < 128
    said = secured(three[1], context(three.certs, "replica-3"),
                   hello(three, 3, 1, cluster_id=bytes(16)))
    assert b"another cluster" in said and len(said) < 128
    check_unharmed(three, before)


def rss_kib(replica):
    with open(f"/proc/{replica.process.pid}/status", encoding="utf-8") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmRSS")))


def test_strangers_cost_nothing(three, folder):
    """Two thousand handshakes that lead nowhere, and hundreds of connections
    that say nothing: the leader stays, writes go on, memory stays."""
    certs.make(folder, "replica", 3)
    context = ssl.create_default_context(cafile=str(three.certs / "ca.crt"))
    context.load_cert_chain(folder / "replica-3.crt", folder / "replica-3.key")
    leader = three.leader()
    before = leadership(three)
    message = hello(three, 3, leader.id)
    secured(leader, context, message)
    memory = rss_kib(leader)
    silent = [socket.create_connection((api.HOST, leader.peer_port)) for _ in range(300)]
    slowest = 0
    try:
        with leader.api() as a:
            until = time.monotonic() + 8
            for i in range(2000):
                assert secured(leader, context, message) == b""
                if i % 20 == 0:
                    began = time.monotonic()
                    assert a.put("meanwhile", 1, i).status in (200, 201)
                    slowest = max(slowest, time.monotonic() - began)
                if time.monotonic() > until:
                    break
            assert i > 200
    finally:
        for sock in silent:
            sock.close()
    assert slowest < 1, f"a write took {slowest:.3f} s meanwhile"
    assert rss_kib(leader) < memory + 8192
    check_unharmed(three, before)


# --- Rotation ---------------------------------------------------------------------


def expiry(replica):
    with replica.api() as a:
        return a.metric("callsign_peer_certificate_expiry_seconds")


def test_certificates_are_renewed_under_load(new_cluster):
    """First each replica's certificate, then the authority: both are trusted
    for a while, then the new one alone. No write is lost, nobody is elected."""
    cluster = new_cluster(flags=["--election-timeout-ms", "1500", "--heartbeat-ms", "100"])
    cluster.secure().start().wait_ready()
    folder, before = cluster.certs, leadership(cluster)

    def tell_all(what):
        for replica in cluster:
            told = replica.log.count(what)
            replica.signal(signal.SIGHUP)
            clusters.eventually(what, lambda r=replica, n=told: r.log.count(what) > n)

    def all_linked():
        return all(r.ask("GET", "/metrics").body.count(b"callsign_peers_connected 2\n") == 1
                   for r in cluster)
    with writers.Writers(cluster) as load:
        certs.make(folder, "replica", 1, 2, 3, days=30)
        tell_all("event=peer_reloaded")
        assert all(expiry(r) - time.time() < 31 * 86400 for r in cluster)
        load.wait_progress(50)
        new = cluster.folder / "new"
        certs.make(new, "replica", 1, 2, 3)
        old = (folder / "ca.crt").read_bytes()
        (folder / "ca.crt").write_bytes(old + (new / "ca.crt").read_bytes())
        tell_all("event=peer_reloaded")
        for replica in cluster:
            for kind in ("crt", "key"):
                shutil.copy(new / f"replica-{replica.id}.{kind}", folder)
        tell_all("event=peer_reloaded")
        clusters.eventually("links of the new certificates", all_linked)
        load.wait_progress(50)
        # Who still shows an old certificate is cut off; all show the new one once they dial.
        (folder / "ca.crt").write_bytes((new / "ca.crt").read_bytes())
        tell_all("event=peer_reloaded")
        clusters.eventually("links of the new authority alone", all_linked)
        load.wait_progress(50)
        # What is broken changes nothing.
        (folder / "replica-1.crt").write_text("rubbish")
        cluster[1].signal(signal.SIGHUP)
        clusters.eventually("it is told", lambda: "event=peer_reload_failed" in cluster[1].log)
        load.wait_progress(50)
        load.stop()
        load.check(cluster)
    assert leadership(cluster) == before or len(leadership(cluster)) == 1
    cluster.wait_same()


@pytest.mark.parametrize("spoil, says", [
    (lambda f: os.chmod(f / "replica-1.key", 0o644), "chmod 0600"),
    (lambda f: (f / "ca.crt").write_text(""), "no certificate of an authority"),
    (lambda f: shutil.copy(f / "replica-2.crt", f / "replica-1.crt"), "replica-1.crt"),
    (lambda f: [shutil.copy(f / f"replica-2.{k}", f / f"replica-1.{k}") for k in ("crt", "key")],
     "another replica's"),
    (lambda f: certs.make(f, "replica", 1, cluster="other"),
     "says URI:spiffe://callsign/callsign/replica/1")])
def test_files_that_cannot_be_used_end_the_start(folder, spoil, says):
    certs.make(folder, "replica", 1, 2)
    spoil(folder)
    replica = clusters.Replica(folder, 1, certs.peer_flags(folder, 1))
    replica.start()
    assert replica.wait_exit() == 2
    assert says in replica.log and "peer_certificate" in replica.log
