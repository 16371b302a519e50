// ?place=main or ?place=worker, &threads=N, &device=webgpu, or ?ops. The outcome, or the error, appears as JSON in the page.
import { checkOps } from "./ops.js";
import { type Outcome, type Place, run } from "./program.js";

const query = new URLSearchParams(location.search);
const place: Place = {
  ...(query.has("threads") && { threads: Number(query.get("threads")) }),
  webgpu: query.get("device") === "webgpu",
};

function runInWorker(): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<{ outcome?: Outcome; error?: string }>) =>
      data.outcome ? resolve(data.outcome) : reject(new Error(data.error));
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
    worker.postMessage(place);
  });
}

function outcome(): Promise<unknown> {
  if (query.has("ops")) return checkOps();
  return query.get("place") === "worker" ? runInWorker() : run(place);
}

const output = document.querySelector("output")!;
try {
  output.textContent = JSON.stringify(await outcome());
} catch (error) {
  output.textContent = JSON.stringify({ error: String(error) });
}
output.dataset.done = "";
