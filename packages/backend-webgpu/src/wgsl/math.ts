/**
 * Functions that WGSL lacks, or leaves too much freedom: its `sin` may be off by 2⁻¹¹, its `tanh` may overflow, NaN and
 * infinities may be assumed away. Each is written once over the aliases F, I, U and B, which a shader sets to one number
 * or to four. Specials are tested by their bits.
 */
interface WgslFunction {
  readonly needs?: readonly string[];
  readonly text: string;
}

/** Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": Threefry-2x32, 20 rounds, word 0. */
function threefryText(): string {
  const turns = [13, 15, 26, 6, 17, 29, 16, 24];
  const lines = Array.from({ length: 20 }, (_, i) => {
    const turn = turns[i % 8]!;
    const round = `x += y; y = ((y << U(${turn}u)) | (y >> U(${32 - turn}u))) ^ x;`;
    const s = (i + 1) / 4;
    return i % 4 === 3 ? `${round} x += k${s % 3}; y += k${(s + 1) % 3} + U(${s}u);` : round;
  });
  return `fn threefry(k0: U, k1: U, c0: U, c1: U) -> U {
let k2 = k0 ^ k1 ^ U(0x1bd11bdau);
var x = c0 + k0;
var y = c1 + k1;
${lines.join("\n")}
return x;
}`;
}

const FUNCTIONS: Readonly<Record<string, WgslFunction>> = {
  inf: {
    // A constant expression must be finite; a private variable is no constant.
    text: `var<private> infinity_bits: u32 = 0x7f800000u;
var<private> nan_bits: u32 = 0x7fc00000u;
fn inf() -> F { return F(bitcast<f32>(infinity_bits)); }
fn nan() -> F { return F(bitcast<f32>(nan_bits)); }`,
  },
  is_nan: { text: `fn is_nan(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u); }` },
  is_inf: { text: `fn is_inf(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) == U(0x7f800000u); }` },
  /** The sign bit of `s` put on `x` ≥ 0. */
  with_sign: {
    text: `fn with_sign(x: F, s: F) -> F { return bitcast<F>(bitcast<U>(x) | (bitcast<U>(s) & U(0x80000000u))); }`,
  },
  pow2: { text: `fn pow2(k: I) -> F { return bitcast<F>((k + I(127)) << U(23u)); }` },
  exp_: {
    // k = round(x / ln 2), e^x = 2^k e^r; the power in two halves, so that neither leaves the range.
    needs: ["pow2", "is_nan"],
    text: `fn exp_(x: F) -> F {
  let v = clamp(x, F(-104.0), F(89.0));
  let k = round(v * 1.4426950408889634);
  let r = (v - k * 0.693359375) + k * 2.12194440e-4;
  var p = F(1.9875691500e-4);
  p = p * r + 1.3981999507e-3;
  p = p * r + 8.3334519073e-3;
  p = p * r + 4.1665795894e-2;
  p = p * r + 1.6666665459e-1;
  p = p * r + 5.0000001201e-1;
  p = p * r * r + r + 1.0;
  let n = I(k);
  let h = n >> U(1u);
  return select(p * pow2(h) * pow2(n - h), x, is_nan(x));
}`,
  },
  expm1_: {
    needs: ["exp_"],
    text: `fn expm1_(x: F) -> F {
  var p = F(2.4801587e-5);
  p = p * x + 1.9841270e-4;
  p = p * x + 1.3888889e-3;
  p = p * x + 8.3333333e-3;
  p = p * x + 4.1666667e-2;
  p = p * x + 1.6666667e-1;
  p = p * x + 0.5;
  return select(exp_(x) - 1.0, p * x * x + x, abs(x) < F(0.35));
}`,
  },
  log_: {
    // x = 2^k m with m in [√½, √2); log m through s = f / (2 + f), f = m − 1 (the form of fdlibm).
    needs: ["inf", "is_nan"],
    text: `fn log_(x: F) -> F {
  let small = x < F(1.17549435e-38);
  let v = select(x, x * 8388608.0, small);
  let bits = bitcast<U>(v) + U(0x004afb0du);
  let k = F(I(bits >> U(23u)) - I(127)) - select(F(0.0), F(23.0), small);
  let f = bitcast<F>((bits & U(0x007fffffu)) + U(0x3f3504f3u)) - 1.0;
  let s = f / (f + 2.0);
  let z = s * s;
  let w = z * z;
  let t = w * (w * 0.24279078841 + 0.40000972152) + z * (w * 0.28498786688 + 0.66666662693);
  let h = f * f * 0.5;
  let y = k * 0.69313812256 - ((h - (s * (h + t) + k * 9.0580006145e-6)) - f);
  var r = select(y, x, x == inf());
  r = select(r, -inf(), x == F(0.0));
  r = select(r, nan(), x < F(0.0));
  return select(r, x, is_nan(x));
}`,
  },
  log1p_: {
    needs: ["log_"],
    text: `fn log1p_(x: F) -> F {
  let s = x / (x + 2.0);
  let z = s * s;
  var p = F(0.1818181818);
  p = p * z + 0.2222222222;
  p = p * z + 0.2857142857;
  p = p * z + 0.4;
  p = p * z + 0.6666666667;
  return select(log_(x + 1.0), s * (p * z + 2.0), abs(x) < F(0.4));
}`,
  },
  quadrant: {
    // x − k π/2 with π/2 in four parts, of which three times k are exact up to k = 2¹⁶.
    text: `struct Quadrant { r: F, k: I }
fn quadrant(x: F) -> Quadrant {
  let k = round(clamp(x, F(-1.0e9), F(1.0e9)) * 0.6366197723675814);
  var r = x - k * 1.5703125;
  r = r - k * 4.825592041015625e-4;
  r = r - k * 1.2665987014770508e-6;
  r = r - k * 9.92093629470503e-10;
  return Quadrant(r, I(k));
}
fn sin_poly(r: F) -> F {
  let z = r * r;
  return ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
}
fn cos_poly(r: F) -> F {
  let z = r * r;
  return ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - z * 0.5 + 1.0;
}
fn turned(q: Quadrant, k: I) -> F {
  let y = select(sin_poly(q.r), cos_poly(q.r), (k & I(1)) == I(1));
  return select(y, -y, (k & I(2)) == I(2));
}`,
  },
  sin_: {
    needs: ["quadrant", "inf", "is_inf"],
    text: `fn sin_(x: F) -> F { let q = quadrant(x); return select(turned(q, q.k), nan(), is_inf(x)); }`,
  },
  cos_: {
    needs: ["quadrant", "inf", "is_inf"],
    text: `fn cos_(x: F) -> F { let q = quadrant(x); return select(turned(q, q.k + I(1)), nan(), is_inf(x)); }`,
  },
  tan_: { needs: ["sin_", "cos_"], text: `fn tan_(x: F) -> F { return sin_(x) / cos_(x); }` },
  atan_: {
    needs: ["with_sign", "is_nan"],
    text: `fn atan_(x: F) -> F {
  let a = abs(x);
  let far = a > F(2.414213562373095);
  let near = a > F(0.4142135623730950);
  let t = select(select(a, (a - 1.0) / (a + 1.0), near), -1.0 / a, far);
  let base = select(select(F(0.0), F(0.7853981633974483), near), F(1.5707963267948966), far);
  let z = t * t;
  let y = base + ((((z * 8.05374449538e-2 - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1) * z * t + t);
  return select(with_sign(y, x), x, is_nan(x));
}`,
  },
  atan2_: {
    needs: ["atan_", "with_sign", "is_nan", "is_inf"],
    text: `fn atan2_(y: F, x: F) -> F {
  let u = abs(y);
  let v = abs(x);
  let low = min(u, v);
  let high = max(u, v);
  let both = is_inf(low);
  let q = select(select(low / high, F(0.0), high == F(0.0)), F(1.0), both);
  var t = atan_(q);
  t = select(t, 1.5707963267948966 - t, u > v);
  t = select(t, 3.141592653589793 - t, (bitcast<U>(x) >> U(31u)) == U(1u));
  return select(with_sign(t, y), x + y, is_nan(x) | is_nan(y));
}`,
  },
  asin_: {
    needs: ["with_sign", "inf", "is_nan"],
    text: `fn asin_half(z: F, s: F) -> F {
  return ((((z * 4.2163199048e-2 + 2.4181311049e-2) * z + 4.5470025998e-2) * z + 7.4953002686e-2) * z + 1.6666752422e-1) * z * s + s;
}
fn asin_(x: F) -> F {
  let a = abs(x);
  let far = a > F(0.5);
  let z = select(a * a, (1.0 - a) * 0.5, far);
  let s = select(a, sqrt(max(z, F(0.0))), far);
  let p = asin_half(z, s);
  let y = with_sign(select(p, 1.5707963267948966 - 2.0 * p, far), x);
  return select(select(y, nan(), a > F(1.0)), x, is_nan(x));
}`,
  },
  acos_: {
    needs: ["asin_"],
    text: `fn acos_(x: F) -> F {
  let a = abs(x);
  let z = max((1.0 - a) * 0.5, F(0.0));
  let p = 2.0 * asin_half(z, sqrt(z));
  let far = select(p, 3.141592653589793 - p, x < F(0.0));
  let y = select(1.5707963267948966 - asin_(x), far, a > F(0.5));
  return select(select(y, nan(), a > F(1.0)), x, is_nan(x));
}`,
  },
  sinh_: {
    needs: ["exp_", "with_sign"],
    text: `fn sinh_(x: F) -> F {
  let z = x * x;
  let near = ((z * 2.03721912945e-4 + 8.33028376239e-3) * z + 1.66667160211e-1) * z * x + x;
  let e = exp_(abs(x) * 0.5);
  let far = with_sign(0.5 * e * e - 0.5 / (e * e), x);
  return select(far, near, abs(x) < F(1.0));
}`,
  },
  cosh_: {
    needs: ["exp_"],
    text: `fn cosh_(x: F) -> F { let e = exp_(abs(x) * 0.5); return 0.5 * e * e + 0.5 / (e * e); }`,
  },
  tanh_: {
    needs: ["exp_", "with_sign", "is_nan"],
    text: `fn tanh_(x: F) -> F {
  let z = x * x;
  let near = ((((z * -5.70498872745e-3 + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z - 3.33332819422e-1) * z * x + x;
  let a = min(abs(x), F(12.0));
  let far = with_sign(1.0 - 2.0 / (exp_(2.0 * a) + 1.0), x);
  return select(select(far, near, abs(x) < F(0.625)), x, is_nan(x));
}`,
  },
  sigmoid_: {
    needs: ["exp_"],
    text: `fn sigmoid_(x: F) -> F { let e = exp_(-abs(x)); return select(F(1.0), e, x < F(0.0)) / (e + 1.0); }`,
  },
  erf_: {
    // Polynomials of Moshier's Cephes library, ndtrf.c.
    needs: ["exp_", "with_sign", "is_nan"],
    text: `fn erf_(x: F) -> F {
  let z = x * x;
  var n = F(7.853861353153693e-5);
  n = n * z - 8.010193625184903e-4;
  n = n * z + 5.188327685732524e-3;
  n = n * z - 2.685381193529856e-2;
  n = n * z + 1.128358514861418e-1;
  n = n * z - 3.761262582423300e-1;
  n = n * z + 1.128379165726710;
  let a = clamp(abs(x), F(1.0), F(5.0));
  let q = 1.0 / a;
  let y = q * q;
  var p = F(2.326819970068386e-2);
  p = p * y - 1.387039388740657e-1;
  p = p * y + 3.687424674597105e-1;
  p = p * y - 5.824733027278666e-1;
  p = p * y + 6.210004621745983e-1;
  p = p * y - 4.944515323274145e-1;
  p = p * y + 3.404879937665872e-1;
  p = p * y - 2.741127028184656e-1;
  p = p * y + 5.638259427386472e-1;
  var r = F(-1.047766399936249e1);
  r = r * y + 1.297719955372516e1;
  r = r * y - 7.495518717768503;
  r = r * y + 2.921019019210786;
  r = r * y - 1.015265279202700;
  r = r * y + 4.218463358204948e-1;
  r = r * y - 2.820767439740514e-1;
  r = r * y + 5.641895067754075e-1;
  let tail = exp_(-a * a) * q * select(r, p, a < F(2.0));
  let far = with_sign(1.0 - tail, x);
  return select(select(far, n * x, abs(x) < F(1.0)), x, is_nan(x));
}`,
  },
  erfinv_: {
    // Giles 2010, "Approximating the erfinv function", the single-precision polynomials.
    needs: ["log_", "inf", "is_nan"],
    text: `fn erfinv_(x: F) -> F {
  let w = -log_((1.0 - x) * (x + 1.0));
  let u = w - 2.5;
  var p = F(2.81022636e-8);
  p = p * u + 3.43273939e-7;
  p = p * u - 3.5233877e-6;
  p = p * u - 4.39150654e-6;
  p = p * u + 2.1858087e-4;
  p = p * u - 1.25372503e-3;
  p = p * u - 4.17768164e-3;
  p = p * u + 2.46640727e-1;
  p = p * u + 1.50140941;
  let v = sqrt(max(w, F(5.0))) - 3.0;
  var q = F(-2.00214257e-4);
  q = q * v + 1.00950558e-4;
  q = q * v + 1.34934322e-3;
  q = q * v - 3.67342844e-3;
  q = q * v + 5.73950773e-3;
  q = q * v - 7.6224613e-3;
  q = q * v + 9.43887047e-3;
  q = q * v + 1.00167406;
  q = q * v + 2.83297682;
  var r = select(q, p, w < F(5.0)) * x;
  r = select(r, x * inf(), abs(x) == F(1.0));
  return select(select(r, nan(), abs(x) > F(1.0)), x, is_nan(x));
}`,
  },
  pow_: {
    needs: ["exp_", "log_", "inf", "is_inf", "is_nan"],
    text: `fn pow_(a: F, b: F) -> F {
  let m = abs(a);
  var y = exp_(b * log_(m));
  y = select(y, select(inf(), F(0.0), b > F(0.0)), m == F(0.0));
  let whole = trunc(b) == b;
  let odd = whole & (abs(b) < F(16777216.0)) & (fract(b * 0.5) != F(0.0));
  y = select(y, -y, (a < F(0.0)) & odd);
  y = select(y, nan(), (a < F(0.0)) & !whole & !is_inf(a));
  y = select(y, a + b, is_nan(a) | is_nan(b));
  return select(y, F(1.0), (a == F(1.0)) | (b == F(0.0)));
}`,
  },
  max_: {
    needs: ["is_nan"],
    text: `fn max_(a: F, b: F) -> F { return select(select(max(a, b), b, is_nan(b)), a, is_nan(a)); }`,
  },
  min_: {
    needs: ["is_nan"],
    text: `fn min_(a: F, b: F) -> F { return select(select(min(a, b), b, is_nan(b)), a, is_nan(a)); }`,
  },
  // The same on one number where the registers hold four.
  exp_one: {
    text: `fn exp_one(x: f32) -> f32 {
  let v = clamp(x, -104.0, 89.0);
  let k = round(v * 1.4426950408889634);
  let r = (v - k * 0.693359375) + k * 2.12194440e-4;
  let p = ((((r * 1.9875691500e-4 + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r + 1.6666665459e-1) * r + 5.0000001201e-1;
  let n = i32(k);
  let h = n >> 1u;
  let y = (p * r * r + r + 1.0) * bitcast<f32>((h + 127) << 23u) * bitcast<f32>((n - h + 127) << 23u);
  return select(y, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}`,
  },
  max_one: {
    text: `fn max_one(a: f32, b: f32) -> f32 {
  if ((bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u) { return a; }
  if ((bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u) { return b; }
  return max(a, b);
}`,
  },
  min_one: {
    text: `fn min_one(a: f32, b: f32) -> f32 {
  if ((bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u) { return a; }
  if ((bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u) { return b; }
  return min(a, b);
}`,
  },
  remainder_: {
    text: `fn remainder_(a: F, b: F) -> F {
  let r = a % b;
  return select(r, r + b, (r != F(0.0)) & ((r < F(0.0)) != (b < F(0.0))));
}`,
  },
  remainder_i: {
    text: `fn remainder_i(a: I, b: I) -> I {
  let d = select(b, I(1), b == I(0));
  let r = a % d;
  let s = select(r, r + d, (r != I(0)) & ((r < I(0)) != (d < I(0))));
  return select(s, I(0), b == I(0));
}`,
  },
  remainder_u: {
    text: `fn remainder_u(a: U, b: U) -> U { return select(a % max(b, U(1u)), U(0u), b == U(0u)); }`,
  },
  div_i: {
    text: `fn div_i(a: I, b: I) -> I { return select(a / select(b, I(1), b == I(0)), I(0), b == I(0)); }`,
  },
  div_u: { text: `fn div_u(a: U, b: U) -> U { return select(a / max(b, U(1u)), U(0u), b == U(0u)); }` },
  sign_: { needs: ["is_nan"], text: `fn sign_(x: F) -> F { return select(sign(x), x, is_nan(x)); }` },
  f_to_i: {
    needs: ["is_nan"],
    text: `fn f_to_i(x: F) -> I {
  let v = I(clamp(x, F(-2147483648.0), F(2147483520.0)));
  return select(select(v, I(2147483647), x >= F(2147483648.0)), I(0), is_nan(x));
}`,
  },
  f_to_u: {
    needs: ["is_nan"],
    text: `fn f_to_u(x: F) -> U {
  let v = U(clamp(x, F(0.0), F(4294967040.0)));
  return select(select(v, U(4294967295u), x >= F(4294967296.0)), U(0u), is_nan(x));
}`,
  },
  wrap8i: { text: `fn wrap8i(x: I) -> I { return (x << U(24u)) >> U(24u); }` },
  to_half: {
    // To nearest even. Below the normal range adding ½ rounds at the right place by itself.
    text: `fn to_half(x: F) -> U {
  let bits = bitcast<U>(x);
  let a = bits & U(0x7fffffffu);
  let normal = (a - U(0x38000000u) + U(0xfffu) + ((a >> U(13u)) & U(1u))) >> U(13u);
  let small = bitcast<U>(bitcast<F>(a) + 0.5) - U(0x3f000000u);
  var h = select(normal, small, a < U(0x38800000u));
  h = select(h, U(0x7c00u), a >= U(0x477ff000u));
  h = select(h, U(0x7e00u), a > U(0x7f800000u));
  return h | ((bits >> U(16u)) & U(0x8000u));
}`,
  },
  from_half: {
    text: `fn from_half(h: U) -> F {
  let m = h & U(0x3ffu);
  let e = h & U(0x7c00u);
  var bits = (e + U(0x1c000u) + m) << U(13u);
  bits = select(bits, U(0x7f800000u) | (m << U(13u)), e == U(0x7c00u));
  bits = select(bits, bitcast<U>(F(m) * 5.9604644775390625e-8), e == U(0u));
  return bitcast<F>(bits | ((h & U(0x8000u)) << U(16u)));
}`,
  },
  round_f16: {
    needs: ["to_half", "from_half"],
    text: `fn round_f16(x: F) -> F { return from_half(to_half(x)); }`,
  },
  to_bf16: {
    text: `fn to_bf16(x: F) -> U {
  let bits = bitcast<U>(x);
  let r = (bits + U(0x7fffu) + ((bits >> U(16u)) & U(1u))) >> U(16u);
  return select(r, (bits >> U(16u)) | U(0x40u), (bits & U(0x7fffffffu)) > U(0x7f800000u));
}`,
  },
  round_bf16: {
    needs: ["to_bf16"],
    text: `fn round_bf16(x: F) -> F { return bitcast<F>(to_bf16(x) << U(16u)); }`,
  },
  threefry: { text: threefryText() },
};

/** The texts of the functions named and of those that they need, each once, in an order in which they may stand. */
export function mathText(names: Iterable<string>): string {
  const done = new Set<string>();
  const texts: string[] = [];
  const add = (name: string): void => {
    if (done.has(name)) return;
    done.add(name);
    const f = FUNCTIONS[name];
    if (!f) throw new Error(`lowrank bug: no WGSL function ${name}`);
    for (const need of f.needs ?? []) add(need);
    texts.push(f.text);
  };
  for (const name of [...names].sort()) add(name);
  return texts.join("\n");
}
