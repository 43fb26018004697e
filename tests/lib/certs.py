"""Certificates and tokens of a test's cluster, made as an operator makes them."""

import pathlib
import ssl
import subprocess

import api

TOP = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = TOP / "deploy" / "make-certificates"


def make(folder, what, *names, cluster="callsign", days=365):
    """deploy/make-certificates: `what` is replica or http."""
    subprocess.run([SCRIPT, "--cluster", cluster, "--days", str(days), folder, what,
                    *map(str, names)], check=True, stdin=subprocess.DEVNULL)


def new_token(daemon, path, *words):
    """The text of a new token, whose line is added to the file."""
    return subprocess.run([daemon, "token", "new", path, *words], check=True, text=True,
                          capture_output=True).stdout.strip()


def http_flags(folder):
    return ["--http-cert", str(folder / "http.crt"), "--http-key", str(folder / "http.key")]


def peer_flags(folder, replica_id):
    return ["--peer-cert", str(folder / f"replica-{replica_id}.crt"),
            "--peer-key", str(folder / f"replica-{replica_id}.key"),
            "--peer-ca", str(folder / "ca.crt")]


def client(folder, cert=None):
    """What checks a server against the authority of the folder."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if cert is not None:
        context.load_cert_chain(folder / f"{cert}.crt", folder / f"{cert}.key")
    return context


def access(folder, token=None):
    """How api.Api speaks to a daemon with these certificates."""
    return api.Access(client(folder), token)
