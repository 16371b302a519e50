import { type Place, run } from "./program.js";

addEventListener("message", async ({ data }: MessageEvent<Place>) => {
  try {
    postMessage({ outcome: await run(data) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
