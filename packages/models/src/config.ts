import { ConfigError } from "@lowrank/tensor";
import { FormatError, quoteName } from "./format-error.js";
import { scanJson, toPlain } from "./json-scan.js";
import { type Folder, readSmallFile } from "./source.js";

/** An object as a `config.json` has it. */
export type ConfigJson = Readonly<Record<string, unknown>>;

const MAX_CONFIG_BYTES = 1 << 20;

/**
 * Reads a configuration file of a model folder.
 *
 * @throws FormatError if there is none or it holds no JSON object.
 */
export async function readConfigJson(folder: Folder, fileName = "config.json"): Promise<ConfigJson> {
  const json = await readConfigIfPresent(folder, fileName);
  if (json !== undefined) return json;
  throw new FormatError({
    format: "json",
    where: folder.name,
    expected: fileName,
    got: "no such file",
    hint: "check that this is the folder of a model",
  });
}

/**
 * `config.json` with the end tokens of `generation_config.json`, where a folder has one that names some: an answer of a chat
 * model may end on others than a text.
 */
export async function readModelConfig(folder: Folder): Promise<ConfigJson> {
  const json = await readConfigJson(folder);
  const ends = (await readConfigIfPresent(folder, "generation_config.json"))?.["eos_token_id"];
  return ends === undefined || ends === null ? json : { ...json, eos_token_id: ends };
}

async function readConfigIfPresent(folder: Folder, fileName: string): Promise<ConfigJson | undefined> {
  const where = `${folder.name}/${fileName}`;
  const bytes = await readSmallFile(folder, fileName, MAX_CONFIG_BYTES);
  if (bytes === undefined) return undefined;
  const value = scanJson(bytes, { where, numbers: "any" });
  if (!(value instanceof Map)) {
    throw new FormatError({ format: "json", where, expected: "an object", got: "another value" });
  }
  return toPlain(value) as ConfigJson;
}

/** Reads fields of a configuration, each checked; says which field of which architecture is at fault. */
export class ConfigReader {
  constructor(
    private readonly where: string,
    private readonly json: ConfigJson,
  ) {}

  /** The raw field; null counts as absent, as in Python's dumps. */
  raw(name: string): unknown {
    const value = Object.hasOwn(this.json, name) ? this.json[name] : undefined;
    return value === null ? undefined : value;
  }

  /** Whether the field is there, null included. */
  has(name: string): boolean {
    return Object.hasOwn(this.json, name);
  }

  fail(name: string, expected: string, hint?: string): never {
    throw new ConfigError({
      where: this.where,
      expected: `${name} to be ${expected}`,
      got: show(this.raw(name)),
      hint,
    });
  }

  integer(name: string, fallback: number | undefined, min: number, max: number): number {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      return this.fail(name, `an integer from ${min} to ${max}`);
    }
    return value;
  }

  positive(name: string, fallback?: number): number {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "number" || !(value > 0) || !Number.isFinite(value)) {
      return this.fail(name, "a positive number");
    }
    return value;
  }

  /** A probability below 1. */
  share(name: string, fallback: number): number {
    const value = this.raw(name) ?? fallback;
    if (typeof value !== "number" || !(value >= 0 && value < 1)) {
      return this.fail(name, "a number from 0 to below 1");
    }
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    return typeof value === "boolean" ? value : this.fail(name, "true or false");
  }

  text(name: string, fallback: string): string {
    const value = this.raw(name) ?? fallback;
    return typeof value === "string" ? value : this.fail(name, "a string");
  }

  /** A token id, several, or none. */
  tokenIds(name: string): number[] {
    const value = this.raw(name) ?? [];
    const ids: unknown[] = Array.isArray(value) ? value : [value];
    if (!ids.every((id) => Number.isInteger(id) && (id as number) >= 0)) {
      return this.fail(name, "a token id or a list of them");
    }
    return ids as number[];
  }

  /** A reader of a nested object, or undefined where it is absent. */
  nested(name: string): ConfigReader | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) return this.fail(name, "an object");
    return new ConfigReader(`${this.where}, ${name}`, value as ConfigJson);
  }
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quoteName(value);
  if (typeof value === "object") return Array.isArray(value) ? "a list" : "an object";
  return String(value);
}
