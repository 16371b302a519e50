import { runCommand } from "citty";
import manifest from "../package.json" with { type: "json" };
import type { Command, Host } from "./command.js";
import { chatCommand } from "./commands/chat.js";
import { convertCommand } from "./commands/convert.js";
import { embedCommand } from "./commands/embed.js";
import { estimateCommand } from "./commands/estimate.js";
import { evaluateCommand } from "./commands/evaluate.js";
import { finetuneCommand } from "./commands/finetune.js";
import { generateCommand } from "./commands/generate.js";
import { infoCommand } from "./commands/info.js";
import { mergeCommand } from "./commands/merge.js";
import { perplexityCommand } from "./commands/perplexity.js";
import { pullCommand } from "./commands/pull.js";
import { pushCommand } from "./commands/push.js";
import { serveCommand } from "./commands/serve.js";
import { describeFault, EXIT, Interrupted, UsageError } from "./fault.js";
import { renderOverview } from "./help.js";
import { nearest } from "./nearest.js";

/** Version of this package. */
export const version: string = manifest.version;

/** The commands in the order in which they are used. */
export const commands: readonly Command[] = [
  pullCommand,
  estimateCommand,
  finetuneCommand,
  evaluateCommand,
  perplexityCommand,
  generateCommand,
  chatCommand,
  embedCommand,
  serveCommand,
  mergeCommand,
  convertCommand,
  infoCommand,
  pushCommand,
];

/**
 * Runs a command line.
 *
 * Errors are told in one line on standard error; nothing is thrown and the process is not ended.
 *
 * @param argv The words behind `lowrank`.
 * @param host Streams and a signal that stops the command. Default: those of the process, and no signal.
 * @returns The exit status: 0 done, 1 failed, 2 a command line that cannot be understood, 130 stopped by the signal.
 *
 * @example
 * ```ts
 * const status = await main(["info", "models/base", "--json"]);
 * ```
 */
export async function main(argv: readonly string[], host: Partial<Host> = {}): Promise<number> {
  const {
    stdout = process.stdout,
    stderr = process.stderr,
    stdin = process.stdin,
    signal = new AbortController().signal,
  } = host;
  const interactive = host.interactive ?? (stderr as { isTTY?: boolean }).isTTY === true;
  const words = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  try {
    const [name = "help", ...rest] = argv;
    if (name === "--version" || name === "-v") {
      stdout.write(`${version}\n`);
      return EXIT.ok;
    }
    if (name === "--help" || name === "-h" || name === "help") {
      stdout.write(`${renderOverview(version, commands)}\n`);
      return EXIT.ok;
    }
    const found = commands.find((c) => c.name === name);
    if (found === undefined) throw unknownCommand(name);
    if (words.some((word) => word === "--help" || word === "-h")) {
      stdout.write(`${found.help()}\n`);
      return EXIT.ok;
    }
    const data: Host = { stdout, stderr, stdin, signal, interactive };
    await runCommand(found.definition, { rawArgs: rest, data });
    return EXIT.ok;
  } catch (error) {
    const told = signal.aborted && !(error instanceof Interrupted) ? new Interrupted() : error;
    const { message, exitCode, record } = describeFault(told);
    if (words.includes("--json")) stdout.write(`${JSON.stringify(record)}\n`);
    stderr.write(`${message}\n`);
    if (words.includes("--debug")) stderr.write(`${stack(error)}\n`);
    return exitCode;
  }
}

function unknownCommand(name: string): UsageError {
  const names = commands.map((c) => c.name);
  const dashed = name.startsWith("-");
  return new UsageError({
    where: "lowrank",
    expected: dashed ? "a command before the options" : `one of ${names.join(", ")}`,
    got: JSON.stringify(name.slice(0, 60)),
    hint: dashed ? "lowrank --help lists the commands" : `the nearest is ${nearest(name, names)}`,
  });
}

/** The stack of an error and of its causes. */
function stack(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at !== undefined && parts.length < 8; at = (at as { cause?: unknown } | null)?.cause) {
    parts.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return parts.join("\ncaused by: ");
}
