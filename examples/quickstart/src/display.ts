const colours = process.stdout.isTTY && !process.env["NO_COLOR"];
const paint = (code: string) => (text: string) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text);
export const bold = paint("1");
export const dim = paint("2");

/** A table of names and values, aligned. */
export function facts(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${dim(name.padEnd(width))}  ${value}`).join("\n");
}

/** Breaks a text at spaces and indents it. */
export function wrap(text: string, width = 96, indent = "    "): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line && line.length + word.length + 1 > width) {
      lines.push(line);
      line = "";
    }
    line += line ? ` ${word}` : word;
  }
  return [...lines, line].map((l) => indent + l).join("\n");
}

/** Shows how far a job is: one line that is redrawn on a terminal, a line every few seconds elsewhere. */
export class Progress {
  private lastMs = 0;
  private drawn = false;

  constructor(private readonly quiet: boolean) {}

  show(done: number, total: number, text: string): void {
    if (this.quiet) return;
    const now = Date.now();
    if (process.stdout.isTTY) {
      const filled = Math.round((done / total) * 24);
      const bar = "█".repeat(filled) + "░".repeat(24 - filled);
      process.stdout.write(`\r\u001b[2K  ${bar} ${done}/${total}  ${text}`);
      this.drawn = true;
    } else if (done === total || done === 1 || now - this.lastMs > 5000) {
      this.lastMs = now;
      console.log(`  ${String(done).padStart(String(total).length)}/${total}  ${text}`);
    }
  }

  /** Leaves the line where it is. */
  end(): void {
    if (this.drawn) process.stdout.write("\n");
    this.drawn = false;
  }
}
