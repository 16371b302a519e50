import { type KernelGroup, sizeOf } from "@lowrank/tensor/backend";
import { type EmitContext, operandAt } from "../emit.js";
import { classOf } from "../wgsl/registers.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements, ZERO } from "./elements.js";

/** Inputs that one shader reads: with the result they stay within the buffers that every device binds. */
const AT_ONCE = 6;

/**
 * Joins the inputs a few at a time. Each pass writes the whole result and keeps what the passes before have written, so that
 * words shared by two inputs come out whole.
 */
export function emitConcat(group: KernelGroup, ctx: EmitContext): void {
  const y = group.outputs[0]!;
  const { axis } = group.arg as { axis: number };
  const stride = sizeOf(y.dims.slice(axis));
  const inputs = group.inputs.map((_, i) => operandAt(group, i)).filter((x) => sizeOf(x.dims) > 0);
  let offset = 0;
  for (let first = 0; first < inputs.length; first += AT_ONCE) {
    const part = inputs.slice(first, first + AT_ONCE);
    let start = offset;
    emitElements("concat", y, ctx, (s) => {
      const row = s.param(stride);
      const lines = [`  let a = i / ${row};`, `  let p = i % ${row};`];
      for (const x of part) {
        const width = sizeOf(x.dims.slice(axis));
        const [from, n] = [s.param(start), s.param(width)];
        lines.push(
          `  if (p - ${from} < ${n}) { return ${loadOne(x.dtype, s.bind(x), `a * ${n} + p - ${from}`)}; }`,
        );
        start += width;
      }
      const rest = first === 0 ? ZERO[classOf(y.dtype)] : loadOne(y.dtype, s.bind(y, true), "i");
      lines.push(`  return ${rest};`);
      return lines.join("\n");
    });
    offset = start;
  }
}
