// Speak a text in an app.

import { Buffer } from 'buffer';
import { generateSpeech } from './speech';

export async function speakText(text: string, playAudio: (audio: Buffer) => Promise<void>) {
  const audio = await generateSpeech({ text, format: 'mp3', speed: 1.0 });
  await playAudio(audio);
}
