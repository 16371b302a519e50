// One turn of llama.cpp, by node-llama-cpp's prebuilt library: model, threads.
import { NEW_TOKENS, PROMPT, REPEATS, type Turn } from "./generate.js";
import { median } from "./statistics.js";
import { textPeerEntry } from "./text-peers.js";

interface Sequence {
  clearHistory(): Promise<void>;
  evaluate(ids: number[], options: { temperature: number }): AsyncGenerator<number>;
}
interface Model {
  tokenize(text: string): number[];
  detokenize(ids: number[]): string;
  createContext(options: object): Promise<{ getSequence(): Sequence }>;
}
interface Library {
  getLlama(
    options: object,
  ): Promise<{ loadModel(options: object): Promise<Model>; llamaCppRelease: { release: string } }>;
}

const [modelPath, count] = process.argv.slice(2) as [string, string];
const threads = Number(count);
const { getLlama } = (await import(textPeerEntry("node-llama-cpp", "dist/index.js"))) as Library;
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: threads });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads });
const sequence = context.getSequence();
const prompt = model.tokenize(PROMPT.repeat(REPEATS)).slice(0, 256);

async function run(newTokens: number): Promise<{ times: number[]; ids: number[] }> {
  await sequence.clearHistory();
  const [times, ids]: number[][] = [[], []];
  let last = performance.now();
  for await (const id of sequence.evaluate(prompt, { temperature: 0 })) {
    const now = performance.now();
    times!.push(now - last);
    last = now;
    if (ids!.push(id) >= newTokens) break;
  }
  return { times: times!, ids: ids! };
}

await run(4);
const { times, ids } = await run(NEW_TOKENS);
const result: Turn = {
  prefill_per_s: (1000 * prompt.length) / times[0]!,
  decode_per_s: 1000 / median(times.slice(1)),
  text: model.detokenize(ids),
  details: `llama.cpp ${llama.llamaCppRelease.release}`,
};
console.log(JSON.stringify(result));
process.exit(0);
