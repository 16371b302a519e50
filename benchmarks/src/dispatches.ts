import { dawn } from "@lowrank/backend-dawn";
import { evaluate, key, matmul, normal, parameter, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { markdownTable } from "./markdown.js";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";

/** Work of the host for each dispatch of a plan that is run again, in microseconds. */
export interface DispatchCost {
  bench: "dispatches";
  dispatches: number;
  runs: number;
  /** From the call of `evaluate` until everything is with the GPU: walking the graph, binding, encoding, submitting. */
  whole_us: number;
  /** From a new encoder until its commands are submitted. */
  encode_us: number;
  /** The same calls of Dawn in a bare loop. */
  floor_us: number;
  /** encode_us − floor_us: our own part of encoding; the median of the runs' differences. */
  ours_us: number;
  best: { whole_us: number; encode_us: number; floor_us: number };
  adapter: string;
  machine: string;
}

type Call = readonly [name: "setPipeline" | "setBindGroup" | "dispatchWorkgroups", args: unknown[]];
type Method = (...args: unknown[]) => unknown;

const SIZE = 16;

/** Times a plan of so many small products that do not depend on one another, beside the same calls in a bare loop. */
export async function measureDispatches(count: number, runs: number): Promise<DispatchCost> {
  const backend = await dawn();
  setDefaultBackend(backend);
  const { device } = backend;
  const { queue } = device;
  const sources = Array.from({ length: 8 }, (_, i) => parameter(normal([SIZE, SIZE], { key: key(i) })));
  await evaluate(...sources);

  // Encoding begins with an encoder and ends with its submit, both within one turn of the host.
  let began = 0;
  let encoding = 0;
  let ended = 0;
  const encoderOf = device.createCommandEncoder.bind(device);
  const submit = queue.submit.bind(queue);
  device.createCommandEncoder = () => {
    began = performance.now();
    return encoderOf();
  };
  queue.submit = (buffers) => {
    submit(buffers);
    ended = performance.now();
    encoding += ended - began;
  };

  const run = async (): Promise<{ whole: number; encode: number }> => {
    const products: Tensor[] = [];
    for (let i = 0; i < count; i++) products.push(matmul(sources[i % 8]!, sources[(i >> 3) % 8]!));
    encoding = 0;
    const start = performance.now();
    await evaluate(...products);
    const whole = ended - start;
    await queue.onSubmittedWorkDone();
    const encode = encoding;
    for (const product of products) product.dispose();
    return { whole, encode };
  };

  for (let i = 0; i < 5; i++) await run();
  const calls = await recorded(device, run);
  const bare = async (): Promise<number> => {
    const start = performance.now();
    const encoder = encoderOf();
    const pass = encoder.beginComputePass();
    for (const [name, args] of calls) (pass[name] as Method)(...args);
    pass.end();
    submit([encoder.finish()]);
    const ms = performance.now() - start;
    await queue.onSubmittedWorkDone();
    return ms;
  };
  for (let i = 0; i < 5; i++) await bare();
  const times: { whole: number; encode: number; floor: number }[] = [];
  for (let i = 0; i < runs; i++) times.push({ ...(await run()), floor: await bare() });
  const done = calls.filter(([name]) => name === "dispatchWorkgroups").length;
  const us = (ms: number): number => significant((1000 * ms) / done, 3);
  const each = (of: (t: (typeof times)[number]) => number) => times.map(of);
  const adapter = backend.adapter.name;
  await backend.dispose();
  return {
    bench: "dispatches",
    dispatches: done,
    runs,
    whole_us: us(median(each((t) => t.whole))),
    encode_us: us(median(each((t) => t.encode))),
    floor_us: us(median(each((t) => t.floor))),
    ours_us: us(median(each((t) => t.encode - t.floor))),
    best: {
      whole_us: us(Math.min(...each((t) => t.whole))),
      encode_us: us(Math.min(...each((t) => t.encode))),
      floor_us: us(Math.min(...each((t) => t.floor))),
    },
    adapter,
    machine: machine(),
  };
}

/** What a run asks of its passes, in order. */
async function recorded(device: GPUDevice, run: () => Promise<unknown>): Promise<Call[]> {
  const calls: Call[] = [];
  const pass = device.createCommandEncoder().beginComputePass();
  const prototype = Object.getPrototypeOf(pass) as Record<string, Method>;
  pass.end();
  const names = ["setPipeline", "setBindGroup", "dispatchWorkgroups"] as const;
  const before = names.map((name) => prototype[name]!);
  names.forEach((name, i) => {
    prototype[name] = function (this: unknown, ...args) {
      calls.push([name, args]);
      return before[i]!.apply(this, args);
    };
  });
  try {
    await run();
  } finally {
    names.forEach((name, i) => {
      prototype[name] = before[i]!;
    });
  }
  return calls;
}

/** Work of the host for each dispatch, as a table. */
export function dispatchesMarkdown(lines: readonly DispatchCost[]): string {
  return lines
    .map(({ dispatches, runs, whole_us, encode_us, floor_us, ours_us, best, adapter, machine: on }) =>
      [
        `${on}; ${adapter}. µs of the host for each of ${dispatches} dispatches of a plan that is run again, ${runs} runs. The calls alone are the same calls of Dawn in a bare loop, in turns with ours; on a software adapter its threads compete with the host, so that the best run is the fairer one.`,
        markdownTable(
          ["", "median", "best"],
          [
            ["evaluate until all is with the GPU", whole_us, best.whole_us],
            ["encode and submit", encode_us, best.encode_us],
            ["the calls alone", floor_us, best.floor_us],
            ["ours in encode and submit", ours_us, significant(best.encode_us - best.floor_us, 2)],
          ].map((row) => row.map(String)),
        ),
      ].join("\n\n"),
    )
    .join("\n\n");
}
