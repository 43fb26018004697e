"""Bearer tokens on real daemons: made, asked for, read again, told in the log."""

import json
import os
import re
import signal

import pytest

import api
import cluster as clusters

DOCUMENT = json.loads((clusters.TOP / "http" / "openapi.json").read_text(encoding="utf-8"))
ROLES = ["metrics", "read", "write", "admin"]
OPERATIONS = [(method.upper(), path, o) for path, item in DOCUMENT["paths"].items()
              for method, o in item.items() if method in ("get", "put", "post", "delete", "patch")]


def new_token(path, *words):
    made = clusters.run(clusters.DAEMON, "token", "new", path, *words)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def bearer(token):
    return {"Authorization": f"Bearer {token}"} if token else {}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """One replica that asks for tokens, and one token of each role."""
    folder = tmp_path_factory.mktemp("tokens")
    path = folder / "tokens"
    tokens = {role: new_token(path, f"a-{role}", role) for role in ROLES}
    with clusters.Cluster(folder, count=1, flags=["--tokens", str(path)]) as one:
        one.start()[1].wait_ready()
        yield one[1], tokens, path


def concrete(path):
    """A path of the document with something in its place holders. Nothing that
    is asked for here can do harm: what it names is not there."""
    return re.sub(r"\{(\w+)\}", "99", path)


@pytest.mark.parametrize("method, path, operation", OPERATIONS,
                         ids=[o["operationId"] for _, _, o in OPERATIONS])
def test_each_operation_needs_the_role_that_the_document_says(guarded, method, path, operation):
    replica, tokens, _ = guarded
    needed = [role for entry in operation["security"] for role in entry["token"]]
    assert len(needed) <= 1
    lowest = ROLES.index(needed[0]) if needed else -1
    assert replica.ask(method, concrete(path)).status == 401 or lowest == -1
    for i, role in enumerate(ROLES[:max(lowest, 0)]):
        answer = replica.ask(method, concrete(path), headers=bearer(tokens[role]))
        assert answer.status == 403 and i < lowest, f"{role}: {answer}"
        assert answer.code == "forbidden"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    # One that may is let in: without a body, a write is then found to be malformed.
    if method == "GET" and "watch" not in path:
        role = needed[0] if needed else None
        answer = replica.ask(method, concrete(path), headers=bearer(tokens.get(role)))
        assert answer.status not in (401, 403), answer


def test_a_stranger_changes_nothing(guarded):
    replica, tokens, _ = guarded
    body = {"name": "n", "node_id": 1, "process_id": 1}
    assert replica.ask("POST", "/api/registry", body).status == 401
    assert replica.ask("POST", "/api/registry", body, bearer(tokens["read"])).status == 403
    assert replica.ask("GET", "/api/registry/n", headers=bearer(tokens["read"])).status == 404
    assert replica.ask("POST", "/api/registry", body, bearer(tokens["write"])).status == 201
    assert replica.ask("GET", "/livez").status == replica.ask("GET", "/readyz").status == 200


def test_tokens_are_read_again(guarded):
    """A token that is added is good, one that is taken out is not, and a file
    that is damaged changes nothing. No connection is lost."""
    replica, tokens, path = guarded
    with replica.api() as kept:
        assert kept.request("GET", "/livez").status == 200
        added = new_token(path, "later", "read", "env=1")
        assert replica.ask("GET", "/api/registry", headers=bearer(added)).status == 401
        replica.signal(signal.SIGHUP)
        clusters.eventually("the token is known", lambda: replica.ask(
            "GET", "/api/registry", headers=bearer(added)).status == 200)
        lines = path.read_text().splitlines()
        path.write_text("\n".join(l for l in lines if not l.startswith("later ")) + "\nrubbish\n")
        replica.signal(signal.SIGHUP)
        clusters.eventually("the damage is told", lambda: "http_reload_failed" in replica.log)
        assert f"{path}:{len(lines)}:" in replica.log
        assert replica.ask("GET", "/api/registry", headers=bearer(added)).status == 200
        path.write_text("\n".join(l for l in lines if not l.startswith("later ")) + "\n")
        replica.signal(signal.SIGHUP)
        clusters.eventually("the token is gone", lambda: replica.ask(
            "GET", "/api/registry", headers=bearer(added)).status == 401)
        assert kept.request("GET", "/api/registry", headers=bearer(tokens["read"])).status == 200


class Waiting:
    """A stream and a poll with one token, on bare sockets."""

    def __init__(self, replica, token):
        self.stream = self._open(replica, "/api/watch", token)
        self.poll = self._open(replica, "/api/registry/n?after=0&wait=30", token)
        self.text = b""
        while b"event: synced" not in self.text:
            self.text += self.stream.recv(65536)

    @staticmethod
    def _open(replica, target, token):
        sock = api.connect(replica.http_port)
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n"
                     f"Authorization: Bearer {token}\r\n\r\n".encode())
        return sock

    def ended(self):
        """What came until the other side ended the stream."""
        while True:
            more = self.stream.recv(65536)
            self.text += more
            if not more or self.text.endswith(b"\r\n0\r\n\r\n"):
                return self.text

    def answered(self):
        return api.read_answer(self.poll.makefile("rb"))

    def close(self):
        self.stream.close()
        self.poll.close()


def test_who_watches_with_a_token_that_goes_is_ended(new_cluster, folder):
    """Taken out, or not allowed to any more: streams end in order, polls are
    refused, at once. All others go on, whatever else became of their lines."""
    path = folder / "tokens"
    tokens = {name: new_token(path, name, *words) for name, words in {
        "stays": ["read"], "goes": ["read"], "less": ["write"], "elsewhere": ["read", "env=1,2"],
        "within": ["read"], "lower": ["admin"]}.items()}
    flags = ["--tokens", str(path), "--http-threads", "2"]
    replica = new_cluster(count=1, flags=flags).start()[1]
    replica.wait_ready()
    waiting = {name: [Waiting(replica, token) for _ in range(4)] for name, token in tokens.items()}
    replica.access = api.Access(token=tokens["lower"])
    with replica.api() as a:
        clusters.eventually("all wait", lambda: a.metric("callsign_watches") == 2 * 4 * len(tokens))
    lines = {line.split()[0]: line for line in path.read_text().splitlines()}
    del lines["goes"]
    lines["less"] = lines["less"].replace(" write ", " metrics ")
    lines["elsewhere"] = lines["elsewhere"].replace("env=1,2", "env=2,3")
    lines["within"] += " env=1"
    lines["lower"] = lines["lower"].replace("lower admin ", "renamed write ")
    path.write_text("\n".join(reversed(lines.values())) + "\n")
    replica.signal(signal.SIGHUP)
    for name, status in {"goes": 401, "less": 403, "elsewhere": 403}.items():
        for one in waiting.pop(name):
            assert one.ended().endswith(b"\nretry: 1000\n\n\r\n0\r\n\r\n")
            answer = one.answered()
            assert answer.status == status and "WWW-Authenticate" in answer.headers
            one.close()
    clusters.eventually("it is told", lambda: sum(
        map(int, re.findall(r"event=watches_revoked watches=(\d+)", replica.log))) == 2 * 3 * 4)
    assert replica.ask("PUT", "/api/registry/n", {"node_id": 1, "process_id": 1}).status == 201
    for one in sum(waiting.values(), []):
        assert one.answered().status == 200
        while b'"name":"n"' not in one.text:
            more = one.stream.recv(65536)
            assert more
            one.text += more
        one.close()


def test_a_watch_does_not_begin_with_a_token_that_went(new_cluster, folder):
    """It was let in, and waits for a revision, when its token is taken out."""
    path = folder / "tokens"
    kept, goes = new_token(path, "kept", "write"), new_token(path, "goes", "read")
    flags = ["--tokens", str(path), "--request-timeout-ms", "20000"]
    replica = new_cluster(count=1, flags=flags).start()[1]
    replica.access = api.Access(token=kept)
    replica.wait_ready()
    with api.connect(replica.http_port) as sock, replica.api() as a:
        before = a.metric("callsign_requests_waiting")
        sock.sendall(f"GET /api/watch?after=1 HTTP/1.1\r\nHost: a\r\n"
                     f"Authorization: Bearer {goes}\r\n\r\n".encode())
        clusters.eventually("it waits", lambda: a.metric("callsign_requests_waiting") > before)
        path.write_text("".join(l for l in path.read_text().splitlines(True) if "goes" not in l))
        replica.signal(signal.SIGHUP)
        clusters.eventually("the token is gone", lambda: a.request(
            "GET", "/metrics", headers=bearer(goes)).status == 401)
        assert a.put("n", 1, 1).status == 201
        assert api.read_answer(sock.makefile("rb")).status == 401


@pytest.mark.parametrize("mode, text, says", [
    (0o644, "", "chmod 0600"), (0o600, "a read\n", "tokens:1:"), (None, None, "No such file")])
def test_a_file_that_cannot_be_used_ends_the_start(folder, mode, text, says):
    path = folder / "tokens"
    if text is not None:
        path.write_text(text)
        os.chmod(path, mode)
    replica = clusters.Replica(folder, 1, ["--tokens", str(path)])
    replica.start()
    assert replica.wait_exit() == 2
    assert says in replica.log and "http_port" in replica.log


def test_the_command_says_what_is_wrong(folder):
    path = folder / "tokens"
    for words in (["token"], ["token", "old", path], ["token", "new"], ["token", "new", path],
                  ["token", "new", path, "a", "owner"], ["token", "new", path, "a b", "read"],
                  ["token", "new", path, "a", "admin", "node=1"],
                  ["token", "new", folder / "none" / "tokens", "a", "read"]):
        done = clusters.run(clusters.DAEMON, *words)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, words
    assert not path.exists()
