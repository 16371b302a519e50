import { ConfigError, ne, ShapeError, type Tensor, tensor } from "@lowrank/tensor";
import { checkToken, expectSameShape } from "./causal-lm.js";
import { PretrainedModel } from "./pretrained-model.js";

export interface EncoderOptions {
  /** [batch, T] bool or a number type: 0 hides a token, as padding. Default: all are seen. */
  attentionMask?: Tensor;
  /** Which part of a pair a token belongs to, [batch, T] i32. Default: all 0. */
  tokenTypes?: Tensor;
  /** [1 or batch, T] i32. Default: 0, 1, 2, ..., padding counted. */
  positions?: Tensor;
  /** Computes each layer again in the backward pass instead of keeping what is inside it. Default false. */
  checkpoint?: boolean;
}

/** What encoders' configurations have in common. */
export interface EncoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly maxPositions: number;
  readonly padTokenId: number;
}

/** Rows of tokens, padded to one length. */
export interface TokenBatch {
  /** [rows, T] i32. */
  ids: Tensor;
  /** [rows, T] i32, 1 for tokens and 0 for padding. */
  attentionMask: Tensor;
}

/** A model that reads whole texts: every token sees every other. */
export abstract class TextModel extends PretrainedModel {
  abstract readonly config: EncoderConfig;

  /**
   * Rows of different lengths as one batch, padded at their end, checked.
   *
   * @param length Length of the padded rows. Default: that of the longest.
   * @throws ConfigError if an id is outside of the vocabulary or a row too long.
   */
  batch(rows: readonly ArrayLike<number>[], length?: number): TokenBatch {
    const { vocabSize, maxPositions, padTokenId } = this.config;
    const width = length ?? rows.reduce((most, row) => Math.max(most, row.length), 0);
    const longest = rows.reduce((most, row) => Math.max(most, row.length), width);
    if (rows.length === 0 || width < 1 || longest > Math.min(width, maxPositions)) {
      throw new ConfigError({
        where: "batch",
        expected: `one row or more of 1 to ${Math.min(width, maxPositions)} tokens`,
        got: rows.length === 0 ? "none" : `${longest} tokens`,
        hint: "cut long texts",
      });
    }
    const ids = new Int32Array(rows.length * width).fill(padTokenId);
    const mask = new Int32Array(ids.length);
    for (const [r, row] of rows.entries()) {
      for (let i = 0; i < row.length; i++) ids[r * width + i] = checkToken(row[i]!, vocabSize, i);
      mask.fill(1, r * width, r * width + row.length);
    }
    const shape = [rows.length, width];
    return {
      ids: tensor(ids, { dtype: "i32", shape }),
      attentionMask: tensor(mask, { dtype: "i32", shape }),
    };
  }
}

/** A text model without a head on top. */
export abstract class EncoderModel extends TextModel {
  /** Ids [batch, T] i32 to the last states [batch, T, hiddenSize]. */
  abstract forward(ids: Tensor, options?: EncoderOptions): Tensor;
}

/** A mask of [batch, T] as attention takes it: bool [batch, 1, 1, T]. */
export function keyMask(mask: Tensor | undefined, ids: Tensor): Tensor | undefined {
  if (mask === undefined) return undefined;
  expectSameShape("forward", "attentionMask", mask, ids);
  const [batch, length] = ids.shape as [number, number];
  return (mask.dtype === "bool" ? mask : ne(mask, 0)).reshape([batch, 1, 1, length]);
}

/** Refuses what is no batch of ids, and rows longer than the table of positions. */
export function expectIds(ids: Tensor, maxPositions: number): void {
  if (ids.ndim !== 2 || ids.dtype !== "i32") {
    throw new ShapeError({
      where: "forward",
      expected: "ids of shape [batch, T] and dtype i32",
      got: `${ids.dtype}[${ids.shape.join(", ")}]`,
      hint: "make them with model.batch([[...]])",
    });
  }
  if (ids.shape[1]! > maxPositions) {
    throw new ShapeError({
      where: "forward",
      expected: `at most ${maxPositions} tokens, the positions of the model`,
      got: String(ids.shape[1]),
      hint: "cut long texts",
    });
  }
}
