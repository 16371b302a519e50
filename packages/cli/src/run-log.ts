import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { TrainEvent } from "@lowrank/train";

/** What the log holds beside the events of the trainer: the settings that each start of the run had. */
export type LogEntry = TrainEvent | ({ type: "settings" } & Readonly<Record<string, unknown>>);

/**
 * The log of a run, `log.jsonl`: one JSON object a line with the time in front. Lines are added as things happen, so
 * what a killed run did is there. A run that is taken up again goes on in the same log.
 */
export class RunLog {
  private constructor(
    private readonly path: string,
    private entries: LogEntry[],
  ) {}

  /** Opens a log; `keep` goes on with what is there. */
  static open(path: string, keep: boolean): RunLog {
    const log = new RunLog(path, keep && existsSync(path) ? parse(readFileSync(path, "utf8")) : []);
    log.rewrite();
    return log;
  }

  /** Everything so far but the settings. */
  get events(): TrainEvent[] {
    return this.entries.filter((e): e is TrainEvent => e.type !== "settings");
  }

  /** The settings with which the run was started last. */
  get settings(): Readonly<Record<string, unknown>> | undefined {
    return this.entries.findLast((e) => e.type === "settings");
  }

  /** Adds a line. The start at a step first takes out what came after that step before the run was stopped. */
  add(entry: LogEntry): void {
    if (entry.type === "start") {
      const { step } = entry;
      this.entries = this.entries.filter(
        (e) => !("step" in e) || typeof e.step !== "number" || e.step <= step,
      );
      this.rewrite();
    }
    this.entries.push(entry);
    appendFileSync(this.path, line(entry));
  }

  private rewrite(): void {
    const beside = `${this.path}.tmp`;
    writeFileSync(beside, this.entries.map(line).join(""));
    renameSync(beside, this.path);
  }
}

const line = (entry: LogEntry): string =>
  `${JSON.stringify("time" in entry ? entry : { time: new Date().toISOString(), ...entry })}\n`;

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
