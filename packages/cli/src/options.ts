import * as v from "valibot";

/** One setting of a command, given as a flag, an operand, or a member of a settings file. */
export interface Option<T> {
  /** One sentence for the help. */
  readonly about: string;
  /** What stands for the value in the help; null for a switch, which has none. */
  readonly value: string | null;
  /** What is accepted, for messages. */
  readonly expected: string;
  /** Checks and converts what came, text from a flag included. */
  readonly schema: v.GenericSchema<unknown, T>;
  readonly fallback: T;
  /** What holds if nothing is given, as the help tells it; empty where nothing is to be told. */
  readonly shown: string;
  /** Without it the command cannot run. */
  readonly required: boolean;
  /** Stands on the command line by its place, without a flag. */
  readonly operand: boolean;
}

/** Settings by their names, as flags spell them. */
export type Options = Readonly<Record<string, Option<unknown>>>;

/** The values of a table of options. */
export type Values<O extends Options> = { readonly [K in keyof O]: O[K] extends Option<infer T> ? T : never };

interface Kind<T> {
  value: string | null;
  expected: string;
  schema: v.GenericSchema<unknown, T>;
}

/** A setting with a default, or one whose absence means what `otherwise` says. */
type Default<T> = { fallback: T } | { otherwise: string };
type With<T, D> = D extends { fallback: T } ? Option<T> : Option<T | undefined>;

function option<T, D extends Default<T>>(about: string, kind: Kind<T>, given: D): With<T, D> {
  const known = "fallback" in given;
  return {
    about,
    ...kind,
    fallback: known ? given.fallback : undefined,
    shown: known ? String(given.fallback) : (given as { otherwise: string }).otherwise,
    required: false,
    operand: false,
  } as unknown as With<T, D>;
}

const number = v.union([v.number(), v.pipe(v.string(), v.regex(/\S/), v.transform(Number))]);

interface Range {
  min: number;
  max?: number;
  value?: string;
}

/** A whole number. */
export function integer<const D extends Default<number>>(
  about: string,
  { min, max = Number.MAX_SAFE_INTEGER, value = "N" }: Range,
  given: D,
): With<number, D> {
  const schema = v.pipe(number, v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`;
  return option<number, D>(about, { value, expected, schema }, given);
}

/** A finite number. */
export function real<const D extends Default<number>>(
  about: string,
  { min, max = Infinity, value = "X" }: Range,
  given: D,
): With<number, D> {
  const schema = v.pipe(number, v.number(), v.finite(), v.minValue(min), v.maxValue(max));
  const expected = max === Infinity ? `a number of at least ${min}` : `a number from ${min} to ${max}`;
  return option<number, D>(about, { value, expected, schema }, given);
}

/** A switch, off unless given. */
export function toggle(about: string): Option<boolean> {
  const text = v.pipe(
    v.picklist(["true", "false"]),
    v.transform((s) => s === "true"),
  );
  const kind = { value: null, expected: "true or false", schema: v.union([v.boolean(), text]) };
  return { ...option<boolean, { fallback: boolean }>(about, kind, { fallback: false }), shown: "" };
}

/** A text that is not empty. */
export function text<const D extends Default<string>>(
  about: string,
  { value = "TEXT", expected = "a text" }: { value?: string; expected?: string },
  given: D,
): With<string, D> {
  const schema = v.pipe(v.string(), v.nonEmpty());
  return option<string, D>(about, { value, expected, schema }, given);
}

/** One of a few words. */
export function choice<const W extends string>(
  about: string,
  words: readonly W[],
  fallback: NoInfer<W>,
): Option<W> {
  const kind = { value: words.join("|"), expected: `one of ${words.join(", ")}`, schema: v.picklist(words) };
  return option<W, { fallback: W }>(about, kind, { fallback });
}

/** A text, or in a settings file a list of texts. */
export function texts<const D extends Default<string | string[]>>(
  about: string,
  { value, expected }: { value: string; expected: string },
  given: D,
): With<string | string[], D> {
  const one = v.pipe(v.string(), v.nonEmpty());
  const kind = { value, expected, schema: v.union([one, v.pipe(v.array(one), v.minLength(1))]) };
  return option<string | string[], D>(about, kind, given);
}

/** A path that the command cannot do without. */
export function path(about: string, value: "FOLDER" | "FILE" | "PATH"): Option<string> {
  const kind = {
    value,
    expected: `the path of a ${value === "PATH" ? "file or folder" : value.toLowerCase()}`,
    schema: v.pipe(v.string(), v.nonEmpty()),
  };
  return {
    ...option<string, { fallback: string }>(about, kind, { fallback: "" }),
    shown: "",
    required: true,
  };
}

/** A name that the command cannot do without. */
export function name(about: string, value: string, expected: string): Option<string> {
  const kind = text(about, { value, expected }, { fallback: "" });
  return { ...kind, shown: "", required: true };
}

/** The same setting, given by its place on the command line. */
export const operand = <T>(inner: Option<T>): Option<T> => ({ ...inner, operand: true });
