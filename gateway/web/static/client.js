// What both pages share: the key of this tab, and requests that carry it.

const SLOT = "voxgate.key";

/**
 * Take the key out of `#key=…`, so that it is not copied along, and keep it where this tab has none. Where it has
 * another one the offered key is returned, for the person to decide: a link could be anybody's, and whoever's key is
 * used can read what is spoken with it.
 */
export function keyFromAddress() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  const offered = decoded(found[1]).trim();
  if (!key()) keep(offered);
  return offered === key() ? "" : offered;
}

/** What may be shown of a key: its public part, or its first letters where it has none. */
export function shownKey(value) {
  const made = /^vg_[a-z]+_[A-Za-z0-9]+(?=_)/.exec(value);
  return made ? made[0] : `${value.slice(0, Math.min(4, Math.floor(value.length / 4)))}…`;
}

/** A key may hold a `%` of its own. */
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

/** JSON from the server; throws Refused with the server's own words. A body is sent by POST: a form as it is. */
export async function ask(path, body, signal) {
  const sent = body === undefined || body instanceof FormData ? body : JSON.stringify(body);
  return (await answered(path, { method: sent === undefined ? "GET" : "POST", body: sent, signal })).json();
}

/** An answer that is none of the refusals. */
export async function answered(path, options = {}) {
  // What no header can carry is no key: fetch would throw as if the server were gone.
  if (/[^\x20-\x7e]/.test(key())) throw new Refused(401, "Unauthorized");
  const headers = key() ? { Authorization: `Bearer ${key()}` } : {};
  const answer = await fetch(path, { headers, ...options });
  if (answer.ok) return answer;
  const data = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, data.error || `HTTP ${answer.status}`);
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
