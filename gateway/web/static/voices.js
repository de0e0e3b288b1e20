// The tenant's uploaded voices: plays, deletes and adds them.
import { Refused, answered, ask, make } from "./client.js";

const $ = (id) => document.getElementById(id);
let changed = () => {};
let address = ""; // object URL of the last recording played

/** Set the function to call after a voice was added or deleted. */
export const whenOwnChange = (then) => (changed = then);

export function showOwn(voices) {
  const lines = voices.map(line);
  $("own").replaceChildren(...(lines.length ? lines : [make("li", { className: "hint" }, "None yet.")]));
}

function line(voice) {
  const about = [`${voice.duration_s.toFixed(1)} s`, voice.consent];
  if (!voice.backends.length) about.push("no backend here can speak with an uploaded voice");
  const hear = make("button", { type: "button", className: "link" }, "Hear");
  const remove = make("button", { type: "button", className: "link" }, "Delete");
  hear.setAttribute("aria-label", `Hear ${voice.name}`);
  remove.setAttribute("aria-label", `Delete ${voice.name}`);
  hear.addEventListener("click", () => trying(() => play(voice.name)));
  remove.addEventListener("click", () => sure(remove, voice.name));
  return make("li", {}, make("b", {}, voice.name), make("span", { className: "hint" }, about.filter(Boolean).join(" · ")), hear, remove);
}

/** Ask for confirmation at the first press, and delete at the second. */
function sure(button, name) {
  if (button.dataset.asked) {
    trying(async () => {
      await answered(`/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
      changed();
    });
    return;
  }
  button.dataset.asked = "yes";
  button.textContent = "Delete for good?";
}

async function play(name) {
  const recording = await (await answered(`/voices/${encodeURIComponent(name)}/audio`)).blob();
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(recording);
  $("own-audio").src = address;
  $("own-audio").hidden = false;
  $("own-audio").play().catch(() => {}); // a browser may refuse to start playing; then the user presses play
}

async function add(event) {
  event.preventDefault();
  const form = new FormData();
  form.append("name", $("own-name").value);
  form.append("consent", $("own-consent").value);
  form.append("file", $("own-file").files[0]);
  $("own-add").disabled = true;
  await trying(async () => {
    await ask("/voices", form);
    $("own-form").reset();
    open(false);
    changed();
  });
  $("own-add").disabled = false;
}

async function trying(step) {
  $("own-error").textContent = "";
  try {
    await step();
  } catch (error) {
    $("own-error").textContent = error instanceof Refused ? error.message : "The server does not answer.";
  }
}

function open(yes) {
  $("own-form").hidden = !yes;
  $("own-open").setAttribute("aria-expanded", String(yes));
}

$("own-form").addEventListener("submit", add);
$("own-open").addEventListener("click", () => open($("own-form").hidden));
