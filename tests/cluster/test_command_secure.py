"""The command over HTTPS with tokens: who is let in, and what it says of the rest."""

import json
import os
import socket
import ssl
import subprocess
import threading

import pytest

import api
import certs
import cluster as clusters
from command import DONE, NOT_FOUND, UNAVAILABLE, UNKNOWN, USAGE, callsign, url

WRITE = ("put", "n", "1", "2", "--timeout", "3")
READ = ("get", "n", "--timeout", "3")


class Guarded:
    """Three replicas that speak HTTPS and ask for tokens, and those tokens in files."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster
        self.ca = str(cluster.certs / "ca.crt")

    def token(self, role, *bound):
        path = self.folder / "-".join(["token", role, *bound]).replace("=", "-")
        if not path.exists():
            path.write_text(certs.new_token(clusters.DAEMON, self.cluster.certs / "tokens",
                                            path.name, role, *bound) + "\n")
        return str(path)

    def ask(self, *arguments, ca=None, token="admin", endpoints=None, **more):
        more["endpoints"] = self.cluster if endpoints is None else endpoints
        if token is not None:
            arguments += ("--token-file", token if "/" in token else self.token(token))
        return callsign(*arguments, "--ca", ca or self.ca, **more)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    calm = ["--election-timeout-ms", "1500", "--heartbeat-ms", "100"]
    with clusters.Cluster(folder, flags=calm).secure() as cluster:
        one = Guarded(folder, cluster)
        for words in (["admin"], ["read"], ["write"], ["metrics"], ["write", "env=7"]):
            one.token(*words)
        cluster.start().wait_ready()
        yield one


def outcome(shown):
    told = json.loads(shown.stdout)
    return shown.returncode, told.get("code"), told.get("message", "")


def test_who_has_all_is_let_in(guarded):
    assert guarded.ask(*WRITE, token="write").returncode == DONE
    assert guarded.ask(*READ, token="read").stdout.startswith("1\t2\t")
    assert guarded.ask("get", "nobody", token="read").returncode == NOT_FOUND
    by_variable = guarded.ask(*READ, token=None,
                              env={"CALLSIGN_TOKEN_FILE": guarded.token("read")})
    assert by_variable.returncode == DONE
    state = json.loads(guarded.ask("status", "--json").stdout)
    assert state["health"] == "ok"
    to = next(r for r in guarded.cluster if r.id != state["leader"])
    assert guarded.ask("member", "lead", to.id).returncode == DONE
    assert guarded.ask("remove", "n").returncode == DONE


@pytest.mark.parametrize("token, code", [(None, "unauthorized"), ("wrong", "unauthorized"),
                                         ("metrics", "forbidden"), ("read", "forbidden"),
                                         ("write env=7", "forbidden")])
def test_who_may_not_write_has_surely_not_written(guarded, token, code):
    if token == "wrong":
        (guarded.folder / "wrong").write_text("cs_" + "0" * 43 + "\n")
        token = str(guarded.folder / "wrong")
    elif token is not None:
        token = guarded.token(*token.split())
    refused = guarded.ask("put", "never", 1, 2, "--json", token=token)
    assert outcome(refused)[:2] == (USAGE, code), refused.stdout
    assert guarded.ask("get", "never").returncode == NOT_FOUND
    plain = guarded.ask("put", "never", 1, 2, token=token)
    assert plain.returncode == USAGE and plain.stdout == "" and plain.stderr.count("\n") == 1


def test_a_token_for_one_environment(guarded):
    bound = guarded.token("write", "env=7")
    assert guarded.ask("put", "mine", 1, 2, "--env", 7, token=bound).returncode == DONE
    assert guarded.ask("get", "mine", "--env", 7, token=bound).returncode == DONE
    assert outcome(guarded.ask("get", "mine", "--json", token=bound))[:2] == (USAGE, "forbidden")


def test_admins_only(guarded):
    for command in (["member", "remove", "3"], ["member", "lead", "2"],
                    ["member", "add", "4", "a:1", "a:2"]):
        refused = guarded.ask(*command, "--json", token="write")
        assert outcome(refused)[:2] == (USAGE, "forbidden")


def test_a_file_that_is_not_there(guarded):
    for more in (["--token-file", "/nonexistent"], ["--token-file", os.devnull]):
        assert guarded.ask(*READ, *more, token=None).returncode == USAGE
    for ca, *more in (["/nonexistent"], [guarded.ca, "--cert", "/nonexistent"],
                      [guarded.ca, "--cert", guarded.ca, "--key", "/nonexistent"]):
        missing = guarded.ask(*WRITE, *more, ca=ca)
        assert missing.returncode == USAGE and "/nonexistent: No such file" in missing.stderr
    rubbish = guarded.ask(*WRITE, ca=guarded.token("read"))
    assert rubbish.returncode == UNAVAILABLE, "found when it is used"


def self_signed(folder, name, *more):
    """Somebody else's authority, or a certificate that nothing is wrong with but `more`."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / f"{name}.key", "-out",
                    folder / f"{name}.crt", "-subj", "/CN=somebody", *more],
                   check=True, capture_output=True)
    os.chmod(folder / f"{name}.key", 0o600)
    return str(folder / f"{name}.crt")


def test_a_server_that_is_not_trusted(guarded):
    """Nothing was sent, the token least of all: the write surely has not happened."""
    for command in (WRITE, READ):
        shown = guarded.ask(*command, "--json", ca=self_signed(guarded.folder, "other"))
        status, code, message = outcome(shown)
        assert (status, code) == (UNAVAILABLE, "unreachable")
        assert "certificate" in message.lower()
        # By default whom the system trusts, which is none of ours.
        by_system = callsign(*command, endpoints=guarded.cluster)
        assert by_system.returncode == UNAVAILABLE


def expired(folder):
    """A certificate of the folder's authority whose time is over."""
    certs.make(folder, "http", "localhost", api.HOST)
    (folder / "index").write_text("")
    (folder / "conf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nserial={folder}/serial\n"
        f"new_certs_dir={folder}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n"
                                "extendedKeyUsage=serverAuth\n")
    run = {"check": True, "capture_output": True}
    subprocess.run(["openssl", "req", "-new", "-key", folder / "http.key", "-subj", "/CN=localhost",
                    "-out", folder / "http.csr"], **run)
    subprocess.run(["openssl", "ca", "-batch", "-config", folder / "conf", "-cert",
                    folder / "ca.crt", "-keyfile", folder / "ca.key", "-in", folder / "http.csr",
                    "-out", folder / "http.crt", "-startdate", "200101000000Z", "-enddate",
                    "210101000000Z", "-extfile", folder / "ext", "-create_serial", "-notext"],
                   **run)


@pytest.mark.parametrize("what", ["expired", "of another host"])
def test_a_certificate_that_is_not_good(folder, what):
    if what == "expired":
        expired(folder)
    else:
        certs.make(folder, "http", "elsewhere.example")
    replica = clusters.Replica(folder, 1, certs.http_flags(folder))
    replica.access = certs.access(folder)
    replica.access.context.check_hostname = False
    replica.access.context.verify_mode = ssl.CERT_NONE
    replica.start()
    try:
        replica.wait_ready()
        for command in (WRITE, READ):
            shown = callsign(*command, "--ca", folder / "ca.crt", endpoints=[replica])
            assert shown.returncode == UNAVAILABLE, shown
        assert replica.ask("GET", "/api/registry/n").status == 404
    finally:
        replica.kill()


def test_the_wrong_scheme(guarded):
    """HTTP to a port that speaks TLS was sent, and nobody knows to whom; the other
    way round the handshake fails, before anything is sent."""
    plain = url(guarded.cluster[1]).replace("https", "http")
    assert guarded.ask(*WRITE, "--endpoint", plain, endpoints=[]).returncode == UNKNOWN
    assert guarded.ask(*READ, "--endpoint", plain, endpoints=[]).returncode == UNAVAILABLE
    assert guarded.ask("get", "n", endpoints=[guarded.cluster[1]]).returncode == NOT_FOUND


def test_https_to_a_plain_port(folder):
    replica = clusters.Replica(folder, 1)
    replica.start()
    try:
        replica.wait_ready()
        secure = url(replica).replace("http", "https")
        for command in (WRITE, READ):
            assert callsign(*command, "--endpoint", secure).returncode == UNAVAILABLE
        assert callsign("get", "n", endpoints=[replica]).returncode == NOT_FOUND
    finally:
        replica.kill()


def test_a_replica_that_sleeps(guarded):
    """Over TLS too a write that was sent and not answered is unknown."""
    sleeper = guarded.cluster.followers()[0]
    awake = [r for r in guarded.cluster if r is not sleeper]
    sleeper.pause()
    try:
        moved = guarded.ask("put", "slept", 1, 2, "--timeout", 6, endpoints=[sleeper, *awake])
        assert moved.returncode == DONE, "the next endpoint"
        # The handshake does not get through, so that nothing was sent.
        assert guarded.ask(*WRITE, endpoints=[sleeper]).returncode == UNAVAILABLE
    finally:
        sleeper.resume()
    assert guarded.ask("get", "slept").stdout.startswith("1\t2\t")


class Gate:
    """A TLS server that lets in who has a certificate, as a proxy in front of replicas
    may, and answers everything alike."""

    ANSWER = b'{"node_id":3,"process_id":42,"name":"n","env_id":1,"revision":9}'

    def __init__(self, folder):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "http.crt", folder / "http.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        # With 1.3 a client learns of a refusal only after it has sent its request.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.port = clusters.free_port()
        self.requests = []
        self._listener = socket.create_server((api.HOST, self.port))
        self._context = context
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._thread.join(0.1)

    def _run(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(raw, server_side=True) as sock:
                    sock.settimeout(5)
                    self.requests.append(sock.recv(65536))
                    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                 b"Content-Length: %d\r\n\r\n" % len(self.ANSWER) + self.ANSWER)
            except OSError:
                raw.close()


def test_a_client_certificate(folder):
    """Daemons ask for tokens; what stands in front of them may ask for this."""
    certs.make(folder, "http", "localhost", api.HOST)
    certs.make(folder, "replica", 1)  # of the same authority, and for clients
    both = folder / "both.pem"
    both.write_bytes((folder / "replica-1.crt").read_bytes() +
                     (folder / "replica-1.key").read_bytes())
    stranger = self_signed(folder, "stranger", "-addext", "extendedKeyUsage=clientAuth")
    with Gate(folder) as gate:
        ask = ["--ca", folder / "ca.crt", "--endpoint", f"https://{api.HOST}:{gate.port}"]
        good = ["--cert", folder / "replica-1.crt", "--key", folder / "replica-1.key"]
        for more in (good, ["--cert", both]):
            shown = callsign(*READ, *ask, *more)
            assert shown.returncode == DONE and shown.stdout.startswith("3\t42\t9\t"), shown
        assert len(gate.requests) == 2
        for more in ([], ["--cert", stranger, "--key", stranger.replace(".crt", ".key")],
                     ["--cert", folder / "replica-1.crt", "--key", folder / "http.key"]):
            for command in (WRITE, READ):
                shown = callsign(*command, *ask, *more)
                assert shown.returncode == UNAVAILABLE, (more, shown)
        assert len(gate.requests) == 2, "nobody else got as far as a request"
