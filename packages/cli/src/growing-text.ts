import type { Tokenizer } from "@lowrank/models";

/** Tokens of the prompt that are decoded with the new ones, so that spaces come out as in the middle of a text. */
const CONTEXT = 8;

/**
 * The text of tokens that come one by one. What may still change is held back: the bytes of a character that is not
 * whole, and an ending that may turn out to be the beginning of a stop text.
 */
export class GrowingText {
  private readonly ids: number[];
  private readonly before: number;
  private given = 0;
  private all = "";

  constructor(
    private readonly tokenizer: Tokenizer,
    prompt: readonly number[],
    private readonly stop: string | undefined,
  ) {
    this.ids = prompt.slice(-CONTEXT);
    this.before = tokenizer.decode(this.ids).length;
  }

  /** Whether the stop text has come. */
  get stopped(): boolean {
    return this.stop !== undefined && this.all.includes(this.stop);
  }

  /** The new text so far, without the stop text and what follows it. */
  get text(): string {
    const at = this.stop === undefined ? -1 : this.all.indexOf(this.stop);
    return at < 0 ? this.all : this.all.slice(0, at);
  }

  /** Adds a token and gives what can be shown now. */
  add(id: number): string {
    this.ids.push(id);
    this.all = this.tokenizer.decode(this.ids).slice(this.before);
    let end = this.text.length;
    if (!this.stopped) {
      end = this.all.replace(/\ufffd+$/, "").length;
      end -= this.unsure(this.all.slice(0, end));
    }
    return this.take(end);
  }

  /** What was held back, at the end. */
  end(): string {
    return this.take(this.text.length);
  }

  private take(end: number): string {
    const piece = this.all.slice(this.given, end);
    this.given = Math.max(this.given, end);
    return piece;
  }

  /** Length of the longest ending that begins the stop text. */
  private unsure(text: string): number {
    const { stop = "" } = this;
    for (let n = Math.min(stop.length - 1, text.length); n > 0; n--)
      if (stop.startsWith(text.slice(-n))) return n;
    return 0;
  }
}
