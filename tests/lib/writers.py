"""Clients that write all the time and remember what became of each write.

What a writer knows afterwards is exactly what a careful client may conclude:
acknowledged (2xx), refused (503: surely not applied) or unknown (504, or no
answer). Anything else is a failure of the daemon.
"""

import itertools
import threading

import api
import cluster as clusters


_numbers = itertools.count(1)  # writers that come later write other names


class Writer(threading.Thread):
    """Registers name after name through one replica, each name once."""

    def __init__(self, replica):
        super().__init__(daemon=True)
        self.replica = replica
        self.number = next(_numbers)
        self.acked = {}  # name -> (process_id, revision)
        self.refused = {}
        self.unknown = {}
        self.wrong = []  # answers no client has to expect
        self._stopping = threading.Event()

    def run(self):
        connection = self.replica.api(timeout=10)
        serial = 0
        while not self._stopping.is_set():
            serial += 1
            name = f"writer-{self.number}/{serial}"
            process_id = self.number << 32 | serial
            try:
                answer = connection.put(name, self.number, process_id)
            except api.NotSent:
                self.refused[name] = process_id
                self._stopping.wait(0.02)  # a dead replica costs no CPU
                continue
            except api.Lost:
                self.unknown[name] = process_id
                continue
            if answer.status == 201:
                self.acked[name] = (process_id, answer.json()["revision"])
            elif answer.status == 503:
                self.refused[name] = process_id
                self._stopping.wait(0.01)
            elif answer.status == 504 and answer.code == "outcome_unknown":
                self.unknown[name] = process_id
            else:
                self.wrong.append((name, answer))
        connection.close()

    def stop(self):
        self._stopping.set()


class Writers:
    """Some writers at each replica of a cluster; a context manager."""

    def __init__(self, cluster, per_replica=2):
        self.all = [Writer(replica) for replica in cluster for _ in range(per_replica)]

    def __enter__(self):
        for writer in self.all:
            writer.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for writer in self.all:
            writer.stop()
        for writer in self.all:
            writer.join(30)
            assert not writer.is_alive(), f"a request at replica {writer.replica.id} hangs"

    def through(self, replica):
        return [w for w in self.all if w.replica is replica]

    def wait_progress(self, count, replicas=None, timeout=clusters.WAIT_S):
        """Until the writers at each of these replicas have had `count` more
        writes acknowledged."""
        for replica in replicas or {w.replica for w in self.all}:
            mine = self.through(replica)
            target = sum(len(w.acked) for w in mine) + count
            clusters.eventually(f"{count} more writes through replica {replica.id}",
                                lambda: sum(len(w.acked) for w in mine) >= target, timeout)

    def merged(self, kind):
        return {k: v for w in self.all for k, v in getattr(w, kind).items()}

    def check(self, replicas):
        """Holds what the writers know against what each replica says."""
        acked, refused, unknown = (self.merged(k) for k in ("acked", "refused", "unknown"))
        assert [w.wrong for w in self.all if w.wrong] == []
        assert acked
        revisions = [revision for _, revision in acked.values()]
        assert len(set(revisions)) == len(revisions), "a revision was given twice"
        for writer in self.all:
            own = [revision for _, revision in writer.acked.values()]
            assert own == sorted(own), "revisions went back"
        # The first is asked for the latest there is, the others for what was
        # answered by now, from their own state.
        suffix = b""
        for replica in replicas:
            self._check_replica(replica, suffix, acked, refused, unknown)
            suffix = b"?at_least=%d" % max(revisions)
        return len(acked), len(refused), len(unknown)

    @staticmethod
    def _check_replica(replica, suffix, acked, refused, unknown):
        def ask(names):
            requests = [b"GET /api/registry/%s%s HTTP/1.1\r\nHost: a\r\n\r\n"
                        % (api.quote(n).encode(), suffix) for n in names]
            return zip(names, api.pipeline(replica.http_port, requests, access=replica.access))

        for name, answer in ask(list(acked)):
            process_id, revision = acked[name]
            assert answer.status == 200, f"lost at replica {replica.id}: {name} {answer}"
            entry = answer.json()
            assert (entry["process_id"], entry["revision"]) == (process_id, revision)
        for name, answer in ask(list(refused)):
            assert answer.status == 404, f"refused, but applied: {name} {answer}"
        for name, answer in ask(list(unknown)):
            assert answer.status in (200, 404), (name, answer)
            if answer.status == 200:
                assert answer.json()["process_id"] == unknown[name]


class Register:
    """One writer that counts upwards in one entry, and readers at each
    replica. A linearizable read that began after a value was acknowledged must
    see that value or a later one. After an unknown outcome the writer moves to
    another name, as the old write may still come."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.latest = ("register/0", 0, 0)  # name, value and revision acknowledged last
        self.acked = 0
        self.reads = 0
        self.violations = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write, daemon=True)]
        self._threads += [threading.Thread(target=self._read, args=(r,), daemon=True)
                          for r in cluster for _ in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def wait_progress(self, count):
        target = self.acked + count
        clusters.eventually(f"{count} more writes", lambda: self.acked >= target)

    def _write(self):
        epoch = value = turn = 0
        name = "register/0"
        connections = [r.api(timeout=5) for r in self.cluster]
        while not self._stopping.is_set():
            try:
                answer = connections[turn % len(connections)].put(name, 1, value + 1)
                status = answer.status
            except api.NotSent:
                status = 503
            except api.Lost:
                status = 504
            if status in (200, 201):
                value += 1
                self.latest = (name, value, answer.json()["revision"])
                self.acked += 1
                continue
            turn += 1
            self._stopping.wait(0.01)
            if status != 503:
                epoch, value = epoch + 1, 0
                name = f"register/{epoch}"

    def _read(self, replica):
        connection = replica.api(timeout=20)
        while not self._stopping.is_set():
            name, value, revision = self.latest
            if value == 0:
                continue
            try:
                answer = connection.get(name)
            except (api.NotSent, api.Lost):
                self._stopping.wait(0.01)
                continue
            if answer.status in (503, 504):
                self._stopping.wait(0.01)
            elif (answer.status != 200 or answer.json()["process_id"] < value
                  or answer.revision < revision):
                self.violations.append((replica.id, name, value, answer))
            else:
                self.reads += 1


def bulk(replicas, requests, lanes=16, until=lambda: False):
    """Sends requests over many connections, which a replica answers in
    batches; the answers, without order. Ends early when `until` says so."""
    answers = []

    def lane(number):
        mine = requests[number::lanes]
        replica = replicas[number % len(replicas)]
        for answer in api.pipeline(replica.http_port, mine, window=16, access=replica.access):
            answers.append(answer)
            if until():
                return

    threads = [threading.Thread(target=lane, args=(i,)) for i in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def read_until(replica, name, wanted, timeout=clusters.WAIT_S):
    """Reads until the entry has the process id `wanted`."""
    def there():
        try:
            answer = replica.ask("GET", f"/api/registry/{api.quote(name)}")
        except (api.NotSent, api.Lost):
            return False
        return answer.status == 200 and answer.json()["process_id"] == wanted
    clusters.eventually(f"{name} is {wanted} at replica {replica.id}", there, timeout)
