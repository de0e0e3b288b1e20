// For React Native and Expo: submit a text, poll until it is spoken, decode the audio, play it.

import { Buffer } from 'buffer';

export interface TTSInput {
  text: string;
  format?: 'mp3' | 'wav';
  speed?: number;
  voice?: string;
  language?: string;
  seed?: number;
}

export interface TTSOutput {
  audio_base64: string;
  mimetype: string;
  duration_ms: number;
  cache_hit: boolean;
  cache_key: string;
  chunks_processed: number;
  generation_time_ms: number;
}

interface JobStatus {
  id: string;
  status: 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED';
  output?: TTSOutput;
  error?: string;
}

const API_KEY = process.env.EXPO_PUBLIC_RUNPOD_API_KEY;
const BASE_URL = process.env.BASE_URL ?? 'http://127.0.0.1:8000/v2/70sq2akye030kh';

export async function generateSpeech(input: TTSInput): Promise<Buffer> {
  const submitted = await fetch(`${BASE_URL}/run`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${API_KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ input }),
  });
  const { id } = (await submitted.json()) as JobStatus;
  while (true) {
    const answer = await fetch(`${BASE_URL}/status/${id}`, { headers: { Authorization: `Bearer ${API_KEY}` } });
    const job = (await answer.json()) as JobStatus;
    if (job.status === 'COMPLETED' && job.output) {
      return Buffer.from(job.output.audio_base64, 'base64');
    }
    if (job.status === 'FAILED') {
      throw new Error(`the job failed: ${job.error}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

export async function playTTS(text: string) {
  const { Audio } = await import('expo-av');
  const FileSystem = await import('expo-file-system');
  const audio = await generateSpeech({ text, format: 'mp3', speed: 1.0 });
  const uri = `${FileSystem.documentDirectory}temp_tts.mp3`;
  await FileSystem.writeAsStringAsync(uri, audio.toString('base64'), { encoding: FileSystem.EncodingType.Base64 });
  const sound = new Audio.Sound();
  await sound.loadAsync({ uri });
  await sound.playAsync();
  return sound;
}
