// Requests to this replica. The token stays in this tab: no cookie, no address.

const KEY = "callsign-token";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.message ?? `the replica answered ${status}`);
    this.status = status;
    this.code = problem?.code;
  }
}

export function setToken(token) {
  if (token === "") {
    sessionStorage.removeItem(KEY);
  } else {
    sessionStorage.setItem(KEY, token);
  }
}

// Ids go up to 2^64 - 1, which a number of this language does not hold: those
// beyond its reach stay the digits they came as.
export function parse(text) {
  return JSON.parse(text, (key, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && context?.source
      ? context.source : value);
}

async function ask(path, options) {
  const token = sessionStorage.getItem(KEY);
  const headers = token === null ? {} : {Authorization: `Bearer ${token}`};
  const answer = await fetch(path, {...options, headers, cache: "no-store", credentials: "omit"});
  if (!answer.ok) {
    let problem;
    try {
      problem = parse(await answer.text());
    } catch {
      problem = undefined; // not one of ours: the status has to do
    }
    throw new Refused(answer.status, problem);
  }
  return answer;
}

export async function get(path, signal) {
  return parse(await (await ask(path, {signal})).text());
}

// Calls onEvent({id, event, data}) for each event of a stream until it ends.
export async function stream(path, signal, onEvent) {
  const answer = await ask(path, {signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) {
      return;
    }
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = read(block);
      if (event.data !== undefined) {
        onEvent(event);
      }
    }
  }
}

function read(block) {
  const event = {event: "message"};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    } else if (field === "id" || field === "event") {
      event[field] = value;
    }
  }
  return event;
}
