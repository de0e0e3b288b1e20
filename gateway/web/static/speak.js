// The start page: speaks a text, and shows the curl command for it, the voices and the backends.
import { Refused, ask, forget, keep, key, keyFromAddress, make, shownKey } from "./client.js";
import { showOwn, whenOwnChange } from "./voices.js";
import { drawWave, wave } from "./wave.js";

const $ = (id) => document.getElementById(id);
const EXTENSIONS = { mp3: "mp3", wav: "wav", flac: "flac", opus: "opus" };
let running = null; // { controller, id } while something is being spoken
let address = ""; // object URL of the last audio

/** Build `input` from the form, without default values. */
function input() {
  const asked = { text: $("text").value };
  const voice = $("voice").selectedOptions[0];
  if (voice.value) Object.assign(asked, { voice: voice.value, backend: voice.dataset.backend });
  if ($("format").value !== "mp3") asked.format = $("format").value;
  if (Number($("speed").value) !== 1) asked.speed = Number($("speed").value);
  return asked;
}

/** Show the form as a curl command that writes a file. It uses OpenAI's API, which gives audio of any length directly. */
function showCommand() {
  $("speed-value").value = `${Number($("speed").value).toFixed(2).replace(/0$/, "")}×`;
  const { text, backend, format, ...rest } = input();
  const body = { model: backend || "tts-1", input: text, ...rest, ...(format && { response_format: format }) };
  // The body is in a here-document, because a shell argument has at most 128 KB. The JSON is one line.
  $("curl").textContent =
    `curl -fsS ${location.origin}/v1/audio/speech -o speech.${EXTENSIONS[$("format").value]} \\\n` +
    '  -H "Authorization: Bearer $VOXGATE_API_KEY" -H "Content-Type: application/json" \\\n' +
    `  --data-binary @- <<'END'\n${JSON.stringify(body)}\nEND`;
}

async function speak(event) {
  event.preventDefault();
  if (running) return;
  const asked = input();
  running = { controller: new AbortController(), id: "" };
  busy(true);
  say("Speaking…");
  const started = performance.now();
  try {
    let job = await ask("/runsync?wait=1500", { input: asked }, running.controller.signal);
    while (job.status === "IN_QUEUE" || job.status === "IN_PROGRESS") {
      running.id = job.id;
      say(waiting(job));
      job = await ask(`/status-sync/${encodeURIComponent(job.id)}?wait=1000`, undefined, running.controller.signal);
    }
    if (job.status !== "COMPLETED") throw new Refused(200, job.error || `The job is ${job.status}.`);
    await play(job, asked, performance.now() - started);
    say("");
  } catch (error) {
    say("");
    if (error.name !== "AbortError") complain(error);
  } finally {
    running = null;
    busy(false);
  }
}

function waiting(job) {
  if (job.reason) return `Waiting: ${job.reason}`;
  if (job.progress) return `Speaking: ${job.progress.chunks_done} of ${job.progress.chunks_total} parts are done.`;
  return job.status === "IN_QUEUE" ? "Waiting…" : "Speaking…";
}

async function cancel() {
  const { controller, id } = running || {};
  controller?.abort();
  if (id) await ask(`/cancel/${encodeURIComponent(id)}`, {}).catch(complain);
}

async function play(job, asked, tookMs) {
  const output = job.output;
  const bytes = output.audio_base64
    ? Uint8Array.from(atob(output.audio_base64), (c) => c.charCodeAt(0))
    : new Uint8Array(await (await fetch(new URL(output.audio_url).pathname + new URL(output.audio_url).search)).arrayBuffer());
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(new Blob([bytes], { type: output.mimetype }));
  const player = $("audio");
  player.src = address;
  $("download").href = address;
  $("download").download = `speech.${EXTENSIONS[asked.format || "mp3"]}`;
  $("download").textContent = `Download (${size(bytes.length)})`;
  showFacts(output, tookMs);
  showTranscript(output.chunks || []);
  $("warnings").replaceChildren(...(output.warnings || []).map((w) => make("li", {}, w.message)));
  $("result").hidden = false;
  drawWave($("wave"), player, bytes.buffer.slice(0));
  // A browser may refuse to start playing; then the user presses play. No code waits for this.
  player.play().catch(() => say("Press play to hear it."));
}

function showFacts(output, tookMs) {
  const heard = output.duration_ms / 1000;
  const facts = [
    ["Speech", `${heard.toFixed(2)} s`],
    ["Answered in", tookMs < 1000 ? `${Math.round(tookMs)} ms` : `${(tookMs / 1000).toFixed(1)} s`],
    ["Backend", `${output.backend}, ${output.voice}`],
    ["Cache", output.cache_hit ? "from the cache" : "spoken now"],
    ["Sample rate", `${output.sample_rate / 1000} kHz`],
  ];
  if (!output.cache_hit && output.generation_time_ms > 0) {
    facts.splice(2, 0, ["Real-time factor", (output.generation_time_ms / output.duration_ms).toFixed(2)]);
  }
  if (output.cost_usd) facts.push(["Cost", `$${output.cost_usd.toFixed(4)}`]);
  $("facts").replaceChildren(...facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
}

/** Show each chunk's text as a button that seeks to it. The chunk that is playing is marked. */
function showTranscript(chunks) {
  const parts = chunks.map((chunk) => {
    const part = make("button", { type: "button" }, chunk.text.trim());
    part.dataset.start = chunk.start_ms;
    part.dataset.end = chunk.end_ms;
    part.addEventListener("click", () => {
      $("audio").currentTime = chunk.start_ms / 1000;
      $("audio").play();
    });
    return part;
  });
  $("transcript").replaceChildren(...parts.flatMap((part) => [part, " "]));
}

function follow() {
  const now = $("audio").currentTime * 1000;
  for (const part of $("transcript").children) {
    const heard = now >= part.dataset.start - 20 && now < part.dataset.end && now > 0;
    if (heard) part.setAttribute("aria-current", "true");
    else part.removeAttribute("aria-current");
  }
  wave.progress($("audio"));
}

async function showBackends() {
  if (document.hidden || !admitted()) return again(5000);
  try {
    const health = await ask("/health");
    $("queue").textContent = `${health.jobs.inProgress} running, ${health.jobs.inQueue} waiting`;
    $("backends").replaceChildren(...health.backends.map(backendLine));
    return again(health.backends.some((b) => b.state === "loading") ? 1000 : 5000);
  } catch (error) {
    if (error.status === 401) openDoor();
    else $("queue").textContent = "The server does not answer.";
    return again(5000);
  }
}

const again = (ms) => setTimeout(showBackends, ms);

function backendLine(backend) {
  const percent = backend.loading_percent;
  const state = backend.state === "loading" && percent != null ? `loading, ${percent} %` : backend.state;
  const detail = [backend.reason, backend.cure, backend.last_error && `last error: ${backend.last_error}`].filter(Boolean);
  const line = make("li", { className: backend.state }, make("span", { className: "dot", "aria-hidden": "true" }));
  line.append(make("span", {}, make("b", {}, backend.name), ` ${state}`));
  for (const words of detail) line.append(make("span", { className: "detail" }, words));
  return line;
}

async function showVoices() {
  const { voices, own } = await ask("/voices");
  const chosen = $("voice").value;
  const several = new Set(voices.map((v) => v.backend)).size > 1;
  const options = voices.map((voice) => {
    const name = several ? `${voice.name} (${voice.backend})` : voice.name;
    const option = make("option", { value: voice.name, title: voice.description }, name);
    option.dataset.backend = voice.backend;
    return option;
  });
  for (const voice of own) {
    const option = make("option", { value: voice.name, disabled: !voice.backends.length }, `${voice.name} (yours)`);
    option.dataset.backend = voice.backends[0] || "";
    options.push(option);
  }
  showOwn(own);
  $("voice").replaceChildren(make("option", { value: "" }, "default"), ...options);
  $("voice").value = options.some((o) => o.value === chosen) ? chosen : "";
}

// The key

let refusedKey = false;
const admitted = () => !refusedKey;

function openDoor(words = "") {
  refusedKey = true;
  $("door").hidden = false;
  if (!offered) $("door-error").textContent = words; // else the question about the link's key stays
  $("leave-box").hidden = true;
  for (const name of ["own", "backends"]) $(name).replaceChildren(make("li", { className: "hint" }, "A key is needed to see this."));
  $("queue").textContent = "";
}

async function enter() {
  try {
    await showVoices();
    refusedKey = false;
    if (!offered) $("door").hidden = true;
    $("leave-box").hidden = !key();
    $("key-shown").textContent = key() ? shownKey(key()) : "";
    showCommand();
  } catch (error) {
    if (error.status !== 401) return complain(error);
    if (!offered) openDoor(key() ? "The server does not know this key." : "");
  }
}

async function tryKey(event) {
  event.preventDefault();
  keep($("key").value);
  closeOffer();
  await enter();
  if (admitted()) {
    $("text").focus();
    const health = await ask("/health").catch(() => null);
    if (health) $("backends").replaceChildren(...health.backends.map(backendLine));
  } else $("key").focus();
}

// Helpers

function busy(yes) {
  $("go").disabled = yes;
  $("stop").hidden = !yes;
  $("speak").setAttribute("aria-busy", String(yes));
  if (yes) $("error").textContent = "";
}

const say = (words) => ($("status").textContent = words);

function complain(error) {
  if (error.status === 401) {
    openDoor(key() ? "The server does not know this key." : "Speaking needs a key.");
    return $("key").focus();
  }
  $("error").textContent = error instanceof Refused ? error.message : "The server does not answer.";
}

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function copy() {
  await navigator.clipboard.writeText($("curl").textContent).then(
    () => ($("copy").textContent = "Copied"),
    () => getSelection().selectAllChildren($("curl")), // without HTTPS there is no clipboard: select the text instead
  );
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
}

/** Ask the user whether to use the key of a link, if this tab has another one. */
function considerOffer() {
  if (!offered) return;
  $("door").hidden = false;
  $("key").value = offered;
  $("keep-mine").hidden = false;
  $("door-error").textContent =
    `The link contains another key, ${shownKey(offered)}. This tab uses ${shownKey(key())}. ` +
    "The owner of a key can read all text that is spoken with it.";
}

function closeOffer() {
  offered = "";
  $("key").value = "";
  $("keep-mine").hidden = true;
  $("door-error").textContent = "";
}

let offered = keyFromAddress();
whenOwnChange(() => showVoices().catch(complain));
considerOffer();
window.addEventListener("hashchange", () => {
  const had = key();
  offered = keyFromAddress() || offered;
  considerOffer();
  if (key() !== had) enter();
});
$("keep-mine").addEventListener("click", () => {
  closeOffer();
  $("door").hidden = true;
  enter();
});
$("origin").textContent = location.origin;
$("speak").addEventListener("submit", speak);
$("speak").addEventListener("input", showCommand);
$("stop").addEventListener("click", cancel);
$("copy").addEventListener("click", copy);
$("door-form").addEventListener("submit", tryKey);
$("leave").addEventListener("click", () => {
  forget();
  openDoor();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("speak").requestSubmit();
});
for (const name of ["timeupdate", "seeked", "ended"]) $("audio").addEventListener(name, follow);
showCommand();
enter().then(showBackends);
