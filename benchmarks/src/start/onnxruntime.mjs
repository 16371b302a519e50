import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { tell } from "./task.mjs";

const lib = process.argv[2];
const inPeers = createRequire(new URL("../../peers/package.json", import.meta.url));
const imported = await import(pathToFileURL(inPeers.resolve(lib)).href);
const { InferenceSession, env } = imported.default ?? imported;
if (lib === "onnxruntime-web") env.wasm.numThreads = 1;
// The model holds A and B.
const session = await InferenceSession.create(process.argv[4], {
  executionProviders: [lib === "onnxruntime-web" ? "wasm" : "cpu"],
  intraOpNumThreads: 1,
  graphOptimizationLevel: "disabled",
});
const { y } = await session.run({});
tell(`${lib} ${env.versions.common}`, y.data);
