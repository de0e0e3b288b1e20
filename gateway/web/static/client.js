// Shared by both pages: the key of this tab, and requests that carry it.

const SLOT = "voxgate.key";

/**
 * Remove the key from `#key=…`, so that it is not copied with the address, and store it if this tab has no key. If the
 * tab has another key, return the offered one and let the user decide: the link may come from a stranger, and the owner
 * of a key can read all text that is spoken with it.
 */
export function keyFromAddress() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  const offered = decoded(found[1]).trim();
  if (!key()) keep(offered);
  return offered === key() ? "" : offered;
}

/** The part of a key that may be shown: its public part, or its first letters if it has none. */
export function shownKey(value) {
  const made = /^vg_[a-z]+_[A-Za-z0-9]+(?=_)/.exec(value);
  return made ? made[0] : `${value.slice(0, Math.min(4, Math.floor(value.length / 4)))}…`;
}

/** Decode a part of an address; a key may contain a plain `%`. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
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

/** Get JSON from the server. A body is sent by POST, as JSON unless it is a form. Throws Refused with the server's message. */
export async function ask(path, body, signal) {
  const sent = body === undefined || body instanceof FormData ? body : JSON.stringify(body);
  return (await answered(path, { method: sent === undefined ? "GET" : "POST", body: sent, signal })).json();
}

/** Send a request with the key, and return the response. Throws Refused if its status is an error. */
export async function answered(path, options = {}) {
  // No key has characters that a header cannot carry. For them fetch would throw as if the server did not answer.
  if (/[^\x20-\x7e]/.test(key())) throw new Refused(401, "Unauthorized");
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  const answer = await fetch(path, { headers, ...options });
  if (answer.ok) return answer;
  const data = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, data.error || `HTTP ${answer.status}`);
}

/** Make an element with properties and children. Strings become text, never markup. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
