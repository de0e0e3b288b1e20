// Submit a text, poll until it is spoken, decode the audio.

const fs = require("fs");
const axios = require("axios");

const API_KEY = process.env.RUNPOD_API_KEY;
const BASE_URL = process.env.BASE_URL ?? "http://127.0.0.1:8000/v2/70sq2akye030kh";
const headers = { Authorization: `Bearer ${API_KEY}` };

async function generateSpeech(text, format = "mp3", speed = 1.0) {
  const submitted = await axios.post(
    `${BASE_URL}/run`,
    { input: { text, format, speed } },
    { headers: { ...headers, "Content-Type": "application/json" } },
  );
  const jobId = submitted.data.id;
  console.log(`submitted ${jobId}`);
  while (true) {
    const { data: job } = await axios.get(`${BASE_URL}/status/${jobId}`, { headers });
    if (job.status === "COMPLETED") return Buffer.from(job.output.audio_base64, "base64");
    if (job.status === "FAILED") throw new Error(`the job failed: ${job.error}`);
    console.log(job.status);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

(async () => {
  const audio = await generateSpeech("Hello! This is a test from Node.", "mp3", 1.0);
  fs.writeFileSync("output.mp3", audio);
  console.log(`output.mp3: ${audio.length} bytes`);
})();
