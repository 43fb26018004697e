"""Event streams: one connection, and a follower that resumes through many."""

import contextlib
import http.client
import json
import socket
import threading
import time

import api


class Event:
    """One event; id is None where it has none."""

    def __init__(self, kind, data, event_id):
        self.kind = kind
        self.data = data
        self.id = event_id

    def __repr__(self):
        return f"<{self.kind} {self.data} id={self.id}>"


class Refused(Exception):
    """Answered, but not with a stream."""


class Stream:
    """GET /api/watch on a connection of its own. Iterating yields its events
    until the other side ends it (or times out: api.Lost)."""

    def __init__(self, port, query="", after=None, timeout=api.TIMEOUT_S, access=api.Access()):
        self.connection = access.connection(port, timeout)
        headers = access.headers({} if after is None else {"Last-Event-ID": str(after)})
        try:
            self.connection.request("GET", f"/api/watch{query and '?' + query}", headers=headers)
            self.response = self.connection.getresponse()
            if self.response.status != 200:
                raise Refused(f"{self.response.status} {self.response.read()!r}")
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise api.Lost(repr(error)) from error

    def close(self):
        self.connection.close()
        self.response.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        fields = {}
        while True:
            try:
                line = self.response.readline()
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                raise api.Lost(repr(error)) from error
            if not line:
                raise StopIteration
            line = line.decode().rstrip("\n")
            if line:
                field, _, value = line.partition(": ")
                assert field in ("event", "data", "id", "retry") and field not in fields, line
                fields[field] = value
            elif "event" in fields:
                event_id = int(fields["id"]) if "id" in fields else None
                return Event(fields["event"], json.loads(fields["data"]), event_id)
            else:
                fields = {}

    def until(self, kind):
        """The events up to the first of that kind, which is the last."""
        events = []
        for event in self:
            events.append(event)
            if event.kind == kind:
                return events
        raise AssertionError(f"the stream ended without {kind}: {events}")


def check_sizes(stream, a):
    """What is written while a stream follows comes whole and in order, whether it fits
    into a packet or takes hundreds: the replica sends the one and the other in
    different ways."""
    stream.until("synced")
    for turn in range(20):
        count = (1, 2, 128, 7)[turn % 4]
        names = [f"{i}/" + "\x01" * 1000 if count > 2 else f"{i}" for i in range(count)]
        ops = [{"op": "put", "name": n, "node_id": 1, "process_id": turn} for n in names]
        revision = a.request("POST", "/api/batch", {"ops": ops}).json()["revision"]
        events = [next(stream) for _ in names]
        assert sorted(e.data["name"] for e in events) == sorted(names)
        assert all(e.data["process_id"] == turn for e in events)
        assert [e.id for e in events] == [None] * (count - 1) + [revision]


def owner(data):
    return data["node_id"], data["process_id"], data["revision"]


class Copy:
    """A table that is made of events, which checks each against what it has."""

    def __init__(self):
        self.names = {}
        self.place = None  # the last id
        self.group = []    # events of a revision whose id has not come yet
        self.loading = True
        self.resets = 0
        self.changes = 0

    def lost(self):
        """The connection ended: half a revision, half a beginning, count for nothing."""
        self.group = []
        self.loading = self.place is None

    def take(self, event):
        if event.kind == "reset":
            assert not self.group, self.group
            self.loading = True
            self.resets += 1
            self.names = {}
            return
        self.group.append(event)
        if event.kind == "synced":
            assert self.loading, "synced without a reset"
            self._load(event)
        elif event.id is not None:
            assert not self.loading, f"an id before synced: {event}"
            self._apply(event)

    def _load(self, synced):
        for event in self.group[:-1]:
            self._change(event, check=False)
        assert self.place is None or synced.id >= self.place, (synced, self.place)
        self.place = synced.id
        self.group = []
        self.loading = False

    def _apply(self, last):
        bookmark = last.kind == "bookmark"
        assert len(self.group) == 1 or not bookmark, self.group
        assert last.id > self.place or (bookmark and last.id == self.place), (last, self.place)
        for event in self.group:
            assert event.data["revision"] == last.id, self.group
            if not bookmark:
                self._change(event, check=True)
                self.changes += 1
        self.place = last.id
        self.group = []

    def _change(self, event, check):
        data = event.data
        if event.kind == "node_down":
            gone = [n for n, o in self.names.items() if o[0] == data["node_id"]]
            for name in gone:
                del self.names[name]
            return
        key = data["env_id"], data["name"]
        if check:
            before = owner(data["previous"]) if "previous" in data else None
            assert self.names.get(key) == before, (event, self.names.get(key))
        if event.kind == "remove":
            self.names.pop(key, None)
        else:
            assert event.kind == "put", event
            self.names[key] = owner(data)


class Follower(threading.Thread):
    """Keeps a Copy up to date, through the given replicas in turn."""

    def __init__(self, replicas, query=""):
        super().__init__(daemon=True)
        self.replicas = list(replicas)
        self.query = query
        self.copy = Copy()
        self.streams = 0
        self.error = None
        self._stream = None
        self._stopping = False

    def run(self):
        turn = 0
        while not self._stopping and self.error is None:
            replica = self.replicas[turn % len(self.replicas)]
            turn += 1
            try:
                with Stream(replica.http_port, self.query, self.copy.place, 15) as stream:
                    self._stream = stream
                    self.streams += 1
                    for event in stream:
                        self.copy.take(event)
            except (api.Lost, Refused):
                time.sleep(0.05)
            except Exception as error:  # for join(), which raises it
                self.error = error
            self.copy.lost()

    def wait(self, revision, timeout):
        """Until it has seen everything up to that revision."""
        deadline = time.monotonic() + timeout
        while self.error is None and (self.copy.place or 0) < revision:
            assert time.monotonic() < deadline, f"{self.copy.place} of {revision}"
            time.sleep(0.01)
        if self.error is not None:
            raise self.error

    def stop(self):
        self._stopping = True
        if self._stream is not None:
            sock = self._stream.connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes who reads
