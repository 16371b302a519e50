import type { Module } from "@lowrank/nn";
import { ConfigError, matmul, type Tensor, take, tensor, zeros } from "@lowrank/tensor";
import { type Adapter, defineAdapter } from "./adapter.js";
import { type RowSelection, selectionIn } from "./rows.js";

interface PoolConfig {
  readonly slots: number;
  readonly rank: number;
}

interface PoolParams {
  /** Down projections, [slots, rank, in]. */
  A: Tensor;
  /** Up projections with the scale in them, transposed, [slots, rank, out]. */
  B: Tensor;
}

/** Names in their slots. */
export class PoolSlots {
  private readonly names: (string | null)[];
  /** Which slots each row of a pass uses, made once a pass. */
  private readonly picks = new WeakMap<RowSelection, Pick>();

  constructor(count: number) {
    this.names = new Array<string | null>(count).fill(null);
  }

  list(): string[] {
    return this.names.filter((name) => name !== null);
  }

  indexOf(name: string): number {
    return this.names.indexOf(name);
  }

  take(name: string): number {
    const slot = this.names.indexOf(null);
    if (slot >= 0) this.names[slot] = name;
    return slot;
  }

  free(slot: number): void {
    this.names[slot] = null;
  }

  pick(selection: RowSelection): Pick {
    let pick = this.picks.get(selection);
    if (pick === undefined) this.picks.set(selection, (pick = this.pickNow(selection)));
    return pick;
  }

  private pickNow({ rows }: RowSelection): Pick {
    const chosen = rows.map((row) =>
      [...row].map(([name, w]) => [this.indexOf(name), w] as const).filter(([slot]) => slot >= 0),
    );
    const most = Math.max(0, ...chosen.map((row) => row.length));
    if (most === 0) return null;
    const index = new Int32Array(rows.length * most).fill(-1); // which reads zeros
    const weight = new Float32Array(rows.length * most);
    for (const [r, row] of chosen.entries()) {
      for (const [i, [slot, w]] of row.entries()) {
        index[r * most + i] = slot;
        weight[r * most + i] = w;
      }
    }
    return {
      index: tensor(index, { dtype: "i32", shape: [rows.length, most] }),
      weight: tensor(weight, { shape: [rows.length, 1, most, 1] }),
      most,
    };
  }
}

/** Slots and weights for each row; null if no row uses the pool. */
type Pick = { readonly index: Tensor; readonly weight: Tensor; readonly most: number } | null;

/**
 * What sits on the layers: y_b = W x_b + Σ w · B_s (A_s x_b) over the adapters s of row b. The matrices of each row are
 * picked by an index, so that one plan serves every choice.
 */
export const stackedLora = (slots: PoolSlots, model: Module): Adapter<PoolConfig, PoolParams> =>
  defineAdapter<PoolConfig, PoolParams>({
    name: "lora_pool",
    frozen: ["A", "B"],
    rowAware: true,

    init: ({ inFeatures, outFeatures, dtype }, config) => ({
      A: zeros([config.slots, config.rank, inFeatures], { dtype }),
      B: zeros([config.slots, config.rank, outFeatures], { dtype }),
    }),

    forward(x, base, { A, B }, { rank }, { extras, target }) {
      const selection = selectionIn(extras, model);
      const pick = selection === undefined ? null : slots.pick(selection);
      if (selection === undefined || pick === null) return base(x);
      selection.expectRows(target, x);
      const { index, weight, most } = pick;
      const rows = x.shape[0]!;
      const flat = x.reshape([rows, -1, target.inFeatures]); // [rows, T, in]
      const down = take(A, index, 0).reshape([rows, most * rank, target.inFeatures]);
      const up = take(B, index, 0).reshape([rows, most * rank, target.outFeatures]);
      const low = matmul(flat, down.permute([0, 2, 1]))
        .reshape([rows, -1, most, rank])
        .mul(weight);
      const update = matmul(low.reshape([rows, -1, most * rank]), up); // [rows, T, out]
      return base(x).add(update.reshape([...x.shape.slice(0, -1), target.outFeatures]));
    },

    merge() {
      throw new ConfigError({
        where: "merge",
        expected: "one adapter",
        got: "a pool, in which each row of a batch has its own",
        hint: "load the adapter with loadPeft and merge that",
      });
    },
  });
