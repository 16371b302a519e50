import { run } from "./program.js";

onmessage = async ({ data }: MessageEvent<number | undefined>) => {
  try {
    postMessage({ outcome: await run(data) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
