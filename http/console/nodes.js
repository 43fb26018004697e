// Nodes with a lease, or whose lease has ended.

import {byId, duration, element, row} from "./dom.js";

export function showNodes(nodes) {
  if (nodes.length === 0) {
    const none = element("td", "No node has taken a lease.", "quiet");
    none.colSpan = 5;
    const made = element("tr");
    made.append(none);
    byId("nodes").replaceChildren(made);
    return;
  }
  byId("nodes").replaceChildren(...nodes.map((n) => row(
    [String(n.node_id), "number"], [n.state, n.state === "up" ? "good" : "bad"],
    [duration(n.lease_left_ms), "number"], [String(n.names), "number"],
    [n.address ?? ""])));
}
