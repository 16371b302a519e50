import type { Readable, Writable } from "node:stream";
import { type ArgsDef, type CommandDef, defineCommand } from "citty";
import { DEVICES } from "./device.js";
import { UsageError } from "./fault.js";
import { type HelpParts, renderHelp } from "./help.js";
import { choice, integer, type Options, text, toggle, type Values } from "./options.js";
import { Output } from "./output.js";
import { checkSettings, readSettingsFile } from "./settings.js";

/** What a run of a command has around it. */
export interface Session {
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly stdin: Readable;
}

/** Streams and signal of the place where a command runs. */
export interface Host {
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly stdin: Readable;
  /** Stops the command. */
  readonly signal: AbortSignal;
  /** Whether standard error is a terminal, where lines can be redrawn. */
  readonly interactive: boolean;
}

/** A command: its definition for citty, and its help. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly definition: CommandDef;
  help(): string;
}

/** Options of every command. */
export const common = {
  config: text(
    "Settings file in YAML or JSON: options of this command and their values. Flags win over it.",
    { value: "FILE", expected: "the path of a file" },
    { otherwise: "none" },
  ),
  json: toggle("One JSON object a line on standard output, for programs."),
  debug: toggle("Show where in the program an error arose."),
};

/** Options of every command that computes. */
export const computing = {
  device: choice(
    "Where to compute: webgpu is a GPU (with the package @lowrank/backend-dawn), native the processor with its BLAS (LOWRANK_BLAS names another), wasm the embedded backend, reference a slow one in double precision; auto is a GPU where there is one, else native, else wasm.",
    DEVICES,
    "auto",
  ),
  threads: integer(
    "Threads of native and wasm. Results do not depend on it.",
    { min: 1, max: 64 },
    { otherwise: "all cores, at most 8" },
  ),
  seed: integer(
    "Everything random follows from it: the same seed gives the same numbers.",
    { min: 0, max: 2 ** 32 - 1 },
    { fallback: 0 },
  ),
};

interface Spec<O extends Options> extends Omit<HelpParts, "headings" | "options"> {
  readonly options: O;
  readonly headings: { readonly [K in keyof O & string]?: string };
  run(settings: Values<O>, session: Session): Promise<void>;
}

/** Makes a command of its table of options: flags, settings file, checks and help all come from it. */
export function command<const O extends Options>(spec: Spec<O>): Command {
  const { name, summary, options, run } = spec;
  const args: ArgsDef = Object.fromEntries(
    Object.entries(options).map(([key, o]) => {
      const type = o.operand ? "positional" : o.value === null ? "boolean" : "string";
      return [key, { type, description: o.about, required: false }];
    }),
  );
  const definition = defineCommand({
    meta: { name, description: summary },
    args,
    async run({ args: parsed, rawArgs, data }) {
      const host = data as Host;
      const flags = givenFlags(options, parsed, rawArgs);
      const path = flags.get("config");
      const file = typeof path === "string" && path !== "" ? await readSettingsFile(path) : new Map();
      if (file.has("config")) {
        throw new UsageError({ where: String(path), expected: "options other than config", got: '"config"' });
      }
      const settings = checkSettings(options, flags, file, String(path));
      const output = new Output(host.stdout, host.stderr, settings["json"] === true, host.interactive);
      await run(settings, { output, signal: host.signal, stdin: host.stdin });
    },
  });
  return { name, summary, definition, help: () => renderHelp(spec) };
}

const camel = (name: string): string => name.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase());

/** What stood on the command line, by name. */
function givenFlags(
  options: Options,
  parsed: Readonly<Record<string, unknown>> & { _: string[] },
  rawArgs: readonly string[],
): Map<string, unknown> {
  const given = new Map<string, unknown>();
  const spellings = new Set<string>();
  for (const [name, o] of Object.entries(options)) {
    spellings.add(name).add(camel(name));
    const value = parsed[name];
    if (value === undefined) continue;
    // citty takes any text behind the = of a switch for yes; the text itself is checked here.
    const raw = o.value === null ? rawArgs.find((arg) => arg.startsWith(`--${name}=`)) : undefined;
    given.set(name, raw === undefined ? value : raw.slice(name.length + 3));
  }
  // An unknown option is the fault to tell, not the operand that its value looks like.
  const unknown = Object.keys(parsed).filter((key) => key !== "_" && !spellings.has(key));
  if (unknown.length > 0) return new Map(unknown.map((key) => [key, parsed[key]]));
  const places = Object.values(options).filter((o) => o.operand).length;
  if (parsed._.length > places) {
    throw new UsageError({
      where: "command line",
      expected: places === 1 ? "one operand" : `${places} operands`,
      got: `${parsed._.length}, the last ${JSON.stringify(parsed._.at(-1)!.slice(0, 60))}`,
      hint: "put quotes around a text with spaces",
    });
  }
  return given;
}
