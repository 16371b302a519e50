// ?place=main or ?place=worker, &threads=N. The outcome, or the error, appears as JSON in the page.
import { type Outcome, run } from "./program.js";

const query = new URLSearchParams(location.search);
const threads = query.has("threads") ? Number(query.get("threads")) : undefined;

function runInWorker(): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<{ outcome?: Outcome; error?: string }>) =>
      data.outcome ? resolve(data.outcome) : reject(new Error(data.error));
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
    worker.postMessage(threads);
  });
}

const output = document.querySelector("output")!;
try {
  output.textContent = JSON.stringify(await (query.get("place") === "worker" ? runInWorker() : run(threads)));
} catch (error) {
  output.textContent = JSON.stringify({ error: String(error) });
}
output.dataset.done = "";
