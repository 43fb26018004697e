// The replicas, as the one that serves this page sees them.

import {byId, duration, element, row} from "./dom.js";

const HEALTH = {ok: "good", degraded: "warn", no_quorum: "bad"};

function stateOf(member, cluster) {
  if (member.leader) {
    return ["leader", "good"];
  }
  if (member.id === cluster.id) {
    return [cluster.state, cluster.ready ? "" : "warn"];
  }
  return member.connected ? ["connected", ""] : ["not reachable", "bad"];
}

function showFacts(cluster) {
  const facts = [
    ["This is replica", cluster.id], ["Leader", cluster.leader ?? "unknown"],
    ["Term", cluster.term], ["Revision", cluster.revision], ["Names", cluster.names],
    ["Committed", cluster.commit_index], ["Applied", cluster.applied_index],
    ["Cluster", cluster.cluster_id],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const made = element("div");
    made.append(element("dt", name), element("dd", String(value)));
    return made;
  }));
}

export function showCluster(cluster) {
  const health = byId("health");
  health.textContent = cluster.health.replace("_", " ");
  health.className = `badge ${HEALTH[cluster.health] ?? "warn"}`;
  byId("why").textContent = cluster.why;
  document.title = `callsign · replica ${cluster.id} · ${health.textContent}`;
  showFacts(cluster);
  byId("members").replaceChildren(...cluster.members.map((m) => row(
    [String(m.id)], [m.role], stateOf(m, cluster), [m.http_address], [m.peer_address],
    [m.lag === null ? "–" : String(m.lag), "number"],
    [m.id === cluster.id ? "–" : duration(m.last_contact_ms), "number"])));
}

export function showUnreachable(message) {
  const health = byId("health");
  health.textContent = "no answer";
  health.className = "badge bad";
  byId("why").textContent = message;
}
