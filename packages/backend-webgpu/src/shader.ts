import { bug, type DType, dtypeBytes, type Operand, type Value } from "@lowrank/tensor/backend";
import { functionsOf } from "./wgsl/math.js";
import { aliases, classOf, type Width } from "./wgsl/registers.js";

/** Memory that the dispatches of one group share; the next group overwrites it. */
export interface Scratch {
  readonly kind: "scratch";
  readonly offset: number;
  readonly bytes: number;
}

/** What a shader reads or writes. */
export interface Binding {
  of: Value | Scratch;
  write: boolean;
}

/** One dispatch of a plan, with everything but the buffers that change from run to run. */
export interface Dispatch {
  readonly name: string;
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** 32-bit words of the uniform block: the end of the workgroups, the first of them, then the kernel's own. */
  readonly params: readonly number[];
  readonly workgroups: number;
}

/** Words of a uniform block: one slot of the smallest alignment that every device has. */
export const PARAM_WORDS = 64;
/** Threads of a workgroup where each has its own elements. */
const THREADS = 64;
/** Scalars of a plan. */
export const MAX_SCALARS = 4096;

const scratchFloat = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(4));

/** The word that holds an f32. */
export function f32Word(value: number): number {
  scratchFloat.setFloat32(0, value);
  return scratchFloat.getUint32(0);
}

/** Where memory lies: in the arena, or in a tensor's own buffer; bytes from its start. */
export type Place =
  | { readonly kind: "arena"; readonly offset: number }
  | { readonly kind: "leaf" | "root"; readonly slot: number; readonly offset: number };

/** Where a dispatch finds what it reads or writes. */
export function placeOf(of: Value | Scratch): Place {
  if ("kind" in of) return { kind: "arena", offset: of.offset };
  const { home } = of;
  if (home.kind === "none") return bug("a value of a plan for webgpu has no memory");
  if (home.kind === "temp") return { kind: "arena", offset: home.offset };
  return { kind: home.kind, slot: home.slot, offset: (home as { offset?: number }).offset ?? 0 };
}

/** A name by which two values that lie in the same memory are known. */
export function placeName(of: Value | Scratch): string {
  const place = placeOf(of);
  return place.kind === "arena" ? `a${place.offset}` : `${place.kind}${place.slot}+${place.offset}`;
}

/**
 * The text of a compute shader under construction. Numbers that differ between two uses of the same structure go into the
 * uniform block, so that one pipeline serves both.
 */
export class Shader {
  /** Functions of this shader alone, by name. */
  readonly own = new Map<string, string>();
  private readonly bindings: Binding[] = [];
  private readonly names = new Map<string, number>();
  private readonly params: number[] = [];

  constructor(
    readonly name: string,
    readonly width: Width = 1,
  ) {}

  /** The variable of a value's memory. Values that share memory share a variable. */
  bind(of: Value | Operand | Scratch, write = false): string {
    const target = "value" in of ? of.value : of;
    const key = placeName(target);
    let at = this.names.get(key);
    if (at === undefined) {
      at = this.bindings.push({ of: target, write }) - 1;
      this.names.set(key, at);
    } else {
      const known = this.bindings[at]!;
      if (write) known.write = true;
      // What shares memory need not be of one size: an empty tensor may lie where another begins.
      if (paddedBytes(target) > paddedBytes(known.of)) known.of = target;
    }
    return `b${at}`;
  }

  /** A number of the uniform block, as u32; negative ones wrap. */
  param(value: number): string {
    const at = this.params.push(value >>> 0) + 1;
    if (at >= PARAM_WORDS) bug(`a shader of ${this.name} has more than ${PARAM_WORDS} parameters`);
    return this.word(at);
  }

  /** A float of the uniform block. */
  float(value: number): string {
    return `bitcast<f32>(${this.param(f32Word(value))})`;
  }

  /** A scalar of the plan, as its register class. */
  scalar(slot: number, dtype: DType): string {
    const at = this.param(slot);
    const bits = `S[${at} >> 2u][${at} & 3u]`;
    switch (classOf(dtype)) {
      case "F":
        return `bitcast<f32>(${bits})`;
      case "I":
        return `bitcast<i32>(${bits})`;
      case "U":
        return bits;
      case "B":
        return `(${bits} != 0u)`;
    }
  }

  /**
   * @param body statements over `group` (the number of the workgroup), `lid` (of the thread in it); workgroups beyond the
   *   count have returned
   */
  build(workgroups: number, workgroupSize: number, body: string, declarations = ""): Dispatch {
    const storage = this.bindings
      .map(
        ({ of, write }, i) =>
          `@group(0) @binding(${i}) var<storage, ${access(of, write)}> b${i}: array<vec4<u32>>;`,
      )
      .join("\n");
    const text = `${[...this.own.values(), declarations].join("\n")}
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let group = P[0].y + wid.x + wid.y * nwg.x;
  if (group >= P[0].x) { return; }
${body}
}
`;
    const code = `${storage}
@group(1) @binding(0) var<uniform> P: array<vec4<u32>, ${PARAM_WORDS / 4}>;
@group(1) @binding(1) var<uniform> S: array<vec4<u32>, ${MAX_SCALARS / 4}>;
${aliases(this.width)}
${functionsOf(text)}
${text}`;
    return {
      name: this.name,
      code,
      bindings: this.bindings,
      params: [workgroups, 0, ...this.params],
      workgroups,
    };
  }

  /** A thread for every `step` of `size` elements; `body` is given their count, and has the first of a thread's in `e`. */
  each(size: number, step: Width, body: (n: string) => string, declarations = ""): Dispatch {
    const n = this.param(size);
    const text = `  let e = (group * ${THREADS}u + lid) * ${step}u;
  if (e >= ${n}) { return; }
${body(n)}`;
    return this.build(Math.ceil(size / (step * THREADS)), THREADS, text, declarations);
  }

  private word(at: number): string {
    return `P[${at >> 2}].${"xyzw"[at & 3]}`;
  }
}

/** Temporaries lie in one buffer, which a dispatch may not use in two ways: they are always writable. */
export function access(of: Value | Scratch, write: boolean): "read" | "read_write" {
  return write || placeOf(of).kind === "arena" ? "read_write" : "read";
}

/** Bytes of a value in memory: whole vectors, so that the last of them may be written in full. */
export const paddedBytes = (of: Value | Scratch): number =>
  Math.max(16, Math.ceil(("kind" in of ? of.bytes : of.size * dtypeBytes(of.dtype)) / 16) * 16);
