import { openSource } from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import * as v from "valibot";
import { LineCounter, parseDocument } from "yaml";
import { UsageError } from "./fault.js";
import { nearest } from "./nearest.js";
import type { Options, Values } from "./options.js";

const MAX_SETTINGS_BYTES = 1 << 20;

/** `evalEvery` and `eval_every` as flags write them: `eval-every`. */
const kebab = (name: string): string =>
  name.replace(/_/g, "-").replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

/**
 * Reads a settings file: YAML, of which JSON is a part, with one mapping at the top whose keys are the names of options.
 *
 * @throws ConfigError if it cannot be read or is no mapping.
 */
export async function readSettingsFile(path: string): Promise<Map<string, unknown>> {
  const source = await openSource(path);
  let body: string;
  try {
    if (source.size > MAX_SETTINGS_BYTES) {
      throw new ConfigError({
        where: path,
        expected: `a settings file of at most ${MAX_SETTINGS_BYTES} bytes`,
        got: `${source.size} bytes`,
      });
    }
    body = new TextDecoder().decode(await source.read(0, source.size));
  } finally {
    await source.close();
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(body, { prettyErrors: false, lineCounter, logLevel: "silent" });
  const [fault] = document.errors;
  if (fault) {
    const { line, col } = lineCounter.linePos(fault.pos[0]);
    const where = `${path}, line ${line}, column ${col}`;
    throw new ConfigError({ where, expected: "YAML or JSON", got: fault.message });
  }
  let content: unknown;
  try {
    content = document.toJS({ mapAsMap: true, maxAliasCount: 16 });
  } catch (cause) {
    throw new ConfigError({ where: path, expected: "few aliases", got: (cause as Error).message, cause });
  }
  if (!(content instanceof Map)) {
    throw new ConfigError({
      where: path,
      expected: 'a mapping of options to values, such as "rank: 8"',
      got: content === null ? "an empty file" : "another value",
    });
  }
  return new Map([...content].map(([name, value]) => [kebab(String(name)), value]));
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const plain = value instanceof Map ? Object.fromEntries(value) : value;
  return (JSON.stringify(plain) ?? String(plain)).slice(0, 120);
}

/**
 * Puts flags over a settings file over defaults and checks all of it.
 *
 * @param flags What the command line gave, by name.
 * @param file What a settings file gave, by name.
 * @throws UsageError that names the option, where it came from, and for an unknown one the nearest known.
 */
export function checkSettings<O extends Options>(
  options: O,
  flags: ReadonlyMap<string, unknown>,
  file: ReadonlyMap<string, unknown>,
  fileName: string,
): Values<O> {
  const shape = Object.fromEntries(Object.entries(options).map(([name, o]) => [name, v.optional(o.schema)]));
  const given = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of [...file, ...flags]) if (value !== null) given[name] = value;
  const result = v.safeParse(v.strictObject(shape), given);
  if (!result.success) {
    const key = String(result.issues[0].path?.[0]?.key);
    throw refusal(options, key, given[key], flags.has(key) ? null : fileName);
  }
  const values: Record<string, unknown> = {};
  const checked = result.output as Record<string, unknown>;
  for (const [name, o] of Object.entries(options)) {
    values[name] = checked[name] ?? o.fallback;
    if (o.required && checked[name] === undefined) {
      throw new UsageError({
        where: o.operand ? name.toUpperCase() : `--${name}`,
        expected: o.expected,
        got: "nothing",
        hint: "--help shows how to use this command",
      });
    }
  }
  return values as Values<O>;
}

/** Says what is wrong with an option; `file` is null for one of the command line. */
function refusal(options: Options, key: string, value: unknown, file: string | null): UsageError {
  const known = Object.hasOwn(options, key) ? options[key] : undefined;
  const flag = known?.operand ? key.toUpperCase() : key.length === 1 ? `-${key}` : `--${key}`;
  if (known !== undefined) {
    const where = file === null ? flag : `${file}, ${key}`;
    return new UsageError({ where, expected: known.expected, got: show(value) });
  }
  const names = Object.keys(options).filter((name) => file !== null || !options[name]!.operand);
  const close = nearest(key, names);
  return new UsageError({
    where: file ?? "command line",
    expected: "known options",
    got: file === null ? flag : show(key),
    hint: `the nearest is ${file === null ? `--${close}` : show(close)}, and --help lists all`,
  });
}
