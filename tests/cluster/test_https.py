"""HTTPS on real daemons: which versions, which certificate, exchanged without a pause."""

import concurrent.futures
import os
import signal
import socket
import ssl
import time

import pytest

import api
import certs
import cluster as clusters
import watch


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """One replica behind TLS that asks for tokens, and the folder with its certificates."""
    folder = tmp_path_factory.mktemp("https")
    certs.make(folder, "http", "localhost", api.HOST)
    token = certs.new_token(clusters.DAEMON, folder / "tokens", "test", "admin")
    flags = [*certs.http_flags(folder), "--tokens", str(folder / "tokens")]
    with clusters.Cluster(folder, count=1, flags=flags) as one:
        one[1].access = certs.access(folder, token)
        one.start()[1].wait_ready()
        yield one[1], folder


def shake_hands(replica, context):
    """The session of a new connection."""
    raw = socket.create_connection((api.HOST, replica.http_port), timeout=10)
    return context.wrap_socket(raw, server_hostname=api.HOST)


def serial(replica, folder):
    with shake_hands(replica, certs.client(folder)) as sock:
        return sock.getpeercert()["serialNumber"]


def test_what_works_without_works_with(secure):
    replica, _ = secure
    with replica.api() as a:
        assert a.put("n", 1, 2).status == 201
        assert a.get("n").json()["process_id"] == 2
        assert a.request("GET", "/api/registry").json()["entries"][0]["name"] == "n"
        big = "x" * 1000
        assert all(a.put(f"{big}{i:03}", 1, i).status == 201 for i in range(200))
        page = a.request("GET", "/api/registry?limit=1000").json()
        assert len(page["entries"]) > 100, "an answer of many records"
        assert a.remove("n").status == 200
    wrong = {"Authorization": "Bearer no"}
    assert replica.ask("GET", "/api/registry/n", headers=wrong).status == 401


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_versions_that_are_taken(secure, version):
    replica, folder = secure
    context = certs.client(folder)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with shake_hands(replica, context) as sock:
        assert sock.version() == version.replace("_", ".")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_streams(secure, version):
    replica, folder = secure
    context = certs.client(folder)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    access = api.Access(context, replica.access.token)
    with watch.Stream(replica.http_port, access=access) as stream, replica.api() as a:
        watch.check_sizes(stream, a)


def test_older_versions_are_refused(secure):
    replica, folder = secure
    context = certs.client(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        shake_hands(replica, context)


def test_who_speaks_plain_http_or_nonsense_gets_nothing(secure):
    replica, folder = secure
    for message in (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", bytes(1000), os.urandom(1000),
                    bytes.fromhex("160303ffff") + bytes(70000)):
        with api.connect(replica.http_port) as sock:
            try:
                sock.sendall(message)
                sock.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: sock.recv(4096), b""))
            except OSError:
                answer = b""
        assert b"HTTP" not in answer and len(answer) < 64
    assert replica.ask("GET", "/livez").status == 200


def test_many_in_parallel(secure):
    """More connections than libmicrohttpd reports at once, each with its handshake."""
    replica, _ = secure

    def ask(i):
        with replica.api() as a:
            return [a.put(f"p{i}", 1, i).status] + [a.get(f"p{i}").status for _ in range(5)]
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        for statuses in pool.map(ask, range(400)):
            assert statuses == [201] + [200] * 5


def test_the_certificate_is_exchanged_without_a_pause(secure):
    replica, folder = secure
    before = serial(replica, folder)
    with replica.api() as kept:
        assert kept.get("p0").status in (200, 404)
        certs.make(folder, "http", "localhost", api.HOST)
        assert serial(replica, folder) == before  # nobody has said so yet
        replica.signal(signal.SIGHUP)
        clusters.eventually("the new one is shown", lambda: serial(replica, folder) != before)
        assert kept.get("p0").status in (200, 404), "an open connection goes on"
        # A key that is another's: what was there stays.
        key = (folder / "http.key").read_bytes()
        after = serial(replica, folder)
        certs.make(folder, "http", "elsewhere")
        (folder / "http.key").write_bytes(key)
        replica.signal(signal.SIGHUP)
        clusters.eventually("it is told", lambda: "http_reload_failed" in replica.log)
        assert serial(replica, folder) == after
        assert kept.get("p0").status in (200, 404)
    with replica.api() as a:
        expiry = a.metric("callsign_http_certificate_expiry_seconds")
    assert 364 * 86400 < expiry - time.time() < 366 * 86400


@pytest.mark.parametrize("spoil, says", [
    (lambda f: os.chmod(f / "http.key", 0o644), "chmod 0600"),
    (lambda f: (f / "http.key").unlink(), "No such file"),
    (lambda f: (f / "http.crt").write_text("none"), "no certificate"),
    (lambda f: (f / "http.key").write_text("none"), "no private key"),
    (lambda f: (f / "http.crt").write_bytes((f / "ca.crt").read_bytes()), "the key")])
def test_files_that_cannot_be_used_end_the_start(folder, spoil, says):
    certs.make(folder, "http", api.HOST)
    spoil(folder)
    replica = clusters.Replica(folder, 1, certs.http_flags(folder))
    replica.start()
    assert replica.wait_exit() == 2
    assert says in replica.log


def test_key_and_certificate_in_one_file(folder):
    certs.make(folder, "http", api.HOST)
    both = folder / "both.pem"
    both.touch(0o600)
    both.write_bytes((folder / "http.key").read_bytes() + (folder / "http.crt").read_bytes())
    replica = clusters.Replica(folder, 1, ["--http-cert", str(both)])
    replica.access = certs.access(folder)
    replica.start()
    replica.wait_ready()
    replica.kill()


def test_beyond_loopback_it_takes_both():
    """TLS and tokens, or --insecure."""
    def check(*flags):
        return clusters.run(clusters.DAEMON, "--check-config", "--http", "0.0.0.0:8101", *flags)
    for flags in ([], ["--http-cert", "a"], ["--tokens", "a"]):
        refused = check(*flags)
        assert refused.returncode == 2
        for word in ("--http-cert", "--tokens", "--insecure"):
            assert word in refused.stderr
    assert check("--http-cert", "a", "--tokens", "b").returncode == 0
    assert check("--insecure").returncode == 0
