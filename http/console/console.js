// The page of one replica: what it sees of the cluster, and the live registry.

import {get, setToken} from "./api.js";
import {showCluster, showUnreachable} from "./cluster.js";
import {byId} from "./dom.js";
import {showNodes} from "./nodes.js";
import {watch} from "./registry.js";

const PERIOD_MS = 1000;

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = text === "";
}

function askForToken(error) {
  byId("token-form").hidden = false;
  notice(error.status === 401 ? "This replica wants a token that may read." : error.message);
}

async function refresh(path, show) {
  try {
    show(await get(path, AbortSignal.timeout(5000)));
    return true;
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      askForToken(error);
    } else if (path === "/api/cluster") {
      showUnreachable(error.message);
    }
    return false;
  }
}

async function poll() {
  const answered = await refresh("/api/cluster", showCluster);
  if (answered) {
    notice("");
    await refresh("/api/nodes", (answer) => showNodes(answer.nodes));
  }
  setTimeout(poll, document.hidden ? 10 * PERIOD_MS : PERIOD_MS);
}

function startWatching() {
  watch(byId("env").value.trim() || "1", byId("prefix").value);
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  startWatching();
});

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  startWatching();
});

poll();
startWatching();
