"""The callsign command, run to its end."""

import os

import api
import cluster as clusters

# What it exits with; USAGE is INVALID of the library.
DONE, NOT_FOUND, USAGE, REFUSED, UNAVAILABLE, UNKNOWN, FAILED, UNCHANGED = range(8)


def url(replica):
    scheme = "http" if replica.access.context is None else "https"
    return f"{scheme}://{api.HOST}:{replica.http_port}"


def callsign(*arguments, endpoints=(), env=None, timeout=40):
    """The command to its end; `endpoints` are replicas."""
    for replica in endpoints:
        arguments += ("--endpoint", url(replica))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CALLSIGN_")}
    return clusters.run(clusters.COMMAND, *arguments, timeout=timeout, env={**clean, **(env or {})})
