import { defaultBackend } from "@lowrank/tensor";

/**
 * Prompt tokens that a pass takes at most. A processor computes on the thread that hears of aborts and new requests, so its passes
 * are as short as they can be without loss: SmolLM2-135M on one thread of a Xeon (Wasm, f32) reads 512 tokens in 2.50 s by 256, which
 * keeps that thread for 1.3 s at a time, in 2.57 s by 128 and in 2.78 s by 64; eight prompts of 20 to 260 tokens, with what they are
 * padded by, in 6.6, 5.8 and 5.8 s. A device of its own loses more, by the launches of each pass.
 */
export const passTokens = (): Promise<number> =>
  defaultBackend().then(
    ({ cheapReads }) => (cheapReads ? 128 : 256),
    () => 256, // the evaluation says what is missing
  );

/** The next power of two, at least 16: few plans for many prompt lengths. */
export const padded = (length: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(length)));
