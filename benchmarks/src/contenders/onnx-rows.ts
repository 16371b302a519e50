import { type Filled, integers, numbers } from "../inputs.js";
import type { Spec } from "../rows/row.js";
import { type OnnxNode, type OnnxTensor, onnxModel } from "./onnx-model.js";

/** A row as operators: the last node makes `y`. */
interface Graph {
  nodes: OnnxNode[];
  constants: Record<string, OnnxTensor>;
  /** Of y. */
  shape: number[];
  type: "f32" | "f16";
}

const f32 = (f: Filled): OnnxTensor => ({ type: "f32", shape: f.shape, data: numbers(f) });
const f16 = (f: Filled): OnnxTensor => ({ type: "f16", shape: f.shape, data: new Float16Array(numbers(f)) });
const i64 = (values: readonly number[]): OnnxTensor => ({
  type: "i64",
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

/** Codes two to a byte, the first one low, where there are 16 of them. */
function packed(codes: Int32Array, bits: 8 | 4): Uint8Array {
  if (bits === 8) return Uint8Array.from(codes);
  return Uint8Array.from({ length: codes.length / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4));
}

const NO_GRADIENTS = "it runs models and makes no gradients";

/** The operators of a row, or why there are none. */
export function onnxGraph(spec: Spec): Graph | string {
  if ("dy" in spec && spec.dy) return NO_GRADIENTS;
  switch (spec.kind) {
    case "matmul": {
      const { a, b, transposeA, transposeB } = spec;
      const attributes = { transA: Number(transposeA), transB: Number(transposeB) };
      return {
        nodes: [{ op: "Gemm", inputs: ["a", "b"], output: "y", attributes }],
        constants: { a: f32(a), b: f32(b) },
        shape: [a.shape[transposeA ? 1 : 0]!, b.shape[transposeB ? 0 : 1]!],
        type: "f32",
      };
    }
    case "rank":
      return {
        nodes: [
          { op: "MatMul", inputs: ["x", "a"], output: "low" },
          { op: "MatMul", inputs: ["low", "b"], output: "y" },
        ],
        constants: { x: f32(spec.x), a: f32(spec.a), b: f32(spec.b) },
        shape: [spec.x.shape[0]!, spec.b.shape[1]!],
        type: "f32",
      };
    case "chain":
      return {
        nodes: [
          { op: "Mul", inputs: ["x", "y0"], output: "xy" },
          { op: "Add", inputs: ["xy", "z"], output: "t" },
          { op: "Gelu", inputs: ["t"], output: "y" },
        ],
        constants: { x: f32(spec.x), y0: f32(spec.y), z: f32(spec.z) },
        shape: spec.x.shape,
        type: "f32",
      };
    case "softmax":
      return {
        nodes: [{ op: "Softmax", inputs: ["x"], output: "y" }],
        constants: { x: f32(spec.x) },
        shape: spec.x.shape,
        type: "f32",
      };
    case "layernorm":
      return {
        nodes: [
          {
            op: "LayerNormalization",
            inputs: ["x", "weight", "bias"],
            output: "y",
            attributes: { epsilon: { float: spec.eps } },
          },
        ],
        constants: { x: f32(spec.x), weight: f32(spec.weight), bias: f32(spec.bias) },
        shape: spec.x.shape,
        type: "f32",
      };
    case "decomposition":
      return "it has no decompositions";
    case "matvec": {
      const { weights, x } = spec;
      if ("values" in weights) {
        const fill = weights.dtype === "f32" ? f32 : f16;
        return {
          nodes: [{ op: "Gemm", inputs: ["x", "w"], output: "y", attributes: { transB: 1 } }],
          constants: { x: fill(x), w: fill(weights.values) },
          shape: [1, weights.values.shape[0]!],
          type: weights.dtype,
        };
      }
      const { bits, group, codes, scales } = weights;
      const [n, k] = codes.shape as [number, number];
      // accuracy_level 4: x is rounded to 8 bits, for which its fast kernels are.
      const attributes = { K: k, N: n, bits, block_size: group, accuracy_level: 4 };
      const w: OnnxTensor = {
        type: "u8",
        shape: [n, k / group, (group * bits) / 8],
        data: packed(integers(codes), bits),
      };
      return {
        nodes: [
          {
            op: "MatMulNBits",
            domain: "com.microsoft",
            inputs: ["x", "w", "scales"],
            output: "y",
            attributes,
          },
        ],
        constants: { x: f32(x), w, scales: f32(scales) },
        shape: [1, n],
        type: "f32",
      };
    }
    case "mlp":
    case "decoder":
      return NO_GRADIENTS;
    case "attention":
    case "probe":
      return "it has no rows of this kind";
  }
}

/** The model that computes y and gives its last number alone: nothing else leaves the library's memory. */
export function lastNumber({ nodes, constants, shape, type }: Graph): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [...nodes, { op: "Slice", inputs: ["y", "starts", "ends"], output: "last" }],
    constants: { ...constants, starts: i64(shape.map(() => -1)), ends: i64(shape) },
    outputs: { last: { type, shape: shape.map(() => 1) } },
  });
}

/** The model that gives y whole. */
export function whole({ nodes, constants, shape, type }: Graph): Uint8Array<ArrayBuffer> {
  return onnxModel({ nodes, constants, outputs: { y: { type, shape } } });
}
