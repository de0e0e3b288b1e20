// RunPod's JavaScript client. A line [scenario, arguments] in, a line {"value"} or {"kind", "words"} out.

import { createInterface } from "node:readline";
import runpodSdk from "runpod-sdk";

const endpoint = (name, key) => runpodSdk(key ?? process.env.KEY, { baseUrl: process.env.BASE }).endpoint(name);

const scenarios = {
  run: ({ name, request, key }) => endpoint(name, key).run(request),
  runSync: ({ name, request, timeout }) => endpoint(name).runSync(request, timeout),
  status: ({ name, id }) => endpoint(name).status(id),
  statusSync: ({ name, id, timeout }) => endpoint(name).statusSync(id, timeout),
  cancel: ({ name, id }) => endpoint(name).cancel(id),
  health: ({ name }) => endpoint(name).health(),
  purgeQueue: ({ name }) => endpoint(name).purgeQueue(),
  stream: async ({ name, id }) => {
    const items = [];
    for await (const item of endpoint(name).stream(id)) items.push(item);
    return items;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [scenario, given] = JSON.parse(line);
  let answer;
  try {
    answer = { value: await scenarios[scenario](given) };
  } catch (error) {
    answer = { kind: error.constructor.name, words: `${error.response?.status ?? ""} ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
