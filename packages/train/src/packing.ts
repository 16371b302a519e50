import { ConfigError, type Tensor, tensor } from "@lowrank/tensor";
import { type Example, IGNORED } from "./example.js";

/** Segment of the places that no text fills. */
const EMPTY = -1;

/** Token ids of several texts in rows of one length, as plain numbers. */
export interface PackedBatch {
  readonly rows: number;
  readonly length: number;
  /** [rows · length] each. */
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  /** Which text of its row a token belongs to; −1 where there is none. */
  readonly segments: Int32Array;
  /** Labels that are learnt: not ignored, and not the first token of a text, which nothing predicts. */
  readonly targets: number;
  /** Tokens of texts. */
  readonly tokens: number;
}

export interface PackOptions {
  /** Tokens in a row. */
  length: number;
  /** Rows in a batch; the last batch is filled up with empty rows, so that all have one shape. */
  batch: number;
}

/** How many rows are kept open for shorter texts to come. */
const OPEN_ROWS = 16;

type Piece = { ids: readonly number[]; labels: readonly number[] };

/**
 * Packs texts into rows, each text in one piece beside others, longer ones cut at `length`. Nothing of one text is seen
 * by another: the segments tell the model which tokens belong together. A text goes into the fullest open row that has
 * room, so the result depends only on the order of the texts.
 */
export function pack(examples: readonly Example[], { length, batch }: PackOptions): PackedBatch[] {
  for (const [name, value] of Object.entries({ length, batch })) {
    if (!Number.isInteger(value) || value < (name === "length" ? 2 : 1)) {
      throw new ConfigError({
        where: "pack",
        expected: `${name} to be a positive integer (length at least 2)`,
        got: String(value),
      });
    }
  }
  const full: Piece[][] = [];
  let open: { room: number; pieces: Piece[] }[] = [];
  for (const piece of pieces(examples, length)) {
    const size = piece.ids.length;
    let best: (typeof open)[number] | undefined;
    for (const row of open) if (row.room >= size && (!best || row.room < best.room)) best = row;
    if (!best) open.push((best = { room: length, pieces: [] }));
    best.pieces.push(piece);
    best.room -= size;
    if (best.room < 2) {
      full.push(best.pieces);
      open = open.filter((row) => row !== best);
    } else if (open.length > OPEN_ROWS) {
      const fullest = open.reduce((a, b) => (b.room < a.room ? b : a));
      full.push(fullest.pieces);
      open = open.filter((row) => row !== fullest);
    }
  }
  for (const row of open) full.push(row.pieces);
  const batches: PackedBatch[] = [];
  for (let at = 0; at < full.length; at += batch)
    batches.push(fill(full.slice(at, at + batch), length, batch));
  return batches;
}

function* pieces(examples: readonly Example[], length: number): Generator<Piece> {
  for (const { ids, labels } of examples) {
    if (ids.length !== labels.length) {
      throw new ConfigError({ where: "pack", expected: `${ids.length} labels`, got: String(labels.length) });
    }
    for (let from = 0; from < ids.length; from += length) {
      const piece = { ids: ids.slice(from, from + length), labels: labels.slice(from, from + length) };
      if (piece.ids.length > 1) yield piece;
    }
  }
}

function fill(rows: readonly Piece[][], length: number, batch: number): PackedBatch {
  const ids = new Int32Array(batch * length);
  const labels = new Int32Array(batch * length).fill(IGNORED);
  const segments = new Int32Array(batch * length).fill(EMPTY);
  let targets = 0;
  let tokens = 0;
  for (const [r, row] of rows.entries()) {
    let at = r * length;
    for (const [segment, piece] of row.entries()) {
      ids.set(piece.ids, at);
      labels.set(piece.labels, at);
      segments.fill(segment, at, at + piece.ids.length);
      for (let i = 1; i < piece.labels.length; i++) if (piece.labels[i] !== IGNORED) targets++;
      tokens += piece.ids.length;
      at += piece.ids.length;
    }
  }
  return { rows: batch, length, ids, labels, segments, targets, tokens };
}

/** A batch as tensors [rows, length] i32. */
export function batchTensors(batch: PackedBatch): { ids: Tensor; labels: Tensor; segments: Tensor } {
  const shape = [batch.rows, batch.length];
  const make = (data: Int32Array): Tensor => tensor(data, { dtype: "i32", shape });
  return { ids: make(batch.ids), labels: make(batch.labels), segments: make(batch.segments) };
}
