import { concat, evaluate, tensor, type Tensor } from "@lowrank/tensor";

/** a [.., m, n] = u diag(s) vt with singular values descending, as `svd` of `@lowrank/linalg`. */
export type Decompose = (a: Tensor) => { u: Tensor; s: Tensor; vt: Tensor };

/** A complex vector. */
interface Complex {
  re: Float64Array;
  im: Float64Array;
}

/** A key that is kept: its frequency, its singular value and its left singular vector over the key-value heads. */
interface Kept {
  frequency: number;
  s: number;
  w: Complex;
}

/**
 * The C / 2 complex keys that keep most of the circuits of query and key where both turn. Q [m, d, H] and K [n, d, H] pair i with
 * i + d / 2, as `rope` does: p_hj and u_gj are the complex rows of frequency j.
 *
 *     M_hj = p̄_hjᵀ u_gj,   Z_j = rows √(Σ_{h of g} ‖p_hj‖²) u_gj = Σ_l s_l w_l W_l,   M̂_hj = Σ_l p̄_hjᵀ (u_gj W_l*) W_l
 *
 * S [C, H] has real parts of the W_l above and imaginary parts below; queries [m, C, H] those of (W_l u_gj*) p_hj.
 */
export async function sharedTurningKeys(
  Q: Tensor,
  K: Tensor,
  C: number,
  svd: Decompose,
): Promise<{ S: Tensor; queries: Tensor; frequencies: number[]; lost: number; whole: number }> {
  const [m, d, H] = Q.shape as [number, number, number];
  const [n, half] = [K.shape[0]!, d / 2];
  // Rows by frequency: [half, n, H].
  const part = (t: Tensor, from: number): Tensor =>
    t.slice([null, [from, from + half], null]).permute([1, 0, 2]);
  const strength = Q.square()
    .sum(-1)
    .reshape([n, m / n, 2, half])
    .sum([1, 2])
    .sqrt(); // [n, half]
  const weights = strength.T.reshape([half, n, 1]);
  const [re, im] = [part(K, 0).mul(weights), part(K, half).mul(weights)];
  // Of [[re, −im], [im, re]] each singular value of Z comes twice, with vectors (a, b) of a + ib and of i (a + ib).
  const real = svd(concat([concat([re, im.neg()], 2), concat([im, re], 2)], 1));
  await evaluate(real.u, re, im, strength);
  const [u, zRe, zIm, strengths, q] = await Promise.all([real.u, re, im, strength, Q].map((t) => t.data()));

  const found: (Kept & { W: Complex })[] = [];
  for (let j = 0; j < half; j++) {
    const column = (c: number): Complex => {
      const at = (row: number): number => u![(j * 2 * n + row) * real.u.shape[2]! + c]!;
      return {
        re: Float64Array.from({ length: n }, (_, g) => at(g)),
        im: Float64Array.from({ length: n }, (_, g) => at(n + g)),
      };
    };
    for (const w of independent(real.u.shape[2]!, n, column)) {
      // s W = w* Z
      const W: Complex = { re: new Float64Array(H), im: new Float64Array(H) };
      for (let g = 0; g < n; g++) {
        for (let x = 0; x < H; x++) {
          const [a, b] = [zRe![(j * n + g) * H + x]!, zIm![(j * n + g) * H + x]!];
          W.re[x]! += w.re[g]! * a + w.im[g]! * b;
          W.im[x]! += w.re[g]! * b - w.im[g]! * a;
        }
      }
      const s = Math.sqrt(norm2(W));
      if (s > 0) scale(W, 1 / s);
      found.push({ frequency: j, s, w, W });
    }
  }
  const whole = found.reduce((sum, { s }) => sum + s * s, 0);
  // The largest of all frequencies, then in their order.
  found.sort((a, b) => b.s - a.s);
  const kept = found.slice(0, C / 2).sort((a, b) => a.frequency - b.frequency);
  const lost = found.slice(C / 2).reduce((sum, { s }) => sum + s * s, 0);

  const S = new Float32Array(C * H);
  const queries = new Float32Array(m * C * H);
  for (const [l, { frequency: j, s, w, W }] of kept.entries()) {
    S.set(W.re, l * H);
    S.set(W.im, (l + C / 2) * H);
    for (let h = 0; h < m; h++) {
      const g = Math.floor((h * n) / m);
      const strong = strengths![g * half + j]!;
      if (strong === 0) continue;
      // u_g W* = s w_g / strength; its conjugate times p.
      const [c, e] = [(s * w.re[g]!) / strong, (-s * w.im[g]!) / strong];
      for (let x = 0; x < H; x++) {
        const [a, b] = [q![(h * d + j) * H + x]!, q![(h * d + j + half) * H + x]!];
        queries[(h * C + l) * H + x] = c * a - e * b;
        queries[(h * C + l + C / 2) * H + x] = c * b + e * a;
      }
    }
  }
  return {
    S: tensor(S, { shape: [C, H] }),
    queries: tensor(queries, { shape: [m, C, H] }),
    frequencies: kept.map(({ frequency }) => frequency),
    lost,
    whole,
  };
}

const norm2 = ({ re, im }: Complex): number => re.reduce((sum, a, i) => sum + a * a + im[i]! * im[i]!, 0);

function scale({ re, im }: Complex, by: number): void {
  for (let i = 0; i < re.length; i++) {
    re[i]! *= by;
    im[i]! *= by;
  }
}

/** What of a vector may remain when it is one of those before, times a complex number, but for rounding. */
const SAME = 1e-2;

/** The first n of `count` complex vectors that are independent of those before, made orthonormal. */
function independent(count: number, n: number, vector: (c: number) => Complex): Complex[] {
  const chosen: Complex[] = [];
  for (let c = 0; c < count && chosen.length < n; c++) {
    const v = vector(c);
    // Twice, so that rounding of the first time is taken out too.
    for (const w of [...chosen, ...chosen]) {
      let [re, im] = [0, 0]; // w* v
      for (let i = 0; i < n; i++) {
        re += w.re[i]! * v.re[i]! + w.im[i]! * v.im[i]!;
        im += w.re[i]! * v.im[i]! - w.im[i]! * v.re[i]!;
      }
      for (let i = 0; i < n; i++) {
        v.re[i]! -= re * w.re[i]! - im * w.im[i]!;
        v.im[i]! -= re * w.im[i]! + im * w.re[i]!;
      }
    }
    const rest = Math.sqrt(norm2(v));
    if (rest < SAME) continue;
    scale(v, 1 / rest);
    chosen.push(v);
  }
  return chosen;
}
