// Speak a text through the job API from Node 18 or newer, without a package.
//
//     VOXGATE_API_KEY=... node examples/speak.mjs "Hello from Node." hello.mp3

import { writeFile } from "node:fs/promises";

const base = `${process.env.VOXGATE_URL ?? "http://127.0.0.1:8000"}/v2/${process.env.ENDPOINT_ID ?? "example"}`;
const headers = {
  Authorization: `Bearer ${process.env.VOXGATE_API_KEY}`,
  "Content-Type": "application/json",
};

async function call(path, body) {
  const answer = await fetch(base + path, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
  });
  const document = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status}: ${document.error}`);
  return document;
}

async function speak(text, format) {
  let job = await call("/run", { input: { text, format } });
  while (job.status === "IN_QUEUE" || job.status === "IN_PROGRESS") {
    await new Promise((resolve) => setTimeout(resolve, 200));
    job = await call(`/status/${job.id}`);
  }
  if (job.status !== "COMPLETED") throw new Error(`${job.status}: ${job.error}`);
  return Buffer.from(job.output.audio_base64, "base64");
}

const [text, target] = process.argv.slice(2);
const audio = await speak(text, target.split(".").pop());
await writeFile(target, audio);
console.log(`${target}: ${audio.length} bytes`);
