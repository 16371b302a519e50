import type { Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { Shader } from "../shader.js";
import { classOf, scalarType } from "../wgsl/registers.js";
import { storeFour } from "../wgsl/storage.js";
import { seq } from "../wgsl/text.js";

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
  const body = element(shader);
  const lanes = (n: string): string => seq(4, (l) => `element(min(e + ${l}u, ${n} - 1u))`, ", ");
  const text = (n: string): string => `  let r = ${classOf(out.dtype)}(${lanes(n)});
${storeFour(out.dtype, shader.bind(out, true), "e", "r")}`;
  const declarations = `fn element(i: u32) -> ${scalarType(out.dtype)} {\n${body}\n}`;
  ctx.dispatch(shader.each(out.size, 4, text, declarations));
}

/** What `element` returns outside of its operands. */
export const ZERO = { F: "0.0", I: "0", U: "0u", B: "false" };
