import { forwardContext, type Module, withContext } from "@lowrank/nn";
import { ConfigError, ShapeError, type Tensor, tensor } from "@lowrank/tensor";
import type { Target } from "./adapter.js";

/** What acts on one row of a batch: nothing, one adapter by its name, or several with a weight each. */
export type RowAdapters = string | null | Readonly<Record<string, number>>;

/** Under this name in the context of a forward pass. */
const EXTRA = "adapters/rows";

/** The adapters of each row of one forward pass through a model. */
export class RowSelection {
  /** Weights by name, for each row. */
  readonly rows: readonly ReadonlyMap<string, number>[];
  private readonly tensors = new Map<string, Tensor | null>();

  constructor(
    readonly model: Module,
    rows: readonly RowAdapters[],
  ) {
    this.rows = rows.map((row) => new Map(weightsOf(row)));
  }

  /** Whether no row has more than one adapter, and all weights are 1. */
  get exclusive(): boolean {
    return this.rows.every((row) => row.size < 2 && [...row.values()].every((w) => w === 1));
  }

  /** Weight of a name in each row, [rows], or null where no row uses it. */
  weights(name: string): Tensor | null {
    let weights = this.tensors.get(name);
    if (weights === undefined) {
      const values = Float32Array.from(this.rows, (row) => row.get(name) ?? 0);
      weights = values.some((w) => w !== 0) ? tensor(values) : null;
      this.tensors.set(name, weights);
    }
    return weights;
  }

  /** @throws ShapeError unless the first axis of a layer's input is that of the rows. */
  expectRows({ path, kind }: Target, x: Tensor): void {
    const least = kind === "embedding" ? 1 : 2;
    if (x.ndim >= least && x.shape[0] === this.rows.length) return;
    throw new ShapeError({
      where: path,
      expected: `an input with an axis of ${this.rows.length} rows first, those of withRows`,
      got: `[${x.shape.join(", ")}]`,
    });
  }
}

function* weightsOf(row: RowAdapters): Generator<[string, number]> {
  if (row === null) return;
  if (typeof row === "string") return void (yield [row, 1]);
  for (const [name, weight] of Object.entries(row)) {
    if (!Number.isFinite(weight)) {
      throw new ConfigError({
        where: "withRows",
        expected: `a finite weight for ${JSON.stringify(name)}`,
        got: String(weight),
      });
    }
    if (weight !== 0) yield [name, weight];
  }
}

/** Runs `f` with a selection in the context of the pass that it builds. */
export function withSelection<T>(selection: RowSelection, f: () => T): T {
  return withContext({ extras: new Map(forwardContext().extras).set(EXTRA, selection) }, f);
}

/** The selection of a pass through this model, or undefined where the pass has none. */
export function selectionIn(extras: ReadonlyMap<string, unknown>, model: Module): RowSelection | undefined {
  const selection = extras.get(EXTRA) as RowSelection | undefined;
  return selection?.model === model ? selection : undefined;
}
