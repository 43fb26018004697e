// Everything shown goes through textContent: names are hostile input.

export const byId = (id) => document.getElementById(id);

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) {
    made.textContent = text;
  }
  if (className !== undefined) {
    made.className = className;
  }
  return made;
}

export function row(...cells) {
  const made = element("tr");
  for (const [text, className] of cells) {
    made.append(element("td", text, className));
  }
  return made;
}

export function duration(ms) {
  if (ms === null || ms === undefined) {
    return "–";
  }
  return ms < 1000 ? `${ms} ms` : ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60000)} min`;
}
