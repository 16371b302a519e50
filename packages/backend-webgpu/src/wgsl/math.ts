/**
 * Functions that WGSL lacks, or leaves too much freedom: its `sin` may be off by 2⁻¹¹, its `tanh` may overflow, NaN and
 * infinities may be assumed away. Each is written once over the aliases F, I, U and B, which a shader sets to one number
 * or to four. Specials are tested by their bits. Constants have the digits that tell their f32 from every other.
 */

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

/** The polynomial of `x` with these coefficients, the highest power first. */
const horner = (x: string, [first, ...rest]: readonly number[]): string =>
  rest.reduce((sum, c) => `(${sum} * ${x} + ${c})`, `${first}`);

/** Each text begins with the function that it is named by. */
const functionTexts = (): readonly string[] => [
  // A constant expression must be finite; a private variable is no constant.
  `fn inf() -> F { return F(bitcast<f32>(infinity)); }
var<private> infinity: u32 = 0x7f800000u;`,
  `fn nan() -> F { return F(bitcast<f32>(not_a_number)); }
var<private> not_a_number: u32 = 0x7fc00000u;`,
  `fn is_nan(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u); }`,
  `fn is_inf(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) == U(0x7f800000u); }`,
  // The shift of a softmax from its maximum or lse: rows that see nothing have none.
  `fn shift_of(x: f32) -> f32 { return select(x, 0.0, bitcast<u32>(x) == 0xff800000u); }`,
  // The sign bit of s put on x ≥ 0.
  `fn with_sign(x: F, s: F) -> F { return bitcast<F>(bitcast<U>(x) | (bitcast<U>(s) & U(0x80000000u))); }`,
  `fn pow2(k: I) -> F { return bitcast<F>((k + I(127)) << U(23u)); }`,
  // k = round(x / ln 2), e^x = 2^k e^r; the power in two halves, so that neither leaves the range.
  `fn exp_(x: F) -> F {
  let v = clamp(x, F(-104.0), F(89.0));
  let k = round(v * 1.442695);
  let r = (v - k * 0.693359375) + k * 0.00021219444;
  let p = ${horner("r", [0.00019875691, 0.0013981999, 0.008333452, 0.041665796, 0.16666666, 0.5])} * r * r + r + 1.0;
  let n = I(k);
  let h = n >> U(1u);
  return select(p * pow2(h) * pow2(n - h), x, is_nan(x));
}`,
  `fn expm1_(x: F) -> F {
  let p = ${horner("x", [1 / 40320, 1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5])};
  return select(exp_(x) - 1.0, p * x * x + x, abs(x) < F(0.35));
}`,
  // x = 2^k m with m in [√½, √2); log m through s = f / (2 + f), f = m − 1 (the form of fdlibm).
  `fn log_(x: F) -> F {
  let small = x < F(1.1754944e-38);
  let v = select(x, x * 8388608.0, small);
  let bits = bitcast<U>(v) + U(0x004afb0du);
  let k = F(I(bits >> U(23u)) - I(127)) - select(F(0.0), F(23.0), small);
  let f = bitcast<F>((bits & U(0x007fffffu)) + U(0x3f3504f3u)) - 1.0;
  let s = f / (f + 2.0);
  let z = s * s;
  let w = z * z;
  let t = w * (w * 0.24279079 + 0.40000972) + z * (w * 0.28498787 + 0.6666666);
  let h = f * f * 0.5;
  let y = k * 0.6931381 - ((h - (s * (h + t) + k * 9.058001e-6)) - f);
  var r = select(y, x, x == inf());
  r = select(r, -inf(), x == F(0.0));
  r = select(r, nan(), x < F(0.0));
  return select(r, x, is_nan(x));
}`,
  `fn log1p_(x: F) -> F {
  let s = x / (x + 2.0);
  let z = s * s;
  let p = ${horner("z", [2 / 11, 2 / 9, 2 / 7, 0.4, 2 / 3])};
  return select(log_(x + 1.0), s * (p * z + 2.0), abs(x) < F(0.4));
}`,
  // x − k π/2 with π/2 in four parts, of which three times k are exact up to k = 2¹⁶.
  `fn quadrant(x: F) -> Quadrant {
  let k = round(clamp(x, F(-1.0e9), F(1.0e9)) * 0.63661975);
  var r = x - k * 1.5703125;
  r = r - k * 0.0004825592;
  r = r - k * 1.2665987e-6;
  r = r - k * 9.920936e-10;
  return Quadrant(r, I(k));
}
struct Quadrant { r: F, k: I }
fn sin_poly(r: F) -> F {
  let z = r * r;
  return ${horner("z", [-0.00019515296, 0.008332161, -0.16666655])} * z * r + r;
}
fn cos_poly(r: F) -> F {
  let z = r * r;
  return ${horner("z", [2.4433157e-5, -0.0013887316, 0.041666646])} * z * z - z * 0.5 + 1.0;
}
fn turned(q: Quadrant, k: I) -> F {
  let y = select(sin_poly(q.r), cos_poly(q.r), (k & I(1)) == I(1));
  return select(y, -y, (k & I(2)) == I(2));
}`,
  `fn sin_(x: F) -> F { let q = quadrant(x); return select(turned(q, q.k), nan(), is_inf(x)); }`,
  `fn cos_(x: F) -> F { let q = quadrant(x); return select(turned(q, q.k + I(1)), nan(), is_inf(x)); }`,
  `fn tan_(x: F) -> F { return sin_(x) / cos_(x); }`,
  `fn atan_(x: F) -> F {
  let a = abs(x);
  let far = a > F(2.4142137);
  let near = a > F(0.41421357);
  let t = select(select(a, (a - 1.0) / (a + 1.0), near), -1.0 / a, far);
  let base = select(select(F(0.0), F(0.7853982), near), F(1.5707964), far);
  let z = t * t;
  let y = base + (${horner("z", [0.080537446, -0.13877685, 0.19977711, -0.3333295])} * z * t + t);
  return select(with_sign(y, x), x, is_nan(x));
}`,
  `fn atan2_(y: F, x: F) -> F {
  let u = abs(y);
  let v = abs(x);
  let low = min(u, v);
  let high = max(u, v);
  let both = is_inf(low);
  let q = select(select(low / high, F(0.0), high == F(0.0)), F(1.0), both);
  var t = atan_(q);
  t = select(t, 1.5707964 - t, u > v);
  t = select(t, 3.1415927 - t, (bitcast<U>(x) >> U(31u)) == U(1u));
  return select(with_sign(t, y), x + y, is_nan(x) | is_nan(y));
}`,
  `fn asin_half(z: F, s: F) -> F {
  return ${horner("z", [0.0421632, 0.024181312, 0.045470025, 0.074953005, 0.16666752])} * z * s + s;
}`,
  `fn asin_(x: F) -> F {
  let a = abs(x);
  let far = a > F(0.5);
  let z = select(a * a, (1.0 - a) * 0.5, far);
  let s = select(a, sqrt(max(z, F(0.0))), far);
  let p = asin_half(z, s);
  let y = with_sign(select(p, 1.5707964 - 2.0 * p, far), x);
  return select(select(y, nan(), a > F(1.0)), x, is_nan(x));
}`,
  `fn acos_(x: F) -> F {
  let a = abs(x);
  let z = max((1.0 - a) * 0.5, F(0.0));
  let p = 2.0 * asin_half(z, sqrt(z));
  let far = select(p, 3.1415927 - p, x < F(0.0));
  let y = select(1.5707964 - asin_(x), far, a > F(0.5));
  return select(select(y, nan(), a > F(1.0)), x, is_nan(x));
}`,
  `fn sinh_(x: F) -> F {
  let z = x * x;
  let near = ${horner("z", [0.00020372191, 0.008330284, 0.16666716])} * z * x + x;
  let e = exp_(abs(x) * 0.5);
  let far = with_sign(0.5 * e * e - 0.5 / (e * e), x);
  return select(far, near, abs(x) < F(1.0));
}`,
  `fn cosh_(x: F) -> F { let e = exp_(abs(x) * 0.5); return 0.5 * e * e + 0.5 / (e * e); }`,
  `fn tanh_(x: F) -> F {
  let z = x * x;
  let near = ${horner("z", [-0.0057049887, 0.020639088, -0.053739715, 0.13331442, -0.3333328])} * z * x + x;
  let a = min(abs(x), F(12.0));
  let far = with_sign(1.0 - 2.0 / (exp_(2.0 * a) + 1.0), x);
  return select(select(far, near, abs(x) < F(0.625)), x, is_nan(x));
}`,
  `fn sigmoid_(x: F) -> F { let e = exp_(-abs(x)); return select(F(1.0), e, x < F(0.0)) / (e + 1.0); }`,
  // Polynomials of Moshier's Cephes library, ndtrf.c.
  `fn erf_(x: F) -> F {
  let z = x * x;
  let n = ${horner("z", [7.8538615e-5, -0.00080101937, 0.0051883277, -0.026853813, 0.112835854, -0.37612626, 1.1283791])};
  let a = clamp(abs(x), F(1.0), F(5.0));
  let q = 1.0 / a;
  let y = q * q;
  let p = ${horner("y", [0.0232682, -0.13870394, 0.36874247, -0.5824733, 0.62100047, -0.49445152, 0.340488, -0.2741127, 0.56382596])};
  let r = ${horner("y", [-10.477664, 12.9772, -7.4955187, 2.921019, -1.0152652, 0.42184633, -0.28207675, 0.5641895])};
  let tail = exp_(-a * a) * q * select(r, p, a < F(2.0));
  let far = with_sign(1.0 - tail, x);
  return select(select(far, n * x, abs(x) < F(1.0)), x, is_nan(x));
}`,
  // Giles 2010, "Approximating the erfinv function", the single-precision polynomials.
  `fn erfinv_(x: F) -> F {
  let w = -log_((1.0 - x) * (x + 1.0));
  let u = w - 2.5;
  let p = ${horner("u", [2.8102264e-8, 3.4327394e-7, -3.5233877e-6, -4.3915065e-6, 0.00021858087, -0.001253725, -0.0041776816, 0.24664073, 1.5014094])};
  let v = sqrt(max(w, F(5.0))) - 3.0;
  let q = ${horner("v", [-0.00020021426, 0.00010095056, 0.0013493432, -0.0036734284, 0.0057395077, -0.0076224613, 0.0094388705, 1.001674, 2.8329768])};
  var r = select(q, p, w < F(5.0)) * x;
  r = select(r, x * inf(), abs(x) == F(1.0));
  return select(select(r, nan(), abs(x) > F(1.0)), x, is_nan(x));
}`,
  `fn pow_(a: F, b: F) -> F {
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
  `fn maximum_(a: F, b: F) -> F { return select(select(max(a, b), b, is_nan(b)), a, is_nan(a)); }`,
  `fn minimum_(a: F, b: F) -> F { return select(select(min(a, b), b, is_nan(b)), a, is_nan(a)); }`,
  `fn remainder_(a: F, b: F) -> F {
  let r = a % b;
  return select(r, r + b, (r != F(0.0)) & ((r < F(0.0)) != (b < F(0.0))));
}`,
  `fn remainder_i(a: I, b: I) -> I {
  let d = select(b, I(1), b == I(0));
  let r = a % d;
  let s = select(r, r + d, (r != I(0)) & ((r < I(0)) != (d < I(0))));
  return select(s, I(0), b == I(0));
}`,
  `fn remainder_u(a: U, b: U) -> U { return select(a % max(b, U(1u)), U(0u), b == U(0u)); }`,
  `fn div_i(a: I, b: I) -> I { return select(a / select(b, I(1), b == I(0)), I(0), b == I(0)); }`,
  `fn div_u(a: U, b: U) -> U { return select(a / max(b, U(1u)), U(0u), b == U(0u)); }`,
  `fn sign_(x: F) -> F { return select(sign(x), x, is_nan(x)); }`,
  `fn f_to_i(x: F) -> I {
  let v = I(clamp(x, F(-2147483648.0), F(2147483520.0)));
  return select(select(v, I(2147483647), x >= F(2147483648.0)), I(0), is_nan(x));
}`,
  `fn f_to_u(x: F) -> U {
  let v = U(clamp(x, F(0.0), F(4294967040.0)));
  return select(select(v, U(4294967295u), x >= F(4294967296.0)), U(0u), is_nan(x));
}`,
  `fn wrap8i(x: I) -> I { return (x << U(24u)) >> U(24u); }`,
  // To nearest even. Below the normal range adding ½ rounds at the right place by itself.
  `fn to_f16(x: F) -> U {
  let bits = bitcast<U>(x);
  let a = bits & U(0x7fffffffu);
  let normal = (a - U(0x38000000u) + U(0xfffu) + ((a >> U(13u)) & U(1u))) >> U(13u);
  let small = bitcast<U>(bitcast<F>(a) + 0.5) - U(0x3f000000u);
  var h = select(normal, small, a < U(0x38800000u));
  h = select(h, U(0x7c00u), a >= U(0x477ff000u));
  h = select(h, U(0x7e00u), a > U(0x7f800000u));
  return h | ((bits >> U(16u)) & U(0x8000u));
}`,
  `fn from_f16(h: U) -> F {
  let m = h & U(0x3ffu);
  let e = h & U(0x7c00u);
  var bits = (e + U(0x1c000u) + m) << U(13u);
  bits = select(bits, U(0x7f800000u) | (m << U(13u)), e == U(0x7c00u));
  bits = select(bits, bitcast<U>(F(m) * 5.9604645e-8), e == U(0u));
  return bitcast<F>(bits | ((h & U(0x8000u)) << U(16u)));
}`,
  `fn round_f16(x: F) -> F { return from_f16(to_f16(x)); }`,
  `fn to_bf16(x: F) -> U {
  let bits = bitcast<U>(x);
  let r = (bits + U(0x7fffu) + ((bits >> U(16u)) & U(1u))) >> U(16u);
  return select(r, (bits >> U(16u)) | U(0x40u), (bits & U(0x7fffffffu)) > U(0x7f800000u));
}`,
  `fn round_bf16(x: F) -> F { return bitcast<F>(to_bf16(x) << U(16u)); }`,
  // Both halves of the two words that begin at element i.
  `fn load_f16(v: vec4<u32>, i: u32) -> vec4<f32> {
  let w = select(v.xy, v.zw, (i & 4u) != 0u);
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}`,
  `fn load_bf16(v: vec4<u32>, i: u32) -> vec4<f32> {
  let w = select(v.xy, v.zw, (i & 4u) != 0u);
  return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));
}`,
  threefryText(),
];

const FUNCTIONS = /* @__PURE__ */ functionTexts();

/** The text of a function; undefined if there is none of this name. */
export const functionText = (name: string): string | undefined =>
  FUNCTIONS.find((text) => text.startsWith(`fn ${name}(`));

/** The texts of the functions that `code` calls, and of those that they call, each once. */
export function functionsOf(code: string): string {
  const texts = new Set<string>();
  const add = (calls: string): void => {
    for (const [, name] of calls.matchAll(/(\w+)\(/g)) {
      const text = functionText(name!);
      if (!text || texts.has(text)) continue;
      texts.add(text);
      add(text);
    }
  };
  add(code);
  return [...texts].join("\n");
}
