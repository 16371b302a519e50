/** How fast a text is made: the prompt up to the first token, and the tokens after it. */
export class Rate {
  private readonly began = performance.now();
  private first = 0;
  private last = 0;
  private count = 0;

  /** A token has come. */
  token(): void {
    this.last = performance.now();
    if (this.count++ === 0) this.first = this.last;
  }

  /** Seconds in all, and tokens per second; null where there were too few to tell. */
  end(promptTokens: number): {
    seconds: number;
    promptPerSecond: number | null;
    tokensPerSecond: number | null;
  } {
    const seconds = (performance.now() - this.began) / 1000;
    const perSecond = (n: number, ms: number): number | null => (n > 0 && ms > 0 ? (1000 * n) / ms : null);
    return {
      seconds,
      promptPerSecond: this.count === 0 ? null : perSecond(promptTokens, this.first - this.began),
      tokensPerSecond: perSecond(this.count - 1, this.last - this.first),
    };
  }
}
