// Kernels of matrix decompositions. `f` does part `chunk` of `chunks` of a command: the units of its matrices, one matrix
// after the other. What a unit computes depends on its arguments alone, so results do not depend on the threads.
import { BATCH, cut, FAULTS, KERNEL, TYPE, UNITS, word } from "./args";
import { bidiagonalPass, bidiagonalRow } from "./bidiagonal";
import { bisect } from "./bisect";
import { choleskyBlock, choleskyUpdate } from "./cholesky";
import { deflate } from "./deflate";
import { gather, leaf, merge, secular, vectors, weights } from "./divide";
import { finishVectors, orderValues, putValues, values } from "./finish";
import { product } from "./gemm";
import * as ids from "./kernels";
import { freeColumns, fromOne, info, svdSigns, widen } from "./lapack";
import { luFinish, luPanel, luUpdate } from "./lu";
import { copy, identity, inspect, inspectPart, report } from "./prepare";
import { qrFinish, qrPanel, qrPivoted } from "./qr";
import { blockFactors, reflectLeft, reflectRight } from "./reflect";
import { symmetricVector, tridiagonalColumn } from "./tridiagonal";
import { regular, triangular } from "./triangle";

function run<T>(kernel: i32, args: usize, b: i32, unit: i32, scratch: usize): void {
  switch (kernel) {
    case ids.COPY:
      return copy<T>(args, b, unit);
    case ids.IDENTITY:
      return identity<T>(args, b, unit);
    case ids.PRODUCT:
      return product<T>(args, b, unit, scratch);
    case ids.TRIANGULAR:
      return triangular<T>(args, b, unit, scratch);
    case ids.REGULAR:
      return regular<T>(args, b);
    case ids.CHOLESKY_BLOCK:
      return choleskyBlock<T>(args, b);
    case ids.CHOLESKY_UPDATE:
      return choleskyUpdate<T>(args, b, unit, scratch);
    case ids.LU_PANEL:
      return luPanel<T>(args, b, scratch);
    case ids.LU_UPDATE:
      return luUpdate<T>(args, b, unit, scratch);
    case ids.LU_FINISH:
      return luFinish<T>(args, b);
    case ids.QR_PANEL:
      return qrPanel<T>(args, b);
    case ids.QR_PIVOTED:
      return qrPivoted<T>(args, b);
    case ids.QR_FINISH:
      return qrFinish<T>(args, b, unit);
    case ids.REFLECT_LEFT:
      return reflectLeft<T>(args, b, unit, scratch);
    case ids.REFLECT_RIGHT:
      return reflectRight<T>(args, b, unit, scratch);
    case ids.BLOCK_FACTORS:
      return blockFactors<T>(args, b, unit);
    case ids.TRIDIAGONAL_COLUMN:
      return tridiagonalColumn<T>(args, b, scratch);
    case ids.SYMMETRIC_VECTOR:
      return symmetricVector<T>(args, b, unit, scratch);
    case ids.BIDIAGONAL_PASS:
      return bidiagonalPass<T>(args, b, unit, scratch);
    case ids.BIDIAGONAL_ROW:
      return bidiagonalRow<T>(args, b, scratch);
    case ids.VALUES:
      return values(args, b);
    case ids.BISECT:
      return bisect(args, b, unit, scratch);
    case ids.LEAF:
      return leaf<T>(args, b, unit, scratch);
    case ids.DEFLATE:
      return deflate<T>(args, b, unit, scratch);
    case ids.GATHER:
      return gather<T>(args, b, unit);
    case ids.SECULAR:
      return secular(args, b, unit);
    case ids.WEIGHTS:
      return weights(args, b, unit);
    case ids.VECTORS:
      return vectors<T>(args, b, unit, scratch);
    case ids.MERGE:
      return merge<T>(args, b, unit, scratch);
    case ids.ORDER:
      return orderValues(args, b, scratch);
    case ids.PUT_VALUES:
      return putValues<T>(args, b);
    case ids.FINISH_VECTORS:
      return finishVectors<T>(args, b, unit, scratch);
    case ids.INFO:
      return info<T>(args, b);
    case ids.FREE_COLUMNS:
      return freeColumns(args, b);
    case ids.FROM_ONE:
      return fromOne(args, b);
    case ids.WIDEN:
      return widen<T>(args, b);
    case ids.SVD_SIGNS:
      return svdSigns<T>(args, b);
    default:
      unreachable();
  }
}

function runUnit(kernel: i32, args: usize, b: i32, unit: i32, scratch: usize): void {
  const wide = (load<i32>(args, TYPE) & 1) != 0;
  switch (kernel) {
    case ids.LIST: // 6 addresses of argument blocks  7 how many: all of them for one matrix after another
      for (let i = 0; i < word(args, 7); i++) {
        const inner = load<usize>(load<usize>(args, 6 << 2) + (<usize>i << 2));
        const units = load<i32>(inner, UNITS);
        for (let u = 0; u < units; u++) runUnit(load<i32>(inner, KERNEL) & 255, inner, b, u, scratch);
      }
      return;
    case ids.INSPECT_PART:
      return wide ? inspectPart<f64>(args, b, unit, scratch) : inspectPart<f32>(args, b, unit, scratch);
    case ids.INSPECT:
      return wide ? inspect<f64>(args, b, scratch) : inspect<f32>(args, b, scratch);
    case ids.REPORT:
      return report(args);
    default:
      if (load<i32>(load<usize>(args, FAULTS) + (<usize>b << 5)) != 0) return;
      if (wide) run<f64>(kernel, args, b, unit, scratch);
      else run<f32>(kernel, args, b, unit, scratch);
  }
}

export function f(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const units = load<i32>(args, UNITS);
  const total = load<i32>(args, BATCH) * units;
  const last = cut(total, chunk + 1, chunks);
  const kernel = load<i32>(args, KERNEL);
  for (let u = cut(total, chunk, chunks); u < last; u++)
    runUnit(kernel & 255, args, (kernel >>> 8) + u / units, u % units, scratch);
}
