// OpenAI's JavaScript client. A line [scenario, arguments] in, a line {"value"} or {"kind", "words"} out.

import { createInterface } from "node:readline";
import OpenAI from "openai";

const { BASE, KEY } = process.env;
const client = (key) => new OpenAI({ baseURL: `${BASE}/v1`, apiKey: key ?? KEY, maxRetries: 0 });
const encoded = (data) => Buffer.from(data).toString("base64");

const stateOf = async (id) => {
  const answer = await fetch(`${BASE}/v2/default/status/${id}`, { headers: { Authorization: `Bearer ${KEY}` } });
  return (await answer.json()).status;
};

const scenarios = {
  speech: async ({ request, key }) => encoded(await (await client(key).audio.speech.create(request)).arrayBuffer()),
  speech_streamed: async ({ request }) => {
    const response = await client().audio.speech.create(request);
    const pieces = [];
    let state;
    for await (const piece of response.body) {
      state ??= await stateOf(response.headers.get("x-voxgate-job-id"));
      pieces.push(piece);
    }
    return { state, type: response.headers.get("content-type"), audio: encoded(Buffer.concat(pieces)) };
  },
  speech_left: async ({ request }) => {
    const gone = new AbortController();
    const response = await client().audio.speech.create(request, { signal: gone.signal });
    await response.body.getReader().read();
    gone.abort();
    return response.headers.get("x-voxgate-job-id");
  },
  speech_events: async ({ request }) => {
    const response = await client().audio.speech.create({ ...request, stream_format: "sse" });
    const lines = (await response.text()).split("\n").filter((line) => line);
    return lines.map((line) => JSON.parse(line.replace("data: ", "")));
  },
  models: async () => {
    const names = [];
    for await (const model of client().models.list()) names.push(model.id);
    return names;
  },
  model: ({ name }) => client().models.retrieve(name),
  error_of: async ({ request, key }) => {
    try {
      await client(key).audio.speech.create(request);
    } catch (error) {
      const { status, param, code, type, message } = error;
      return { class: error.constructor.name, status, param, code, type, words: message };
    }
    throw new Error("nothing was thrown");
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [scenario, given] = JSON.parse(line);
  let answer;
  try {
    answer = { value: await scenarios[scenario](given) };
  } catch (error) {
    answer = { kind: error.constructor.name, words: `${error.status ?? ""} ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
