import { run } from "./program.js";

addEventListener("message", async ({ data }: MessageEvent<number | undefined>) => {
  try {
    postMessage({ outcome: await run(data) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
