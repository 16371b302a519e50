import type { Row } from "./rows/row.js";

type Kind = Row["spec"]["kind"];

/** How a library takes part. */
interface Participation {
  /** The file of src/contenders that drives it; it is told the library's name. */
  driver?: string;
  /** Its program in src/start. */
  program?: string;
  /** The kinds of rows that it takes part in; all of `core`, unless given. */
  kinds?: readonly Kind[];
  env?: Readonly<Record<string, string>>;
  /** It runs on a GPU: in `bench webgpu`, and not in `core`. */
  gpu?: true;
  /** It always has so many threads, and takes part only where others are given more. */
  threads?: number;
}

const GPU_KINDS: readonly Kind[] = [
  "matmul",
  "rank",
  "chain",
  "softmax",
  "layernorm",
  "attention",
  "mlp",
  "decoder",
];

const libraries = {
  "lowrank-wasm": { driver: "lowrank.ts", program: "lowrank.mjs" },
  /** Ours on an engine without relaxed SIMD. */
  "lowrank-wasm-plain": { driver: "lowrank.ts", kinds: ["matmul"], env: { BENCH_PLAIN: "1" } },
  /** Ours on one thread, beside ours on several. */
  "lowrank-wasm-1": {
    driver: "lowrank.ts",
    kinds: ["matmul", "mlp", "decoder", "decomposition"],
    threads: 1,
  },
  /** Ours on the BLAS of the machine. */
  "lowrank-native": {
    driver: "lowrank-native.ts",
    kinds: ["matmul", "rank", "mlp", "decoder", "decomposition"],
  },
  "jax-js": { driver: "jax-js.ts", program: "jax-js.mjs" },
  "tfjs-wasm": { driver: "tfjs-wasm.ts", program: "tfjs-wasm.mjs" },
  "onnxruntime-web": { driver: "onnxruntime.ts", program: "onnxruntime.mjs" },
  "onnxruntime-node": { driver: "onnxruntime.ts", program: "onnxruntime.mjs" },
  numpy: { driver: "native.py" },
  torch: { driver: "native.py" },
  "ml-matrix": { driver: "ml-matrix.ts", kinds: ["decomposition"] },
  "svd-js": { driver: "svd-js.ts", kinds: ["decomposition"] },
  /** Reads the bytes of the weights and does nothing with them. */
  reading: { driver: "reading.ts", kinds: ["matvec"] },
  /** Node without a library. */
  node: { program: "bare.mjs", kinds: ["start"] },
  "lowrank-webgpu": { driver: "lowrank-webgpu.ts", kinds: GPU_KINDS, gpu: true },
  "jax-js-webgpu": { driver: "jax-js-webgpu.ts", kinds: GPU_KINDS, gpu: true },
  "tfjs-webgpu": { driver: "tfjs-webgpu.ts", kinds: GPU_KINDS, gpu: true },
  /** What the adapter of a GPU can do, by kernels that do nothing else. */
  adapter: { driver: "adapter.ts", kinds: ["probe"], gpu: true },
} satisfies Record<string, Participation>;

export type Library = keyof typeof libraries;

/** All that is timed: ours, the peers, native libraries, and what the machine itself allows. */
export const LIBRARIES: Readonly<Record<Library, Participation>> = libraries;

const LINALG: readonly Library[] = [
  "lowrank-wasm",
  "lowrank-wasm-1",
  "lowrank-native",
  "jax-js",
  "ml-matrix",
  "svd-js",
  "numpy",
];

/** The libraries of `bench core`, `bench webgpu` or `bench linalg`. */
export const librariesOf = (bench: "core" | "webgpu" | "linalg"): Library[] =>
  bench === "linalg"
    ? [...LINALG]
    : (Object.keys(LIBRARIES) as Library[]).filter(
        (lib) =>
          (LIBRARIES[lib].gpu ?? false) === (bench === "webgpu") &&
          LIBRARIES[lib].kinds?.join() !== "decomposition",
      );

/** Whether a library belongs to a row. The others have no line in it: they are no competitors there. */
export function takesPart(lib: Library, kind: Kind, threads: number): boolean {
  const { kinds, threads: own } = LIBRARIES[lib];
  return (kinds?.includes(kind) ?? true) && (own === undefined || own < threads);
}
