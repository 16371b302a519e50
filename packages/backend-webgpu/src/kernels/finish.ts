import { type KernelGroup, type LoopGroup, sizeOf, type Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { LoopBody } from "../loop-body.js";
import { type Scratch, Shader } from "../shader.js";
import { rounded } from "../wgsl/registers.js";
import { isWide, storeFour, storeOne } from "../wgsl/storage.js";
import { lane, seq } from "../wgsl/text.js";

/** Whether a kernel whose rows have `columns` results can run `loop` on four of them at a time. */
export const canFinish = (loop: LoopGroup, columns: number, buffers: number): boolean => {
  const values = new Set([
    ...loop.loads.flatMap((l) => (l.kind === "value" ? [l.value] : [])),
    ...loop.stores.map((s) => s.value),
  ]);
  const words = loop.loads.length * (1 + loop.space.length) + loop.space.length;
  return columns % 4 === 0 && values.size + 2 <= buffers && words <= 24;
};

/**
 * The declaration of `put(e, left, v)`, which takes four results from flat index e on, of which `left` exist, through the
 * group's epilogue into memory; or into `parts` as they are.
 */
export function putText(s: Shader, group: KernelGroup, columns: number, parts: Scratch | null): string {
  const y = group.outputs[0]!;
  const head = "fn put(e: u32, left: u32, v: vec4<f32>) {";
  if (!parts && group.epilogue) return `${head}\n${epilogueText(s, group.epilogue, y)}\n}`;
  const to = parts ?? y;
  const name = s.bind(to, true);
  if (columns % 4 === 0) return `${head} ${storeFour(parts ? "f32" : y.dtype, name, "e", "v")} }`;
  const one = (l: number): string =>
    `if (left > ${l}u) { ${storeOne("f32", name, `(e + ${l}u)`, `v.${lane(l)}`)} }`;
  return `${head} ${seq(4, one)} }`;
}

function epilogueText(s: Shader, loop: LoopGroup, product: Value): string {
  const body = new LoopBody(s, loop, s.param(sizeOf(loop.space)), {
    value: product,
    text: rounded("v", product.dtype),
  });
  return `${body.lines()}\n${body.stores()}`;
}

/** Whether results go to memory at once; else `emitJoin` brings them there. */
export const storesDirectly = (y: Value, columns: number): boolean => isWide(y.dtype) || columns % 4 === 0;

/** Adds up `count` parts of a product in their order and finishes it. */
export function emitJoin(group: KernelGroup, parts: Scratch, count: number, ctx: EmitContext): void {
  const y = group.outputs[0]!;
  const s = new Shader(`${group.name} of parts`, 4);
  const [n, T] = [y.size, count].map((x) => s.param(x));
  const from = s.bind(parts);
  const put = putText(s, group, 4, null);
  const text = (step: string): string => `  var v = bitcast<vec4<f32>>(${from}[e]);
  for (var t = 1u; t < ${T}; t++) { v += bitcast<vec4<f32>>(${from}[t * ${step} + e]); }
  put(e * 4u, ${n} - e * 4u, v);`;
  ctx.dispatch(s.each(Math.ceil(y.size / 4), 1, text, put));
}
