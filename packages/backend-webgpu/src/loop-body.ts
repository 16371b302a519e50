import { contiguousStrides, type Load, type LoopGroup, type Value } from "@lowrank/tensor/backend";
import type { Shader } from "./shader.js";
import { instructionText } from "./wgsl/instruction.js";
import { classOf } from "./wgsl/registers.js";
import { loadFour, loadOne, storeFour, storeOne } from "./wgsl/storage.js";
import { seq } from "./wgsl/text.js";

/** How the index of a load follows from that of the space. */
type Path =
  /** The same element for the whole space. */
  | "fixed"
  /** The index of the space plus an offset. */
  | "flat"
  /** Along the last axis in steps, whole vectors within one row. */
  | "row"
  /** Every element for itself. */
  | "each";

/**
 * The lines of a fused loop at one place of its space: loads, instructions and stores for `width` elements from the flat
 * index in the variable `e`. With four elements, `size` counts those that exist: lanes beyond repeat the last.
 */
export class LoopBody {
  private readonly strides: readonly number[];
  /** Whether four elements from a multiple of 4 lie in one row of the last axis. */
  private readonly together: boolean;
  private readonly dims: string[];
  private readonly registers: string[] = [];

  constructor(
    private readonly shader: Shader,
    private readonly group: LoopGroup,
    private readonly size: string,
    /** A value that is at hand in a variable, at the same index. */
    private readonly given?: { readonly value: Value; readonly text: string },
  ) {
    const { space } = group;
    this.strides = contiguousStrides(space);
    this.together = shader.width === 1 || space.length <= 1 || space.at(-1)! % 4 === 0;
    const coordinates = group.loads.some((l) => ["row", "each"].includes(this.path(l)));
    this.dims = coordinates && space.length > 1 ? space.map((n) => shader.param(n)) : [];
  }

  /** Register `index`, once `lines` has been taken. */
  register(index: number): string {
    return this.registers[index]!;
  }

  /** All lines up to the last instruction. */
  lines(): string {
    const { group } = this;
    const lines: string[] = [];
    const paths = group.loads.map((load) => this.path(load));
    if (paths.includes("row")) lines.push(...this.coordinates("e", ""));
    if (paths.includes("each")) {
      for (let l = 0; l < 4; l++) {
        lines.push(`let e${l} = min(e + ${l}u, ${this.size} - 1u);`);
        lines.push(...this.coordinates(`e${l}`, `_${l}`));
      }
    }
    group.loads.forEach((load, i) => {
      lines.push(`let r${i} = ${this.load(load, paths[i]!)};`);
      this.registers.push(`r${i}`);
    });
    group.code.forEach((instr, i) => {
      const text = instructionText(
        instr,
        instr.sources.map((s) => this.registers[s]!),
      );
      const name = `r${group.loads.length + i}`;
      lines.push(`let ${name} = ${text};`);
      this.registers.push(name);
    });
    return lines.join("\n");
  }

  /** The stores of the loop. */
  stores(): string {
    const { shader, group } = this;
    return group.stores
      .map(({ register, value }) => {
        const name = shader.bind(value, true);
        const text = this.registers[register]!;
        return shader.width === 4
          ? storeFour(value.dtype, name, "e", text)
          : storeOne(value.dtype, name, "e", text);
      })
      .join("\n");
  }

  private path(load: Load): Path {
    if (load.kind === "scalar" || load.strides.every((s, d) => s === 0 || this.group.space[d] === 1))
      return "fixed";
    const flat = load.strides.every((s, d) => s === this.strides[d] || this.group.space[d] === 1);
    if (flat) return "flat";
    return this.together ? "row" : "each";
  }

  /** Variables c0, c1, ... : the place of flat index `at` along each axis. */
  private coordinates(at: string, suffix: string): string[] {
    const last = this.group.space.length - 1;
    if (last <= 0) return [`let c0${suffix} = ${at};`];
    const lines: string[] = [];
    let rest = at;
    for (let d = last; d > 0; d--) {
      lines.push(`let c${d}${suffix} = ${rest} % ${this.dims[d]};`);
      lines.push(`let q${d}${suffix} = ${rest} / ${this.dims[d]};`);
      rest = `q${d}${suffix}`;
    }
    lines.push(`let c0${suffix} = ${rest};`);
    return lines;
  }

  private load(load: Load, path: Path): string {
    const { shader, given } = this;
    if (load.kind === "value" && load.value === given?.value) return given.text;
    if (load.kind === "scalar") {
      const text = shader.scalar(load.slot, load.dtype);
      return shader.width === 4 ? `${classOf(load.dtype)}(${text})` : text;
    }
    const offset = shader.param(load.offset);
    const steps = load.strides.map((s) => (s === 0 || s === 1 ? `${s}u` : shader.param(s)));
    const at = (suffix: string): string =>
      load.strides.reduce((sum, s, d) => {
        if (s === 0 || this.group.space[d] === 1) return sum;
        return `${sum} + c${d}${suffix}${s === 1 ? "" : ` * ${steps[d]}`}`;
      }, offset);
    if (load.kind === "iota") return this.iota(load, path, at, offset);
    const { dtype } = load.value;
    const name = shader.bind(load.value);
    const kind = classOf(dtype);
    const one = (index: string): string => loadOne(dtype, name, index);
    if (shader.width === 1) {
      if (path === "fixed") return one(offset);
      return one(path === "flat" ? `e + ${offset}` : at(""));
    }
    const lanes = (index: (lane: number) => string): string =>
      `${kind}(${seq(4, (l) => one(index(l)), ", ")})`;
    const last = load.strides.at(-1)!;
    switch (path) {
      case "fixed":
        return `${kind}(${one(offset)})`;
      case "flat":
        if (load.offset % 4 === 0) return loadFour(dtype, name, `e + ${offset}`);
        return lanes((l) => `min(e + ${l}u, ${this.size} - 1u) + ${offset}`);
      case "row": {
        if (last === 0) return `${kind}(${one(at(""))})`;
        const aligned = [load.offset, ...load.strides.slice(0, -1)].every((s) => s % 4 === 0);
        if (last === 1 && aligned && load.strides.length > 1) return loadFour(dtype, name, at(""));
        // The last vector of a space of one axis may hang over.
        if (load.strides.length === 1)
          return lanes((l) => `${offset} + min(e + ${l}u, ${this.size} - 1u) * ${steps[0]}`);
        return lanes((l) => `${at("")} + ${l}u * ${steps.at(-1)}`);
      }
      case "each":
        return lanes((l) => at(`_${l}`));
    }
  }

  private iota(
    load: Exclude<Load, { kind: "value" | "scalar" }>,
    path: Path,
    at: (suffix: string) => string,
    offset: string,
  ): string {
    const last = load.strides.at(-1) ?? 0;
    const cast = (index: string): string => {
      const kind = classOf(load.dtype);
      if (kind === "U") return `U(${index})`;
      if (kind === "I") return `bitcast<I>(U(${index}))`;
      if (kind === "B") return `(U(${index}) != U(0u))`;
      return `F(bitcast<I>(U(${index})))`;
    };
    if (path === "fixed") return cast(offset);
    if (this.shader.width === 1) return cast(path === "flat" ? `e + ${offset}` : at(""));
    switch (path) {
      case "flat":
        return cast(`vec4<u32>(e + ${offset}) + vec4<u32>(0u, 1u, 2u, 3u)`);
      case "row":
        return cast(`vec4<u32>(${at("")}) + vec4<u32>(0u, 1u, 2u, 3u) * ${this.shader.param(last)}`);
      case "each":
        return cast(`vec4<u32>(${seq(4, (l) => at(`_${l}`), ", ")})`);
    }
  }
}
