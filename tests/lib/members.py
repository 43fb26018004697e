"""Clusters that grow and shrink while they run."""

import api
import cluster as clusters
from cluster import eventually


def put_member(through, replica, peer=None):
    return through.ask("POST", "/api/cluster/members",
                       {"id": replica.id, "peer_address": peer or replica.peer_address,
                        "http_address": f"{api.HOST}:{replica.http_port}"})


def voters(replica):
    return sorted(m["id"] for m in replica.state().get("members", []) if m["role"] == "voter")


def members(replica):
    return sorted(m["id"] for m in replica.state().get("members", []))


class Grown(clusters.Cluster):
    """A cluster to which replicas are added."""

    def another(self, replica_id, named):
        replica = clusters.Replica(self.folder, replica_id)
        replica.flags += ["--cluster-id", named[0].state()["cluster_id"], "--join",
                          ",".join(f"{r.id}={r.peer_address}" for r in named)]
        self.replicas.append(replica)
        return replica

    def __getitem__(self, replica_id):
        return next(r for r in self.replicas if r.id == replica_id)


def join(cluster, replica, through):
    assert put_member(through, replica).status == 200
    replica.start()
    eventually(f"replica {replica.id} votes",
               lambda: replica.id in voters(through) and replica.is_ready(), 20)
