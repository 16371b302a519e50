import type { Readable } from "node:stream";
import { ConfigError } from "@lowrank/tensor";
import { readText } from "./texts.js";

/** All of a stream, as text. */
export async function readStream(stdin: Readable): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stdin) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString("utf8");
}

/**
 * Texts to be looked at one by one: lines that are JSON objects with a member `text`, or else each line a text. Empty lines
 * are left out.
 *
 * @throws ConfigError naming the line that is no such object where the first one is.
 */
export function textsOf(body: string, where: string): string[] {
  const lines = body.split(/\r?\n/);
  const json = body.trimStart().startsWith("{");
  const texts: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    texts.push(json ? memberText(line, `${where}, line ${i + 1}`) : line);
  }
  if (texts.length > 0) return texts;
  throw new ConfigError({ where, expected: "texts, one a line", got: "none" });
}

/** The texts of a file. */
export const loadPlainTexts = async (path: string): Promise<string[]> => textsOf(await readText(path), path);

function memberText(line: string, where: string): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    throw new ConfigError({ where, expected: "a JSON object", got: "a line that is none" });
  }
  const text = (record as { text?: unknown } | null)?.text;
  if (typeof text === "string") return text;
  throw new ConfigError({ where, expected: 'a JSON object with a "text"', got: "another" });
}
