import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend, DType, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { difference, Drawer, reference, Rng, runOn, tensorOf, type Wanted } from "@lowrank/tensor/testing";

let backend: Backend;
let more: Backend;
beforeAll(async () => {
  backend = await wasm({ threads: 1 });
  more = await wasm({ threads: 3 });
});
afterAll(() => {
  backend.dispose();
  more.dispose();
});

const FLOATS: readonly DType[] = ["f32", "f16", "bf16", "f64"];
const INTEGERS: readonly DType[] = ["i32", "u32", "i8", "u8"];
const RTOL: Partial<Record<DType, number>> = { f64: 1e-13, f32: 2e-6, f16: 4e-3, bf16: 3e-2 };

/** Sizes around the ends of vectors, blocks and chunks. */
const SIZES = [1, 2, 3, 4, 7, 8, 9, 31, 64, 100, 511, 512, 513, 1023, 1024, 1025, 2050, 5000];

function drawDims(rng: Rng, most: number, maxRank = 4): number[] {
  const dims: number[] = [];
  let size = 1;
  for (let d = rng.int(0, maxRank); d > 0; d--) {
    const fitting = SIZES.filter((n) => n * size <= most);
    const n = rng.pick(fitting);
    dims.push(n);
    size *= n;
  }
  return rng.order(dims.length).map((d) => dims[d]!);
}

async function agree(
  build: () => readonly Wanted[],
  text: string,
  rtol: number,
  atol: number,
): Promise<void> {
  const expected = await runOn(reference(), build);
  const got = await runOn(backend, build);
  for (const [i, result] of expected.entries()) {
    const wrong = difference(got[i]!, result, { rtol, atol });
    if (wrong) throw new Error(`${text}, result ${i}: ${wrong}`);
  }
}

/** A step that keeps numbers between about -4 and 4 and the dtype. */
function step(rng: Rng, live: readonly Tensor[], integer: boolean): Tensor {
  const a = rng.pick(live);
  const b = rng.pick(live);
  const n = rng.int(0, integer ? 7 : 13);
  switch (n) {
    case 0:
      return t.maximum(a, b);
    case 1:
      return t.minimum(a, b);
    case 2:
      return t.where(t.lt(a, b), a, rng.pick(live));
    case 3:
      return integer ? a.add(b) : a.add(b).mul(0.5);
    case 4:
      return integer ? a.sub(b) : a.sub(b).mul(0.5);
    case 5:
      return integer ? a.mul(b) : a.mul(b).mul(0.25);
    case 6:
      return integer ? t.truncDivide(a, b) : a.div(t.abs(b).add(1));
    case 7:
      return integer ? t.remainder(a, b) : t.where(t.ge(a, 0.5), b, 1);
    case 8:
      return t.tanh(a);
    case 9:
      return t.sigmoid(a).mul(b);
    case 10:
      return t.exp(t.minimum(a, 1));
    case 11:
      return t.sin(a);
    case 12:
      return t.erf(a);
    default:
      return t.sqrt(t.abs(a).add(0.25));
  }
}

describe("fused loops over views give what the reference gives", () => {
  for (const dtype of [...FLOATS, ...INTEGERS]) {
    test(`chains in ${dtype}`, async () => {
      for (let seed = 1; seed <= 25; seed++) {
        const rng = new Rng(seed);
        const drawer = new Drawer(rng, dtype, false);
        const dims = drawDims(rng, 12000);
        for (let n = rng.int(1, 3); n > 0; n--)
          drawer.input(n > 1 && rng.chance(0.5) ? drawer.narrower(dims) : dims);
        const plan = rng.int(0, 2 ** 30);
        const integer = INTEGERS.includes(dtype);
        const build = (): Tensor[] => {
          const again = new Rng(plan);
          const live = drawer.inputs.map((input) => t.broadcastTo(tensorOf(input), dims));
          for (let n = again.int(1, 8); n > 0; n--) live.push(step(again, live, integer));
          const last = live[live.length - 1]!;
          return again.chance(0.4) ? [last, again.pick(live).add(0)] : [last];
        };
        const rtol = (RTOL[dtype] ?? 0) * 4;
        await agree(build, `seed ${seed}, ${dtype} [${dims}]`, rtol, rtol * 4);
      }
    });
  }

  test("reductions over any axes", async () => {
    for (const dtype of ["f32", "f16", "f64", "i32", "u32"] as const) {
      for (let seed = 1; seed <= 40; seed++) {
        const rng = new Rng(1000 + seed);
        const drawer = new Drawer(rng, dtype, false);
        const dims = drawDims(rng, 40000);
        drawer.input(dims);
        const axes = drawer.axes(dims.length);
        const [both, stored] = [rng.chance(0.3), rng.chance(0.3)];
        const op = rng.pick([t.sum, t.max, t.min] as const);
        const build = (): Tensor[] => {
          const x = tensorOf(drawer.inputs[0]!);
          const y = x.mul(x).add(1);
          const roots = [op(y, axes)];
          if (both) roots.push(t.sum(x, axes));
          if (stored) roots.push(y);
          return roots;
        };
        // Sums of up to 40,000 numbers of either sign below 10, rounded to f16 at the end for halves.
        const exact = dtype === "i32" || dtype === "u32";
        const tolerance = exact
          ? [0, 0]
          : dtype === "f16"
            ? [2e-3, 0.1]
            : dtype === "f64"
              ? [1e-13, 1e-10]
              : [2e-6, 2e-3];
        await agree(build, `seed ${seed}, ${dtype} [${dims}] over [${axes}]`, tolerance[0]!, tolerance[1]!);
      }
    }
  });

  test("reductions of permuted views along every set of axes", async () => {
    const drawer = new Drawer(new Rng(3), "i32", false);
    drawer.input([5, 70, 33], { plain: true });
    for (const order of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ]) {
      const build = (): Tensor[] => {
        const x = t.permute(tensorOf(drawer.inputs[0]!), order);
        return [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]].flatMap((axes) => [
          t.sum(x.mul(3), axes),
          t.max(x, axes),
        ]);
      };
      await agree(build, `order ${order}`, 0, 0);
    }
  });

  test("short rows, repeated, stretched and turned round", async () => {
    for (const dtype of ["f32", "f16", "i32", "u8", "f64"] as const) {
      for (const size of [1, 2, 3, 4, 5, 8, 12, 31, 64, 130, 256]) {
        const rows = Math.ceil(3000 / size);
        const drawer = new Drawer(new Rng(size), dtype, false);
        for (const dims of [[3, rows, size], [size], [rows, 1], [3, 1, size], [rows, size]]) {
          drawer.input(dims, { plain: true });
        }
        const build = (): Tensor[] => {
          const [x, bias, scale, high, low] = drawer.inputs.map(tensorOf) as [
            Tensor,
            Tensor,
            Tensor,
            Tensor,
            Tensor,
          ];
          const wide = [3, rows, size];
          const flat = [bias, scale, high, low].map((part) => t.broadcastTo(part, wide).add(0));
          const turned = t.permute(x, [1, 0, 2]).add(t.permute(t.flip(x, [2]), [1, 0, 2]));
          return [x.mul(scale).add(bias).add(high).sub(low), ...flat, turned];
        };
        await agree(build, `${dtype} rows of ${size}`, (RTOL[dtype] ?? 0) * 4, (RTOL[dtype] ?? 0) * 20);
      }
    }
  });

  test("products, and what nothing reduces to", async () => {
    for (const [dims, axes] of [
      [[0, 5], [0]],
      [[5, 0], [1]],
      [[3, 0, 2], [1]],
      [[0], [0]],
      [[4, 9], [0]],
      [[4, 9], [1]],
      [[2, 3, 4], [1]],
    ] as const) {
      for (const dtype of ["f32", "i32", "u32", "i8", "f64"] as const) {
        const drawer = new Drawer(new Rng(5), dtype, false);
        drawer.input(dims);
        const build = (): Tensor[] => {
          const x = tensorOf(drawer.inputs[0]!);
          const sums = [t.sum(x, axes), t.prod(x, axes)];
          return x.size === 0 && dtype === "f32" ? sums : [...sums, ...reducedOrNothing(x, axes)];
        };
        await agree(build, `${dtype} [${dims}] over [${axes}]`, 1e-5, 1e-6);
      }
    }
  });
});

/** Extremes are defined for at least one element. */
const reducedOrNothing = (x: Tensor, axes: readonly number[]): Tensor[] =>
  axes.some((d) => x.shape[d] === 0) ? [] : [t.max(x, axes), t.min(x, axes)];

describe("what loops must not do", () => {
  test("a NaN does not get lost in an extreme", async () => {
    for (const n of [3, 8, 100, 3000]) {
      for (const at of [0, n >> 1, n - 1]) {
        const data = Float32Array.from({ length: n }, (_, i) => (i === at ? Number.NaN : i));
        const build = (): Tensor[] => {
          const x = t.fromHost("f32", [n], data);
          const columns = t.broadcastTo(t.reshape(x, [n, 1]), [n, 5]);
          return [
            t.max(x),
            t.min(x),
            t.max(columns, [0]),
            t.min(columns, [0]),
            t.maximum(x, 1),
            t.minimum(x, 1),
          ];
        };
        await agree(build, `NaN at ${at} of ${n}`, 0, 0);
      }
    }
  });

  test("results do not depend on the number of threads", async () => {
    for (const [dims, axes] of [
      [[300000], [0]],
      [[3, 100000], [1]],
      [[100000, 3], [0]],
      [[700, 700], [0]],
      [[700, 700], [1]],
      [[40, 50, 60], [1]],
      [
        [40, 50, 60],
        [0, 2],
      ],
      [[20000, 8], [1]],
    ] as const) {
      const rng = new Rng(9);
      const data = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.between(-1, 1));
      const build = (): Tensor[] => {
        const x = t.fromHost("f32", dims, data);
        return [t.sum(t.tanh(x), axes), t.sum(t.exp(x), axes), t.max(x, axes), t.gelu(x)];
      };
      const one = await runOn(backend, build);
      const three = await runOn(more, build);
      for (const [i, result] of one.entries())
        expect(three[i]!.data, `[${dims}] over [${axes}], ${i}`).toEqual(result.data);
    }
  });

  test("a parameter is overwritten only behind its readers", async () => {
    const rng = new Rng(11);
    for (const n of [5, 1000, 5000]) {
      const data = Float32Array.from({ length: n }, () => rng.between(-2, 2));
      const build = (): Wanted[] => {
        const [p, q] = [t.parameter(t.fromHost("f32", [n], data)), t.parameter(t.fromHost("f32", [n], data))];
        const turned = t.flip(p, [0]);
        return [p.assign(turned.add(p.mul(0.5))), q.assign(q.mul(0.9).add(p)), t.sum(q), turned.mul(2)];
      };
      await agree(build, `assignments of [${n}]`, 1e-5, 1e-3);
    }
  });

  test("sums of many equal numbers stay exact", async () => {
    for (const dims of [[2 ** 22], [2 ** 21, 2], [2, 2 ** 21]] as number[][]) {
      const axis = dims.indexOf(Math.max(...dims));
      const [total] = await runOn(backend, () => [t.sum(t.full(dims, 1.1).add(t.zeros(dims)), [axis])]);
      const expected = Math.fround(1.1) * dims[axis]!;
      for (const x of Array.from(total!.data)) expect(Math.abs(x - expected) / expected).toBeLessThan(5e-7);
    }
  });
});
