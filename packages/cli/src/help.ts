import type { Option, Options } from "./options.js";

/** What the help of a command is made of. */
export interface HelpParts {
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  /** What it does, reads and writes. */
  readonly about: string;
  readonly options: Options;
  /** Headings that stand before an option. */
  readonly headings: Readonly<Record<string, string | undefined>>;
  /** What is to be done, and the command that does it. */
  readonly examples: readonly (readonly [purpose: string, command: string])[];
}

const WIDTH = 100;
const LEFT = 28;

/** Breaks a text at spaces. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + word.length + 1 > width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}

const flagOf = (name: string, o: Option<unknown>): string =>
  o.operand ? name.toUpperCase() : `--${name}${o.value === null ? "" : ` ${o.value}`}`;

function row([name, o]: readonly [string, Option<unknown>]): string[] {
  const flag = `  ${flagOf(name, o)}`;
  const tail = o.required && !o.operand ? " Needed." : o.shown === "" ? "" : ` Default: ${o.shown}.`;
  const lines = wrap(`${o.about}${tail}`, WIDTH - LEFT).map((line) => " ".repeat(LEFT) + line);
  if (flag.length + 2 > LEFT) return [flag, ...lines];
  return [flag.padEnd(LEFT) + lines[0]!.slice(LEFT), ...lines.slice(1)];
}

/** The help of one command. */
export function renderHelp({ name, summary, about, options, headings, examples }: HelpParts): string {
  const all = Object.entries(options);
  const operands = all.filter(([, o]) => o.operand);
  const needed = all.filter(([, o]) => o.required && !o.operand);
  const usage = [
    `lowrank ${name}`,
    ...operands.map(([key, o]) => (o.required ? key.toUpperCase() : `[${key.toUpperCase()}]`)),
    ...needed.map(([key, o]) => flagOf(key, o)),
    "[options]",
  ].join(" ");
  const lines = [`lowrank ${name}: ${summary}`, "", `Usage: ${usage}`, "", ...wrap(about, WIDTH), ""];
  for (const entry of operands) lines.push(...row(entry));
  for (const entry of all.filter(([, o]) => !o.operand)) {
    const heading = headings[entry[0]];
    if (heading !== undefined) lines.push("", heading);
    lines.push(...row(entry));
  }
  lines.push("", "Examples");
  for (const [purpose, line] of examples) lines.push(`  # ${purpose}`, `  ${line}`);
  return lines.join("\n");
}

/** The help of the whole. */
export function renderOverview(
  version: string,
  commands: readonly { name: string; summary: string }[],
): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    `lowrank ${version}: adapts language models with low-rank matrices, on this machine`,
    "",
    "Usage: lowrank COMMAND [options]",
    "",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "lowrank COMMAND --help   tells what a command reads and writes, its options and their defaults",
    "lowrank --version        prints the version",
    "",
    "Examples",
    "  # train an adapter, then look at what it does",
    "  lowrank finetune models/base data.jsonl --out runs/first",
    '  lowrank generate models/base "Call me" --adapter runs/first/adapter',
    "  # make a model of base and adapter that needs no adapter",
    "  lowrank merge models/base runs/first/adapter --out models/adapted",
  ].join("\n");
}
