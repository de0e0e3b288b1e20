// What both pages share: the key of this tab, and requests that carry it.

const SLOT = "voxgate.key";

/** Take a key from `#key=…` once, and take it out of the address so that it is not copied along. */
export function keyFromAddress() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return;
  keep(decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

export const key = () => sessionStorage.getItem(SLOT) || "";
export const keep = (value) => sessionStorage.setItem(SLOT, value.trim());
export const forget = () => sessionStorage.removeItem(SLOT);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** JSON from the server; throws Refused with the server's own words. */
export async function ask(path, body, signal) {
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  const options = { headers, signal };
  if (body !== undefined) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const answer = await fetch(path, options);
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, data.error || `HTTP ${answer.status}`);
  return data;
}

/** An element with properties and children; text is always text, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
