// ?place=main or ?place=worker, &threads=N, &device=webgpu, or &steps=N to train on WebGPU, which tells each step as it
// ends; or ?ops, or ?hub. The outcome, or the error, appears as JSON in the page.
import { checkOps } from "./ops.js";
import { type Outcome, type Place, run } from "./program.js";
import { lifeOf, type Watched, watchedTraining } from "./watched.js";

const query = new URLSearchParams(location.search);
const place: Place = {
  ...(query.has("threads") && { threads: Number(query.get("threads")) }),
  webgpu: query.get("device") === "webgpu",
};

const steps = Number(query.get("steps") ?? 0);
const output = document.querySelector("output")!;
const onStep = (done: number): void => {
  output.dataset["step"] = `${done}`;
};

function runInWorker(): Promise<Outcome | Watched> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<{ step?: number; outcome?: Outcome; error?: string }>) => {
      if (data.step) onStep(data.step);
      else if (data.outcome) resolve(data.outcome);
      else reject(new Error(data.error));
    };
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
    worker.postMessage({ ...place, steps });
  });
}

async function outcome(): Promise<unknown> {
  if (query.has("ops")) return checkOps();
  if (query.has("hub")) return (await import("./hub.js")).hubInPage();
  const life = lifeOf(document);
  if (query.get("place") === "worker") return { ...(await runInWorker()), life };
  return steps > 0 ? { ...(await watchedTraining(steps, onStep)), life } : run(place);
}

try {
  output.textContent = JSON.stringify(await outcome());
} catch (error) {
  output.textContent = JSON.stringify({ error: String(error) });
}
output.dataset.done = "";
