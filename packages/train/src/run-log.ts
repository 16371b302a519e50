import { ConfigError } from "@lowrank/tensor";
import type { TrainEvent } from "./events.js";

/** What a log may hold beside the events of the trainer, such as the settings of a run. */
export interface LogNote {
  type: string;
  [name: string]: unknown;
}
export type LogEntry = TrainEvent | LogNote;

const EVENTS: ReadonlySet<string> = /* @__PURE__ */ new Set<TrainEvent["type"]>([
  "start",
  "step",
  "eval",
  "save",
  "resume",
  "warning",
  "end",
]);

/** Asked for at run time, so that a bundler for browsers has nothing to resolve. */
function files(): typeof import("node:fs") {
  const host = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process;
  const found = host?.getBuiltinModule?.("node:fs") as typeof import("node:fs") | undefined;
  if (found) return found;
  throw new ConfigError({
    where: "RunLog",
    expected: "Node 20.16 or newer, Deno or Bun",
    got: "a host without files",
    hint: "listen with onEvent instead",
  });
}

/**
 * The log of a run: one JSON object a line, with the time in front. Lines are added as things happen, so what a killed run
 * did is there. A run that is taken up again goes on in the same log.
 */
export class RunLog {
  private constructor(
    private readonly path: string,
    private entries: LogEntry[],
  ) {}

  /** Opens a log; `keep` goes on with what is there. */
  static open(path: string, keep: boolean): RunLog {
    const fs = files();
    const log = new RunLog(path, keep && fs.existsSync(path) ? parse(fs.readFileSync(path, "utf8")) : []);
    log.rewrite();
    return log;
  }

  /** What the trainer told, without notes. */
  get events(): TrainEvent[] {
    return this.entries.filter((e): e is TrainEvent => EVENTS.has(e.type));
  }

  /** Adds a line. An event of type resume first takes out what came after the step that is gone back to. */
  add(entry: LogEntry): void {
    const timed = { time: new Date().toISOString(), ...entry };
    if (entry.type === "resume") {
      const step = entry["step"] as number;
      this.entries = this.entries.filter(
        (e) => !("step" in e && typeof e.step === "number" && e.step > step),
      );
      this.rewrite();
    }
    this.entries.push(timed);
    files().appendFileSync(this.path, line(timed));
  }

  private rewrite(): void {
    const beside = `${this.path}.tmp`;
    const fs = files();
    fs.writeFileSync(beside, this.entries.map(line).join(""));
    fs.renameSync(beside, this.path);
  }
}

const line = (entry: LogEntry): string => `${JSON.stringify(entry)}\n`;

/** Lines that are whole; the last of a killed run may not be. */
function parse(text: string): LogEntry[] {
  const entries: LogEntry[] = [];
  for (const row of text.split("\n")) {
    try {
      const entry: unknown = JSON.parse(row);
      if (entry !== null && typeof entry === "object" && "type" in entry) entries.push(entry as LogEntry);
    } catch {
      // torn or empty
    }
  }
  return entries;
}
