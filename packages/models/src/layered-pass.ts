import type { KVCache } from "@lowrank/nn";
import { evaluate, type Tensor } from "@lowrank/tensor";
import { nextEvents } from "./event-loop.js";
import { sharesThread } from "./prompt-passes.js";

/**
 * A pass over a prompt that is evaluated a layer at a time where it keeps the thread: events run in between, and a pass that
 * nobody wants any more ends there. Layers of the same form share a plan. SmolLM2-135M on one thread of a Xeon (Wasm, f32) lets
 * events in every 32 ms while it reads 128 tokens, where a whole pass keeps them out for 730 to 780 ms, and takes no longer.
 */
export class LayeredPass {
  private readonly layers: { states: Tensor; writes: number }[] = [];

  constructor(private readonly cache: KVCache) {}

  /** Takes the states after a layer, as `ForwardOptions` has it. */
  readonly onLayer = (states: Tensor): void => {
    this.layers.push({ states, writes: this.cache.pending().length });
  };

  /**
   * Evaluates the results and what the cache is to hold.
   *
   * @param unwanted Is asked after each layer.
   * @returns whether it came to its end.
   */
  async evaluate(results: readonly Tensor[], unwanted: () => boolean): Promise<boolean> {
    const writes = this.cache.pending();
    let from = 0;
    let before: Tensor | null = null;
    try {
      // Of the last layer only what the results ask for is computed.
      const parts = (await sharesThread()) ? this.layers.slice(0, -1) : [];
      for (const { states, writes: to } of parts) {
        await evaluate(states, ...writes.slice(from, to));
        before?.dispose();
        [from, before] = [to, states];
        await nextEvents();
        if (unwanted()) return false;
      }
      await evaluate(...results, ...writes.slice(from));
      return true;
    } finally {
      before?.dispose();
    }
  }
}
