import { LoopOp, MOST_OUTPUTS } from "../assembly/loop-ops.js";
import { isCodeable, type CodeStep } from "./loop-code.js";
import type { Line, Register } from "./emit-loop-program.js";

/** Operations that become one piece of code. */
export interface StretchLine {
  readonly inputs: readonly Register[];
  readonly steps: readonly CodeStep[];
  readonly outputs: readonly { readonly register: Register; readonly number: number; readonly line: Line }[];
}

/** One operation alone is as fast in the interpreter. */
const LEAST_STEPS = 2;

/**
 * Gathers operations that follow each other into stretches. Loads among them are done before, which is as good: a load
 * whose memory is written is copied at the beginning of the loop. A stretch ends where an operation has no code, and where
 * a load writes what it loads, perhaps to memory that the stretch reads.
 */
export function gatherStretches(lines: readonly Line[], reduced: readonly Register[]): Line[] {
  const lastUse = new Map<Register, number>();
  lines.forEach(({ sources }, i) => {
    for (const source of sources) lastUse.set(source, i);
  });
  for (const register of reduced) lastUse.set(register, lines.length);
  const out: Line[] = [];
  let open: Line[] = [];
  const close = (next: number) => {
    if (open.length >= LEAST_STEPS) out.push(...stretches(open, (r) => (lastUse.get(r) ?? -1) >= next));
    else out.push(...open);
    open = [];
  };
  lines.forEach((line, i) => {
    if (line.op === LoopOp.Load && line.store === 0) out.push(line);
    else if (isCodeable(line.op) && line.target && !line.target.wide && line.sources.every((s) => !s.wide)) {
      open.push(line);
    } else {
      close(i);
      out.push(line);
    }
  });
  close(lines.length);
  return out;
}

/** The lines as one stretch, or as they are if it would have too many results. */
function stretches(lines: readonly Line[], isUsed: (register: Register) => boolean): readonly Line[] {
  const made = new Map<Register, number>();
  const inputs: Register[] = [];
  const makers = new Set(lines.map(({ target }) => target!));
  for (const { sources } of lines) {
    for (const source of sources) {
      if (!makers.has(source) && !inputs.includes(source)) inputs.push(source);
    }
  }
  inputs.forEach((register, i) => made.set(register, i));
  lines.forEach(({ target }, i) => made.set(target!, inputs.length + i));
  const steps = lines.map(({ op, sources }) => ({ op, sources: sources.map((s) => made.get(s)!) }));
  const outputs = lines
    .filter((line) => line.store > 0 || isUsed(line.target!))
    .map((line) => ({ register: line.target!, number: made.get(line.target!)!, line }));
  if (outputs.length === 0 || outputs.length > MOST_OUTPUTS) return lines;
  const stretch: StretchLine = { inputs, steps, outputs };
  return [{ op: LoopOp.Code, target: null, sources: inputs, load: -1, store: 0, flags: 0, stretch }];
}
