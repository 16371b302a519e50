import type { Writable } from "node:stream";
import { oneLine } from "./fault.js";

/** Lines of progress where nothing can be redrawn come at most this often. */
const QUIET_MS = 10_000;

/** Characters of a bar. */
const BAR = 24;
/** To the start of the line, and what is on it erased. */
const REDRAW = "\r\u001b[2K";

/** Shows how far a job is. */
export interface Progress {
  /** So many of the total are done. */
  show(done: number, text: string): void;
  /** A line that stays. */
  line(text: string): void;
  end(text: string): void;
}

/**
 * Where a command writes. Results go to standard output: text, or with `--json` one JSON object a line. What goes on
 * meanwhile goes to standard error: a bar that is redrawn on a terminal, a line now and then elsewhere.
 */
export class Output {
  constructor(
    readonly stdout: Writable,
    readonly stderr: Writable,
    readonly json: boolean,
    private readonly interactive: boolean,
  ) {}

  /** Text of a result; not with `--json`. */
  text(line = ""): void {
    if (!this.json) this.stdout.write(`${line}\n`);
  }

  /** A piece of a result that grows; not with `--json`. */
  piece(text: string): void {
    if (!this.json) this.stdout.write(text);
  }

  /** A machine-readable line; only with `--json`. */
  record(record: Readonly<Record<string, unknown>>): void {
    if (this.json) this.stdout.write(`${JSON.stringify(record)}\n`);
  }

  /** What goes on. */
  note(text: string): void {
    if (!this.json) this.stderr.write(`${text}\n`);
  }

  warn(message: string): void {
    this.record({ type: "warning", message });
    this.stderr.write(`warning: ${oneLine(message)}\n`);
  }

  /** Names and values, aligned. */
  table(rows: readonly (readonly [name: string, value: string])[]): void {
    const width = Math.max(0, ...rows.map(([name]) => name.length));
    for (const [name, value] of rows) this.text(`${name.padEnd(width)}  ${value}`);
  }

  progress(total: number, label: string): Progress {
    if (this.json) return { show: () => {}, line: () => {}, end: () => {} };
    return this.interactive ? this.bar(total, label) : this.lines(total);
  }

  /** One line that is redrawn. It leaves the keyboard alone, so that Ctrl-C stays a signal. */
  private bar(total: number, label: string): Progress {
    const { stderr } = this;
    const draw = (done: number, text: string): void => {
      const filled = Math.round((BAR * done) / Math.max(1, total));
      const line = `${"█".repeat(filled)}${"░".repeat(BAR - filled)} ${done}/${total}  ${text}`;
      const columns = (stderr as { columns?: number }).columns || 80;
      stderr.write(`${REDRAW}${line.slice(0, columns - 1)}`);
    };
    let last: [number, string] = [0, label];
    draw(...last);
    return {
      show: (done, text) => draw(...(last = [done, text])),
      line: (text) => {
        stderr.write(`${REDRAW}${text}\n`);
        draw(...last);
      },
      end: (text) => void stderr.write(`${REDRAW}${text}\n`),
    };
  }

  private lines(total: number): Progress {
    let last = Number.NEGATIVE_INFINITY;
    return {
      show: (done, text) => {
        const now = performance.now();
        if (now - last < QUIET_MS && done < total) return;
        last = now;
        this.note(`${String(done).padStart(String(total).length)}/${total}  ${text}`);
      },
      line: (text) => this.note(text),
      end: (text) => this.note(text),
    };
  }
}

const grouped = /* @__PURE__ */ new Intl.NumberFormat("en-US");

/** 1234567 as 1,234,567. */
export const count = (n: number): string => grouped.format(n);

export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

/** Bytes in the unit that fits. */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  return at === 0 ? `${n} B` : `${(n / 1024 ** at).toFixed(1)} ${units[at]}`;
}
