import type { Instr, Load, LoopGroup, Value } from "@lowrank/tensor/backend";
import { placeName } from "./shader.js";

interface Output {
  readonly kind: "stores" | "reductions";
  readonly index: number;
  readonly place: string;
  /** Loads and instructions that it needs, by register. */
  readonly needs: ReadonlySet<number>;
  readonly reads: ReadonlySet<string>;
}

/**
 * A loop in parts that touch at most `most` places in memory each, in an order in which no part writes over what a later
 * one reads; each computes what its outputs need. Gives the loop itself where it fits, or where no such order exists.
 */
export function partsOfLoop(group: LoopGroup, most: number): readonly LoopGroup[] {
  const outputs = (["stores", "reductions"] as const).flatMap((kind) =>
    group[kind].map(({ register, value }, index) => outputOf(group, kind, index, register, value)),
  );
  if (placesOf(outputs).size <= most) return [group];
  const ordered = readersFirst(outputs);
  if (!ordered) return [group];
  const parts: Output[][] = [[]];
  for (const output of ordered) {
    const part = parts.at(-1)!;
    if (part.length === 0 || placesOf([...part, output]).size <= most) part.push(output);
    else parts.push([output]);
  }
  return parts.map((part) => only(group, part));
}

function outputOf(
  { loads, code }: LoopGroup,
  kind: Output["kind"],
  index: number,
  register: number,
  value: Value,
): Output {
  const needs = new Set<number>([register]);
  // A set gives what is added while it is walked, too.
  for (const r of needs) for (const source of code[r - loads.length]?.sources ?? []) needs.add(source);
  const reads = new Set<string>();
  for (const r of needs) {
    const load = loads[r];
    if (load?.kind === "value") reads.add(placeName(load.value));
  }
  return { kind, index, place: placeName(value), needs, reads };
}

const placesOf = (outputs: readonly Output[]): Set<string> =>
  new Set(outputs.flatMap(({ place, reads }) => [place, ...reads]));

/** An order in which an output that is written over a place comes after the others that read it; null if there is none. */
function readersFirst(outputs: readonly Output[]): Output[] | null {
  const left = new Set(outputs);
  const ordered: Output[] = [];
  while (left.size > 0) {
    const next = [...left].find((o) => [...left].every((other) => other === o || !other.reads.has(o.place)));
    if (!next) return null;
    left.delete(next);
    ordered.push(next);
  }
  return ordered;
}

/** The loop with these outputs alone. */
function only(group: LoopGroup, outputs: readonly Output[]): LoopGroup {
  const needed = new Set(outputs.flatMap(({ needs }) => [...needs]));
  const registers = new Map([...needed].sort((a, b) => a - b).map((old, now) => [old, now]));
  const at = (old: number): number => registers.get(old)!;
  const count = group.loads.length;
  const kept = <T extends { readonly register: number }>(list: readonly T[], kind: Output["kind"]): T[] =>
    outputs
      .filter((output) => output.kind === kind)
      .map(({ index }) => ({ ...list[index]!, register: at(list[index]!.register) }));
  return {
    ...group,
    loads: group.loads.filter((_: Load, i: number) => needed.has(i)),
    code: group.code
      .filter((_: Instr, i: number) => needed.has(count + i))
      .map((instr) => ({ ...instr, sources: instr.sources.map(at) })),
    stores: kept(group.stores, "stores"),
    reductions: kept(group.reductions, "reductions"),
  };
}
