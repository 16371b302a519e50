import { ConfigError } from "@lowrank/tensor";
import type { Tokenizer } from "./tokenizer.js";

/** Tokens before a piece that are decoded with it, so that spaces come out as in the middle of a text. */
const CONTEXT = 8;

/**
 * The text of tokens that come one by one, in pieces that can be shown at once. What may still change is held back: the
 * bytes of a character that is not whole, and an ending that may turn out to be the beginning of a stop text.
 *
 * The text ends before the stop text that is complete first, wherever the borders of the tokens lie. Each token costs the
 * decoding of a few, however long the text has become.
 *
 * @example
 * ```ts
 * const growing = new GrowingText(tokenizer, promptIds, ["\nUser:"]);
 * for await (const id of generate(model, promptIds, { stopWhen: () => growing.stopped })) write(growing.add(id));
 * write(growing.end());
 * ```
 */
export class GrowingText {
  /** The last tokens, which are decoded together. */
  private window: number[];
  /** Characters of the window's text that are in `made` already. */
  private taken: number;
  private given = "";
  /** Text behind `given` that is held back. */
  private held = "";
  private stop: string | null = null;
  private readonly stops: readonly string[];

  /**
   * @param prompt The tokens before; their text is not given out.
   * @param stops Texts before which the text ends.
   */
  constructor(
    private readonly tokenizer: Tokenizer,
    prompt: readonly number[] = [],
    stops: string | readonly string[] = [],
  ) {
    this.stops = typeof stops === "string" ? [stops] : stops;
    if (this.stops.includes(""))
      throw new ConfigError({ where: "stop", expected: "texts that are not empty", got: '""' });
    this.window = ending(tokenizer, prompt);
    this.taken = tokenizer.decode(this.window).length;
  }

  /** Whether a stop text has come. */
  get stopped(): boolean {
    return this.stop !== null;
  }

  /** The stop text that has come, or null. */
  get stopText(): string | null {
    return this.stop;
  }

  /** The whole text so far, held text included, without a stop text and what follows it. */
  get text(): string {
    return this.given + this.held + (this.stopped ? "" : this.unfinished());
  }

  /** Adds a token and gives what can be shown now. */
  add(id: number): string {
    if (this.stopped) return "";
    this.window.push(id);
    const text = this.tokenizer.decode(this.window);
    const whole = text.replace(/\ufffd+$/, "");
    if (whole.length > this.taken) {
      const before = this.held.length;
      this.held += whole.slice(this.taken);
      this.taken = whole.length;
      this.findStop(before);
    }
    if (whole.length === text.length && !this.stopped) this.forget();
    return this.release(this.stopped ? this.held.length : this.held.length - this.unsure());
  }

  /** What was held back, at the end. */
  end(): string {
    if (!this.stopped) {
      const before = this.held.length;
      this.held += this.unfinished();
      this.findStop(before);
    }
    this.window = [];
    this.taken = 0;
    return this.release(this.held.length);
  }

  /** The end of the window's text that is no whole character. */
  private unfinished(): string {
    return this.window.length === 0 ? "" : this.tokenizer.decode(this.window).slice(this.taken);
  }

  /** Leaves only the last tokens in the window, since all of it has given its text. */
  private forget(): void {
    if (this.window.length < 2 * CONTEXT) return;
    this.window = ending(this.tokenizer, this.window);
    this.taken = this.tokenizer.decode(this.window).length;
  }

  /** Looks for the stop text that ends first behind the first `before` characters held. */
  private findStop(before: number): void {
    let end = Number.POSITIVE_INFINITY;
    let from = 0;
    for (const stop of this.stops) {
      const at = this.held.indexOf(stop, Math.max(0, before - stop.length + 1));
      if (at < 0 || at + stop.length > end || (at + stop.length === end && at > from)) continue;
      [end, from, this.stop] = [at + stop.length, at, stop];
    }
    if (this.stop !== null) this.held = this.held.slice(0, from);
  }

  /** Length of the longest ending that begins a stop text. */
  private unsure(): number {
    let longest = 0;
    for (const stop of this.stops) {
      for (let n = Math.min(stop.length - 1, this.held.length); n > longest; n--)
        if (stop.startsWith(this.held.slice(-n))) longest = n;
    }
    return longest;
  }

  private release(count: number): string {
    const piece = this.held.slice(0, count);
    this.given += piece;
    this.held = this.held.slice(count);
    return piece;
  }
}

/** The last few tokens, from one on that begins with a whole character. */
function ending(tokenizer: Tokenizer, ids: readonly number[]): number[] {
  for (let n = CONTEXT; n < ids.length && n < 2 * CONTEXT; n++) {
    const last = ids.slice(-n);
    if (!tokenizer.decode(last).startsWith("\ufffd")) return last;
  }
  return ids.slice(-2 * CONTEXT);
}
