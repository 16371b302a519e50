import type { Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { Shader } from "../shader.js";
import { classOf } from "../wgsl/registers.js";
import { storeFour } from "../wgsl/storage.js";

const THREADS = 64;
const TYPES = { F: "f32", I: "i32", U: "u32", B: "bool" };

/**
 * A kernel in which every result is a function of its index: four of them a thread, so that narrow dtypes fill whole words.
 *
 * @param element writes the body of `fn element(i: u32) -> T`, which must return; `shader` gives it bindings and parameters
 */
export function emitElements(
  name: string,
  out: Value,
  ctx: EmitContext,
  element: (shader: Shader) => string,
): void {
  if (out.size === 0) return;
  const shader = new Shader(name, 4);
  const kind = classOf(out.dtype);
  const n = shader.param(out.size);
  const body = element(shader);
  const lanes = [0, 1, 2, 3].map((l) => `element(min(e + ${l}u, ${n} - 1u))`).join(", ");
  const text = `  let e = (group * ${THREADS}u + lid) * 4u;
  if (e >= ${n}) { return; }
  let r = ${kind}(${lanes});
${storeFour(shader.functions, out.dtype, shader.bind(out, true), "e", "r")}`;
  const declarations = `fn element(i: u32) -> ${TYPES[kind]} {\n${body}\n}`;
  ctx.dispatch(shader.build(Math.ceil(out.size / (4 * THREADS)), THREADS, text, declarations));
}

/** What `element` returns outside of its operands. */
export const ZERO = { F: "0.0", I: "0", U: "0u", B: "false" };
