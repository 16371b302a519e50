import { defaultBackend } from "@lowrank/tensor";

/** Whether passes keep the thread that hears of aborts and new requests, as those of a processor do. */
export const sharesThread = (): Promise<boolean> =>
  defaultBackend().then(
    ({ cheapReads }) => cheapReads === true,
    () => false, // the evaluation says what is missing
  );

/**
 * Prompt tokens that a pass takes at most. Fewer are padded less, more spare a device launches. SmolLM2-135M on one thread of a Xeon
 * (Wasm, f32) reads 512 tokens in 2.50 s by 256, in 2.57 s by 128 and in 2.78 s by 64, and eight prompts of 20 to 260 tokens in 6.6,
 * 5.8 and 5.8 s.
 */
export const passTokens = async (): Promise<number> => ((await sharesThread()) ? 128 : 256);

/** The next power of two, at least 16: few plans for many prompt lengths. */
export const padded = (length: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(length)));
