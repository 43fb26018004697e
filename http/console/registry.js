// The names of one environment that begin with a text, kept up to date by
// GET /api/watch. The table holds the first ones in order; the rest is counted
// by nobody, a longer beginning shows it.

import {parse, stream} from "./api.js";
import {byId, element, row} from "./dom.js";

const SHOWN_MAX = 500;
const EVENTS_MAX = 200;

const entries = new Map(); // name -> entry
let truncated = false;
let scheduled = false;
let fresh = new Set(); // names that changed since the last drawing
let synced = false;

const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function draw() {
  scheduled = false;
  const names = [...entries.keys()].sort(order);
  byId("entries").replaceChildren(...names.map((name) => {
    const e = entries.get(name);
    const made = row([name, "name"], [String(e.node_id), "number"],
      [String(e.process_id), "number"], [String(e.revision), "number"]);
    made.classList.toggle("fresh", synced && fresh.has(name));
    return made;
  }));
  fresh = new Set();
  const more = byId("more");
  more.hidden = !truncated && names.length > 0;
  more.textContent = truncated
    ? `There are more: these are ${SHOWN_MAX} of them. A longer beginning shows the others.`
    : "No name begins so.";
}

// Many events a second are one drawing.
function schedule() {
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(draw);
  }
}

function keep(entry) {
  if (!entries.has(entry.name) && entries.size >= SHOWN_MAX) {
    truncated = true;
    return;
  }
  entries.set(entry.name, entry);
  fresh.add(entry.name);
}

function tell(kind, text, revision) {
  const item = element("li");
  item.append(element("span", revision ?? "", "quiet"), element("span", kind, kind === "put" ? "good" : "bad"),
    document.createTextNode(text));
  const list = byId("events");
  list.prepend(item);
  while (list.childElementCount > EVENTS_MAX) {
    list.lastElementChild.remove();
  }
}

function owner(e) {
  return `${e.node_id} / ${e.process_id}`;
}

function tellChange(kind, change) {
  const before = change.previous ? ` (was ${owner(change.previous)})` : "";
  const now = kind === "put" ? ` → ${owner(change)}${before}` : before;
  tell(kind, `${change.name}${now}`, change.revision);
}

// All names of a node went at once.
function forgetNode(node) {
  for (const [name, entry] of entries) {
    if (entry.node_id === node) {
      entries.delete(name);
    }
  }
}

function forget() {
  entries.clear();
  truncated = false;
  synced = false;
}

function onEvent({event, data}) {
  const change = parse(data);
  switch (event) {
  case "put":
    keep(change);
    if (synced) {
      tellChange(event, change);
    }
    break;
  case "remove":
    entries.delete(change.name);
    tellChange(event, change);
    break;
  case "node_down":
    forgetNode(change.node_id);
    tell(event, `node ${change.node_id}: ${change.removed} names`, change.revision);
    break;
  case "reset":
    forget();
    break;
  case "synced":
    synced = true;
    byId("stream").textContent = "watching";
    break;
  default:
    return;
  }
  schedule();
}

let controller = new AbortController();

// Watches until told to watch something else; a stream that ends is opened
// again, and begins anew with the present names.
export async function watch(env, prefix) {
  controller.abort();
  controller = new AbortController();
  const {signal} = controller;
  const path = `/api/watch?env_id=${encodeURIComponent(env)}&prefix=${encodeURIComponent(prefix)}`;
  byId("events").replaceChildren();
  while (!signal.aborted) {
    forget();
    schedule();
    byId("stream").textContent = "connecting";
    try {
      await stream(path, signal, onEvent);
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      byId("stream").textContent = `not watching: ${error.message}`;
      if (error.status !== undefined && error.status < 500) {
        return; // asking again would not help
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
