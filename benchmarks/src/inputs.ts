/**
 * The numbers that every contender computes on: element i is (2654435761 · (i + seed) mod 2³²) / 2³² − 0.5, times a
 * scale. Python makes the same from the same formula.
 */
export function numbers(size: number, seed: number, scale = 1): Float32Array {
  const out = new Float32Array(size);
  for (let i = 0; i < size; i++)
    out[i] = ((Math.imul(i + seed, 2654435761) >>> 0) / 4294967296 - 0.5) * scale;
  return out;
}

/** Token ids and class labels: whole numbers from the same formula. */
export function integers(size: number, seed: number, below: number): Int32Array {
  const out = new Int32Array(size);
  for (let i = 0; i < size; i++)
    out[i] = Math.floor(((Math.imul(i + seed, 2654435761) >>> 0) / 4294967296) * below);
  return out;
}

export const MLP = { batch: 128, sizes: [784, 1024, 1024, 10] as const };
export const DECODER = {
  layers: 2,
  width: 256,
  heads: 4,
  inner: 768,
  vocabulary: 4096,
  batch: 8,
  length: 128,
};
export const CHAIN = 16_777_216;
export const ROWS = { rows: 4096, width: 1024 };

/** Shapes of the decoder's parameters by their names in a Llama checkpoint. */
export function decoderShapes(): [name: string, shape: number[]][] {
  const { layers, width, inner, vocabulary } = DECODER;
  const out: [string, number[]][] = [["model.embed_tokens.weight", [vocabulary, width]]];
  for (let l = 0; l < layers; l++) {
    const at = `model.layers.${l}`;
    out.push([`${at}.input_layernorm.weight`, [width]]);
    for (const p of ["q", "k", "v", "o"]) out.push([`${at}.self_attn.${p}_proj.weight`, [width, width]]);
    out.push([`${at}.post_attention_layernorm.weight`, [width]]);
    out.push([`${at}.mlp.gate_proj.weight`, [inner, width]], [`${at}.mlp.up_proj.weight`, [inner, width]]);
    out.push([`${at}.mlp.down_proj.weight`, [width, inner]]);
  }
  out.push(["model.norm.weight", [width]], ["lm_head.weight", [vocabulary, width]]);
  return out;
}

/** The start of a decoder parameter: ones for norms, small numbers elsewhere. */
export function decoderValue(index: number, shape: readonly number[]): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  return shape.length === 1 ? new Float32Array(size).fill(1) : numbers(size, 1000 * (index + 1), 0.12);
}

export interface MatmulRow {
  n: number;
  transposeA: boolean;
  transposeB: boolean;
}

/** `matmul-512`, `matmul-512-tn`, ... or null. */
export function matmulRow(row: string): MatmulRow | null {
  const match = /^matmul-(\d+)(?:-([nt])([nt]))?$/.exec(row);
  return match && { n: Number(match[1]), transposeA: match[2] === "t", transposeB: match[3] === "t" };
}
