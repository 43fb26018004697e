"""Starting and stopping a daemon: options, signals, and what it refuses."""

import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import api
import cluster as clusters

EXIT_CONFIG = 2


def daemon(*arguments, cwd=None, env=None):
    """The daemon to its end. Variables of the environment are added to ours."""
    return clusters.run(clusters.DAEMON, *arguments, cwd=cwd, env={**os.environ, **(env or {})})


def effective(text):
    """What --check-config printed, as a dict."""
    pairs = (line.split(" = ", 1) for line in text.splitlines() if not line.startswith("#"))
    return dict(pairs)


# --- Options ------------------------------------------------------------------


def test_help_and_version():
    shown = daemon("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    for flag in ("--id", "--data-dir", "--peer", "--http", "--initial-cluster", "--insecure"):
        assert flag in shown.stdout
    version = daemon("--version")
    assert version.returncode == 0
    assert re.fullmatch(r"callsignd \d+\.\d+\.\d+\S*\n", version.stdout)


def test_check_config_prints_what_counts(folder):
    """A flag beats the environment, the environment the file, the file the default."""
    conf = folder / "callsignd.conf"
    conf.write_text("# a comment\nid = 2\nheartbeat-ms = 20\nlog-level = debug\n")
    shown = daemon("--config", conf, "--check-config", "--log-level", "error",
                   env={"CALLSIGN_LOG_LEVEL": "warn", "CALLSIGN_HEARTBEAT_MS": "30"})
    assert shown.returncode == 0, shown.stderr
    values = effective(shown.stdout)
    assert (values["id"], values["heartbeat-ms"], values["log-level"]) == ("2", "30", "error")
    assert values["http"] == "127.0.0.1:8101"
    again = folder / "again.conf"
    again.write_text(shown.stdout)
    assert effective(daemon("--config", again, "--check-config").stdout) == values


@pytest.mark.parametrize("arguments,says", [
    (["--bogus"], "bogus"),
    (["word"], "word"),
    (["--id", "0"], "id"),
    (["--id", "x"], "x"),
    (["--id", "9223372036854775808"], "9223372036854775808"),
    (["--http", "127.0.0.1"], "127.0.0.1"),
    (["--http", "127.0.0.1:99999"], "99999"),
    (["--heartbeat-ms", "300"], "heartbeat"),
    (["--log-level", "loud"], "loud"),
    (["--initial-cluster", "1=127.0.0.1:7101,1=127.0.0.1:7102"], "1"),
    (["--id", "4", "--initial-cluster", "1=127.0.0.1:7101,2=127.0.0.1:7102"], "4"),
    (["--http", "0.0.0.0:8101"], "insecure"),
    (["--peer", "0.0.0.0:7101"], "insecure"),
    (["--http", "[::]:8101"], "insecure"),
    (["--config", "/nonexistent/callsignd.conf"], "/nonexistent/callsignd.conf"),
])
def test_wrong_options_are_one_clear_line(folder, arguments, says):
    for more in ([], ["--check-config"]):
        shown = daemon(*arguments, *more, cwd=folder)
        assert shown.returncode == EXIT_CONFIG
        assert says in shown.stderr
        assert shown.stderr.count("\n") == 1
    assert not (folder / "callsign-data").exists(), "a wrong start leaves nothing behind"


@pytest.mark.parametrize("text,says", [
    ("bogus = 1\n", "bogus"), ("id = 1\nid = 2\n", ":2"), ("[section]\n", ":1"), ("id\n", ":1"),
    ("id = x\n", ":1"), ("http = 0.0.0.0:8101\n", "insecure"),
])
def test_wrong_files_name_the_line(folder, text, says):
    conf = folder / "callsignd.conf"
    conf.write_text(text)
    shown = daemon("--config", conf, "--check-config")
    assert shown.returncode == EXIT_CONFIG
    assert says in shown.stderr and (str(conf) in shown.stderr or says == "insecure")


def test_insecure_lets_other_addresses_in():
    assert daemon("--insecure", "--http", "0.0.0.0:8101", "--check-config").returncode == 0


def test_the_sample_configuration_is_valid():
    sample = clusters.TOP / "deploy" / "callsignd.conf"
    shown = daemon("--config", sample, "--check-config")
    assert shown.returncode == 0, shown.stderr
    known = effective(shown.stdout)
    mentioned = set(re.findall(r"^#? ?([a-z-]+) = ", sample.read_text(), re.M))
    assert mentioned == set(known), "the sample has every key and no other"
    defaults = effective(daemon("--check-config").stdout)
    for key, value in re.findall(r"^# ([a-z-]+) = (.*)$", sample.read_text(), re.M):
        # What is empty shows an example.
        if key != "initial-cluster" and defaults[key] != "":
            assert defaults[key] == value, f"{key} is commented out with another default"


def test_configured_by_file_and_environment(folder):
    replica = clusters.Replica(folder, 1)
    conf = folder / "callsignd.conf"
    conf.write_text(f"data-dir = {replica.data_dir}\npeer = {replica.peer_address}\n")
    env = {**os.environ, "CALLSIGN_CONFIG": str(conf),
           "CALLSIGN_HTTP": f"{api.HOST}:{replica.http_port}"}
    with open(replica.log_path, "wb") as log:
        replica.process = subprocess.Popen([clusters.DAEMON], env=env, stdout=log, stderr=log)
    try:
        replica.wait_ready()
        assert replica.ask("POST", "/api/registry",
                           {"name": "n", "node_id": 1, "process_id": 2}).status == 201
        assert replica.terminate() == 0
    finally:
        if replica.running:
            replica.kill()


def test_no_flag_at_all(folder):
    """In a network namespace of its own, where the default ports are free."""
    script = """
        ip link set lo up || exit 77
        "$DAEMON" 2>log & daemon=$!
        for _ in $(seq 100); do
            "$COMMAND" put my/name 3 42 --timeout 20 && break
            sleep 0.1
        done
        "$COMMAND" get my/name || exit 1
        kill $daemon
        wait $daemon
    """
    probe = clusters.run("unshare", "--net", "ip", "link", "set", "lo", "up")
    if probe.returncode != 0:
        pytest.skip("no network namespaces here: needs root")
    shown = clusters.run("unshare", "--net", "sh", "-c", script, cwd=folder, timeout=60,
                         env={**os.environ, "DAEMON": str(clusters.DAEMON),
                              "COMMAND": str(clusters.COMMAND)})
    assert shown.returncode == 0, shown.stderr + (folder / "log").read_text()
    assert shown.stdout.splitlines()[-1].startswith("3\t42\t")
    assert (folder / "callsign-data").is_dir()
    assert (folder / "callsign-data").stat().st_mode & 0o777 == 0o700


def test_an_address_in_use_is_a_clear_message(folder):
    replica = clusters.Replica(folder, 1)
    for port in (replica.http_port, replica.peer_port):
        with socket.socket() as taken:
            taken.bind((api.HOST, port))
            taken.listen()
            replica.start()
            assert replica.wait_exit() > 0
            assert str(port) in replica.log
            assert "in use" in replica.log
    replica.start()
    replica.wait_ready()
    assert replica.terminate() == 0


# --- Stopping -----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(new_cluster, number):
    cluster = new_cluster().start().wait_ready()
    with cluster[1].api() as a:
        revision = a.put("n", 1, 2).revision
    for replica in cluster:
        replica.signal(number)
    for replica in cluster:
        assert replica.wait_exit(10) == 0
    cluster.start().wait_ready()
    with cluster[2].api() as a:
        answer = a.get("n")
        assert answer.status == 200 and answer.revision == revision


def test_stopping_the_leader_hands_over(new_cluster):
    """Nobody waits for an election timeout, which is made long here."""
    flags = ["--election-timeout-ms", "3000", "--heartbeat-ms", "100"]
    cluster = new_cluster(flags=flags).start().wait_ready(60)
    leader = cluster.leader()
    others = [r for r in cluster if r is not leader]
    leader.signal(signal.SIGTERM)
    clusters.eventually("another one leads", lambda: any(
        r.state().get("state") == "leader" for r in others), 2.5)
    assert leader.wait_exit(10) == 0


def test_open_requests_are_answered_and_it_ends_in_time(new_cluster):
    """Idle connections, half a request, and writes that wait for a quorum."""
    cluster = new_cluster().start().wait_ready()
    leader = cluster.leader()
    idle = [api.connect(leader.http_port) for _ in range(20)]
    halves = [api.connect(leader.http_port) for _ in range(5)]
    for sock in halves:
        sock.sendall(b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
    for replica in cluster:
        if replica is not leader:
            replica.pause()
    waiting = [api.connect(leader.http_port) for _ in range(5)]
    for i, sock in enumerate(waiting):
        sock.sendall(api.post_bytes(f"waits/{i}", 1, i))
    with leader.api() as a:
        clusters.eventually("the writes wait",
                            lambda: a.metric("callsign_requests_waiting") >= 5)
    leader.signal(signal.SIGTERM)
    answers = []

    def read(sock):
        answers.append(api.read_answer(sock.makefile("rb")))

    readers = [threading.Thread(target=read, args=(sock,)) for sock in waiting]
    for reader in readers:
        reader.start()
    assert leader.wait_exit(10) == 0
    for reader in readers:
        reader.join(10)
    assert len(answers) == 5 and None not in answers
    assert {a.status for a in answers} <= {503, 504}
    for sock in idle + halves + waiting:
        sock.close()


def test_requests_while_stopping_are_refused_not_dropped(new_cluster):
    """A busy keep-alive connection sees answers, then 503 or an orderly end."""
    cluster = new_cluster().start().wait_ready()
    victim = cluster.followers()[0]
    statuses = []

    def load():
        with victim.api() as a:
            for i in range(1000000):
                try:
                    statuses.append(a.put(f"stop/{i}", 1, i).status)
                except (api.Lost, api.NotSent):
                    return

    thread = threading.Thread(target=load)
    thread.start()
    clusters.eventually("the load runs", lambda: len(statuses) > 100)
    assert victim.terminate(10) == 0
    thread.join(10)
    assert set(statuses) <= {201, 503}
