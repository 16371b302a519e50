import { SVD } from "svd-js";
import { digest } from "../check.js";
import { ascending, matrixOf } from "../matrices.js";
import { type Job, serve } from "../protocol.js";
import type { DecompositionSpec } from "../rows/decomposition.js";

function decomposition(spec: DecompositionSpec): Job | string {
  if (spec.what !== "svd") return "it has the SVD alone";
  if (spec.dtype === "f32") return "it computes in f64 alone";
  const { n, data } = matrixOf(spec);
  const rows = Array.from({ length: n }, (_, i) => Array.from(data.subarray(i * n, (i + 1) * n)));
  const run = () => SVD(rows.map((row) => [...row]));
  return { cpu: true, run: () => void run(), check: () => ({ y: digest(ascending(run().q))["elements"]! }) };
}

await serve({
  lib: "svd-js",
  details: `svd-js 1.1.1, Node ${process.versions.node}`,
  threads: 1,
  jobs: { decomposition },
});
