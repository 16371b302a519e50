export interface LoraPlusOptions {
  /** Learning rate of B over that of A. Default 16. */
  ratio?: number;
}

/**
 * Groups for an optimizer of `@lowrank/optim` that train the up projections of LoRA, and vectors, `ratio` times as fast.
 *
 * Source: Hayou et al. 2024, arXiv:2402.12354, section 4; the groups are PEFT's.
 *
 * @example
 * ```ts
 * const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-4, groups: loraPlusGroups() });
 * ```
 * @category Additive adapters
 */
export const loraPlusGroups = ({ ratio = 16 }: LoraPlusOptions = {}) => [
  {
    match: (path: string, { ndim }: { readonly ndim: number }): boolean =>
      path.includes("lora_B") || ndim === 1,
    lrScale: ratio,
  },
];
