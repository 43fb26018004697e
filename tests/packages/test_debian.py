"""The Debian packages: built, checked by lintian, installed, used, purged."""

import subprocess

import api
import cluster as clusters

PACKAGES = ("callsignd", "callsign", "libcallsign0", "libcallsign-dev")


def test_lintian_finds_nothing(debs):
    assert set(PACKAGES) <= set(debs)
    # Bugs of Debian that a first upload would close are none of this tree's.
    checked = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags",
         "initial-upload-closes-no-bugs", debs["changes"]],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_installed_used_and_purged(debs, new_root):
    root = new_root("debian")
    for name in PACKAGES:
        (root.path / "tmp" / debs[name].name).write_bytes(debs[name].read_bytes())
    root.run("apt-get", "update", "--quiet=2")
    before = set(root.run("dpkg-query", "-W", "-f", "${Package}\n").stdout.split())
    root.run("apt-get", "install", "--yes", "--no-install-recommends",
             *(f"/tmp/{debs[name].name}" for name in PACKAGES))
    assert "callsignd" in (root.path / "etc/passwd").read_text()
    assert not root.has("/etc/systemd/system/multi-user.target.wants/callsignd.service"), \
        "a replica is configured before it is started"
    assert root.has("/lib/systemd/system/callsignd.service")

    port, peer = clusters.free_port(), clusters.free_port()
    root.run("install", "-d", "-o", "callsignd", "-g", "callsignd", "-m", "0700",
             "/var/lib/callsignd")
    daemon = root.start("/usr/sbin/callsignd", "--config", "/etc/callsignd/callsignd.conf",
                        "--http", f"{api.HOST}:{port}", "--peer", f"{api.HOST}:{peer}",
                        user="callsignd:callsignd")
    endpoint = {"CALLSIGN_ENDPOINTS": f"http://{api.HOST}:{port}"}

    def ready():
        assert daemon.poll() is None, "the daemon ended"
        return root.run("callsign", "health", env=endpoint, check=False).returncode == 0

    clusters.eventually("the installed daemon is ready", ready)
    root.run("callsign", "put", "from/a/package", "3", "42", env=endpoint)
    assert "42" in root.run("callsign", "get", "from/a/package", env=endpoint).stdout
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert root.has("/var/lib/callsignd/identity")

    root.run("apt-get", "purge", "--yes", *PACKAGES)
    for path in ("/var/lib/callsignd", "/etc/callsignd", "/usr/sbin/callsignd", "/usr/bin/callsign",
                 "/usr/include/callsign.h"):
        assert not root.has(path), path
    root.run("apt-get", "autoremove", "--purge", "--yes")
    assert set(root.run("dpkg-query", "-W", "-f", "${Package}\n").stdout.split()) == before
