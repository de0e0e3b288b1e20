// Speak a text through the job API from Node 18 or newer, without a package; handles every end that a job can have.
//
//     VOXGATE_API_KEY=... node examples/speak.mjs "Hello from Node." hello.mp3
//     VOXGATE_API_KEY=... node examples/speak.mjs --job ID hello.mp3      wait for a job that was submitted before

import { writeFile } from "node:fs/promises";

const base = `${process.env.VOXGATE_URL ?? "http://127.0.0.1:8000"}/v2/${process.env.ENDPOINT_ID ?? "example"}`;
const headers = {
  Authorization: `Bearer ${process.env.VOXGATE_API_KEY}`,
  "Content-Type": "application/json",
};

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// Send one request; POST if there is a body. While the server is busy, wait as long as it asks and try again.
async function call(path, body, triesLeft = 4) {
  const answer = await fetch(base + path, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
  });
  if ([429, 503].includes(answer.status) && triesLeft) {
    await sleep(Number(answer.headers.get("retry-after") ?? 1));
    return call(path, body, triesLeft - 1);
  }
  const document = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${document.error}`);
  return document;
}

// Wait until the job is done and return the encoded audio; throws if it FAILED, was CANCELLED, TIMED_OUT or is unknown (404).
async function audioOf(id) {
  let job;
  do {
    job = await call(`/status-sync/${id}?wait=20000`); // held until the end, or for 20 seconds
  } while (job.status === "IN_QUEUE" || job.status === "IN_PROGRESS");
  if (job.status !== "COMPLETED") throw new Error(`${job.status}: ${job.error ?? "no reason given"}`);
  if (job.output.audio_base64) return Buffer.from(job.output.audio_base64, "base64");
  return Buffer.from(await (await fetch(job.output.audio_url)).arrayBuffer()); // too long to be inline
}

const given = process.argv.slice(2);
const target = given.at(-1);
try {
  const id = given[0] === "--job" ? given[1] : (await call("/run", { input: { text: given[0], format: target.split(".").pop() } })).id;
  const audio = await audioOf(id);
  await writeFile(target, audio);
  console.log(`${target}: ${audio.length} bytes`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
