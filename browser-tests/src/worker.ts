import { type Place, run } from "./program.js";
import { watchedTraining } from "./watched.js";

addEventListener("message", async ({ data }: MessageEvent<Place & { steps: number }>) => {
  try {
    const outcome =
      data.steps > 0 ? await watchedTraining(data.steps, (step) => postMessage({ step })) : await run(data);
    postMessage({ outcome });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
