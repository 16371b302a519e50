import { createHash } from "node:crypto";
import { openSource, type CausalLM, type Tokenizer } from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import { type Example, parseJsonl, shuffled, toExample } from "@lowrank/train";

const MAX_BYTES = 400_000_000; // one string holds no more than 2²⁹ UTF-16 units

/** The texts of a data file, ready to be packed. */
export interface Texts {
  readonly path: string;
  readonly examples: readonly Example[];
  /** Whether the file is one running text, cut into blocks, whose parts stand in an order. */
  readonly running: boolean;
  /** SHA-256 of what the file says. */
  readonly sha256: string;
}

/** The whole of a text file in UTF-8. */
export async function readText(path: string): Promise<string> {
  const source = await openSource(path);
  try {
    if (source.size > MAX_BYTES) {
      throw new ConfigError({
        where: path,
        expected: `a file of at most ${MAX_BYTES} bytes`,
        got: `${source.size} bytes`,
        hint: "split the data",
      });
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, source.size));
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new ConfigError({ where: path, expected: "text in UTF-8", got: "bytes that are none", cause });
  } finally {
    await source.close();
  }
}

/**
 * Reads a data file: `.jsonl` with one record a line (text, prompt and completion, or messages), or `.txt`, one running
 * text that is cut into blocks of `length` tokens.
 *
 * @throws ConfigError naming file and line; also if the tokenizer gives ids that the model does not have.
 */
export async function loadTexts(
  path: string,
  tokenizer: Tokenizer,
  model: CausalLM,
  length: number,
): Promise<Texts> {
  const form = /\.(jsonl|txt)$/i.exec(path)?.[1]?.toLowerCase();
  if (form === undefined) {
    throw new ConfigError({
      where: path,
      expected: "a file named .jsonl (a record a line) or .txt (one running text)",
      got: "another ending",
    });
  }
  const body = await readText(path);
  if (body.trim() === "") throw new ConfigError({ where: path, expected: "text", got: "none" });
  const examples =
    form === "txt"
      ? blocks(toExample({ text: body }, tokenizer), length)
      : parseJsonl(body, path).map((record) => toExample(record, tokenizer));
  const { vocabSize } = model.config;
  for (const { ids } of examples) {
    const foreign = ids.find((id) => id >= vocabSize);
    if (foreign === undefined) continue;
    throw new ConfigError({
      where: path,
      expected: `token ids below ${vocabSize}, the model's vocabulary`,
      got: `${foreign} from the tokenizer`,
      hint: "the tokenizer belongs to another model",
    });
  }
  return { path, examples, running: form === "txt", sha256: createHash("sha256").update(body).digest("hex") };
}

function blocks({ ids, labels }: Example, length: number): Example[] {
  const out: Example[] = [];
  for (let at = 0; at < ids.length; at += length) {
    out.push({ ids: ids.slice(at, at + length), labels: labels.slice(at, at + length) });
  }
  return out;
}

/**
 * Keeps a share of the examples back for evaluation, at least one of two or more: the end of a running text, else
 * examples drawn by the seed.
 */
export function holdOut(
  { examples, running }: Texts,
  share: number,
  seed: number,
): { training: readonly Example[]; heldOut: readonly Example[] } {
  if (share === 0 || examples.length < 2) return { training: examples, heldOut: [] };
  const size = Math.min(examples.length - 1, Math.max(1, Math.round(examples.length * share)));
  const ordered = running ? examples : shuffled(examples, seed, -1);
  return { training: ordered.slice(0, ordered.length - size), heldOut: ordered.slice(ordered.length - size) };
}

/** How many texts are longer than a row, and so are cut. */
export const longer = (examples: readonly Example[], length: number): number =>
  examples.filter(({ ids }) => ids.length > length).length;
