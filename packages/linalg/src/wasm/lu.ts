import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import { Program } from "./program.js";

/** Columns of a panel. */
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
    const width = 64;
    for (let k = 0; k < steps; k += BLOCK) {
      const size = Math.min(BLOCK, steps - k);
      const row = program.from(packed, k, 0);
      const here = program.from(pivots, 0, k);
      const rows = m - k;
      if (k === 0) {
        const words = [packed.at, packed.step, packed.row, m, size, here.at, here.step];
        program.run(kernels.LU_PANEL, words, 1, (m * size * size) / 2);
      }
      const rest = n - k - size;
      const next = Math.min(BLOCK, steps - k - size);
      program.run(
        kernels.LU_UPDATE,
        [row.at, row.step, row.row, rows, k, size, n, here.at, here.step, width, next],
        Number(next > 0) + Math.ceil(k / width) + Math.ceil((rest - next) / width),
        rows * rest * size,
      );
    }
    const [p, sign] = [program.list(1), program.list(2)];
    const words = [pivots.at, pivots.step, p.at, p.step, sign.at, sign.step, m, steps, BLOCK, 0];
    program.run(kernels.LU_FINISH, words);
    program.finish(where);
  },
};
