// The waveform above the player. A click on it seeks; the player's own controls can do the same.

const BARS = 160;

export const wave = {
  peaks: [],
  canvas: null,

  progress(player) {
    if (!this.canvas || !this.peaks.length) return;
    const { canvas, peaks } = this;
    const scale = window.devicePixelRatio || 1;
    const width = (canvas.width = canvas.clientWidth * scale);
    const height = (canvas.height = canvas.clientHeight * scale);
    const style = getComputedStyle(canvas);
    const context = canvas.getContext("2d");
    const step = width / peaks.length;
    const heard = player.duration ? (player.currentTime / player.duration) * peaks.length : 0;
    peaks.forEach((peak, index) => {
      const bar = Math.max(2 * scale, peak * height * 0.94);
      context.fillStyle = index < heard ? style.accentColor : style.color;
      context.beginPath();
      context.roundRect(index * step + step * 0.2, (height - bar) / 2, step * 0.6, bar, step * 0.3);
      context.fill();
    });
  },
};

/** Draw the loudness of encoded audio. If the browser cannot decode it, no waveform is shown. */
export async function drawWave(canvas, player, encoded) {
  const context = new OfflineAudioContext(1, 1, 24000);
  const decoded = await context.decodeAudioData(encoded).catch(() => null);
  canvas.hidden = !decoded;
  if (!decoded) return;
  const samples = decoded.getChannelData(0);
  const bars = Math.min(BARS, Math.max(40, Math.round(canvas.clientWidth / 5)));
  const per = Math.max(1, Math.floor(samples.length / bars));
  const levels = Array.from({ length: bars }, (_, bar) => {
    let sum = 0;
    for (let i = bar * per; i < Math.min((bar + 1) * per, samples.length); i += 4) sum += samples[i] * samples[i];
    return Math.sqrt((sum * 4) / per);
  });
  const loudest = Math.max(...levels, 1e-6);
  wave.canvas = canvas;
  wave.peaks = levels.map((level) => Math.pow(level / loudest, 0.7));
  wave.progress(player);
  canvas.onclick = (event) => {
    player.currentTime = (event.offsetX / canvas.clientWidth) * player.duration;
  };
}

window.addEventListener("resize", () => {
  const player = document.getElementById("audio");
  if (player) wave.progress(player);
});
