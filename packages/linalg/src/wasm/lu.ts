import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import { type Matrix, Program } from "./program.js";

/** Columns of a panel, and of what a thread brings up to date at a time. */
const BLOCK = 64;

/** Blocked, right-looking, with recursive panels: LAPACK's getrf, Toledo 1997. */
export const luKernel: Kernel = {
  emit(group, ctx) {
    const [m, n] = (group.inputs[0] as Operand).dims.slice(-2) as [number, number];
    const { where } = group.arg as { where: string };
    const program = new Program(group, ctx);
    if (program.batch === 0) return;
    const packed = program.output(0);
    const pivots = program.numbers(m, 4);
    const steps = Math.min(m, n);
    program.inspect(program.input(0), m, n);
    program.copy(packed, program.input(0), m, n);
    // Copies of the panel at hand and of the next one, in turns.
    const rowOfCopy = n > Math.min(BLOCK, steps) ? BLOCK * program.bytes + 64 : 0;
    const copies = [0, 1].map(() => program.rows(m, rowOfCopy)) as [Matrix, Matrix];
    for (let k = 0; k < steps; k += BLOCK) {
      const size = Math.min(BLOCK, steps - k);
      const row = program.from(packed, k, 0);
      const here = program.from(pivots, 0, k);
      const rows = m - k;
      const [copy, other] = (k / BLOCK) % 2 ? [copies[1], copies[0]] : copies;
      if (k === 0) {
        // biome-ignore format: in the order of the words
        const words = [
          packed.at, packed.step, packed.row, m, size, here.at, here.step, copy.at, copy.step, rowOfCopy,
        ];
        program.run(kernels.LU_PANEL, words, 1, (m * size * size) / 2);
      }
      const rest = n - k - size;
      const next = Math.min(BLOCK, steps - k - size);
      const words = [row.at, row.step, row.row, rows, k, size, n, here.at, here.step, BLOCK, next];
      program.run(
        kernels.LU_UPDATE,
        [...words, copy.at, copy.step, other.at, other.step, rowOfCopy],
        Number(next > 0) + Math.ceil(k / BLOCK) + Math.ceil((rest - next) / BLOCK),
        rows * rest * size,
      );
    }
    const [p, sign] = [program.list(1), program.list(2)];
    const words = [pivots.at, pivots.step, p.at, p.step, sign.at, sign.step, m, steps, BLOCK, 0];
    program.run(kernels.LU_FINISH, words);
    program.finish(where);
  },
};
