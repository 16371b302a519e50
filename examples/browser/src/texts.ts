import type { Tokenizer } from "@lowrank/models";
import {
  type DataRecord,
  type Example,
  type PackedBatch,
  pack,
  parseJsonl,
  shuffled,
  toExample,
} from "@lowrank/train";
import { download, MOBY_DICK } from "./files.js";

export interface Texts {
  train: Example[];
  /** Kept apart, to see whether what is learnt holds for text that was not trained on. Empty if there is too little. */
  heldOut: PackedBatch[];
}

export interface TextOptions {
  /** Tokens in a row. */
  length: number;
  /** Tokens that the run will read: no more text is prepared than it needs. */
  tokens: number;
}

/** Rows of held-out text that are scored now and then. */
const HELD_OUT_ROWS = 8;
/** Characters in a piece of a user's text, at least. */
const PIECE = 1500;

/** Moby-Dick, whose held-out chapters are a file of their own. */
export async function mobyDick(tokenizer: Tokenizer, options: TextOptions): Promise<Texts> {
  const read = async (url: string): Promise<DataRecord[]> =>
    parseJsonl(new TextDecoder().decode(await download(url)), "moby-dick.jsonl");
  const [train, heldOut] = await Promise.all([read(MOBY_DICK.train), read(MOBY_DICK.heldOut)]);
  return prepare(train, heldOut, tokenizer, options);
}

/** A text of the user's: every tenth piece is held out. */
export function ownText(text: string, tokenizer: Tokenizer, options: TextOptions): Texts {
  const all = pieces(text).map((piece) => ({ text: piece }));
  if (all.length === 0) throw new Error("There is no text to train on: paste some, or choose a file.");
  const heldOut = all.filter((_, i) => i % 10 === 9);
  const train = all.filter((_, i) => i % 10 !== 9);
  return prepare(train, heldOut, tokenizer, options);
}

function prepare(
  train: readonly DataRecord[],
  heldOut: readonly DataRecord[],
  tokenizer: Tokenizer,
  { length, tokens }: TextOptions,
): Texts {
  const encode = (records: readonly DataRecord[], enough: number): Example[] => {
    const examples: Example[] = [];
    let count = 0;
    for (const record of shuffled(records, 1, 0)) {
      if (count >= enough) break;
      const { ids, labels } = toExample(record, tokenizer);
      // Cut here and not by the packer, so that a batch mixes parts of many chapters.
      for (let at = 0; at < ids.length; at += length) {
        examples.push({ ids: ids.slice(at, at + length), labels: labels.slice(at, at + length) });
      }
      count += ids.length;
    }
    return examples;
  };
  const scored = encode(heldOut, HELD_OUT_ROWS * length);
  return {
    train: encode(train, tokens),
    // one batch, so that scoring is quick
    heldOut: pack(scored, { length, batch: HELD_OUT_ROWS }).slice(0, 1),
  };
}

/** Cuts a text at empty lines into pieces of some length. */
function pieces(text: string): string[] {
  const out: string[] = [];
  let piece = "";
  for (const paragraph of text.split(/\n\s*\n/)) {
    const line = paragraph.replace(/\s+/g, " ").trim();
    if (line === "") continue;
    piece += (piece && "\n") + line;
    if (piece.length < PIECE) continue;
    out.push(piece);
    piece = "";
  }
  return piece ? [...out, piece] : out;
}
