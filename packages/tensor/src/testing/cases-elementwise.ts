import { DTYPES, type DType, isFloat } from "../dtype.js";
import type { OpDef } from "../op.js";
import * as activation from "../ops/activation.js";
import * as arithmetic from "../ops/arithmetic.js";
import * as logic from "../ops/logic.js";
import * as math from "../ops/math.js";
import { apply, type Tensor, type TensorLike } from "../tensor.js";
import type { Drawer, OpCase } from "./drawer.js";

/** How to draw cases of one op of the table. */
export interface OpEntry {
  readonly op: OpDef;
  /** The dtypes in which the op is tested. */
  readonly dtypes: readonly DType[];
  /** Whether its gradient is compared with differences. */
  readonly differentiable: boolean;
  draw(d: Drawer): OpCase;
}

export const FLOATS: readonly DType[] = ["f32", "f16", "bf16", "f64"];
export const NUMBERS: readonly DType[] = [...FLOATS, "i32", "u32", "i8", "u8"];
const INTEGERS: readonly DType[] = ["i32", "u32", "i8", "u8"];

export const entry = (
  op: OpDef,
  dtypes: readonly DType[],
  differentiable: boolean,
  draw: (d: Drawer) => OpCase,
): OpEntry => ({ op, dtypes, differentiable, draw });

function unary(op: OpDef, dtypes: readonly DType[] = FLOATS, grid = false): OpEntry {
  return entry(op, dtypes, dtypes !== INTEGERS, (d) => {
    const domain = isFloat(d.dtype) ? op.check?.domain : undefined;
    d.input(d.dims(), { domain, grid, specials: d.rng.chance(0.2) });
    return d.case(op.name, ([x]) => apply(op, [x!], null), op.check);
  });
}

/** Two operands that broadcast, or one and a number. */
function binary(
  op: OpDef,
  f: (a: TensorLike, b: TensorLike) => Tensor,
  dtypes: readonly DType[],
  { grid = false, differentiable = true, specials = true } = {},
): OpEntry {
  return entry(op, dtypes, differentiable, (d) => {
    const { rng } = d;
    const dims = d.dims();
    const domain = isFloat(d.dtype) ? op.check?.domain : undefined;
    const options = { domain, grid, specials: specials && rng.chance(0.15) };
    const turn = rng.chance(0.3);
    d.input(dims, options);
    if (rng.chance(0.2)) {
      const number = d.dtype === "bool" ? rng.int(0, 1) : rng.int(1, 3);
      const build = ([x]: readonly Tensor[]) => (turn ? f(number, x!) : f(x!, number));
      return d.case(`${op.name} (${turn ? `${number}, x` : `x, ${number}`})`, build, op.check);
    }
    d.input(d.narrower(dims), options);
    return d.case(op.name, ([a, b]) => (turn ? f(b!, a!) : f(a!, b!)), op.check);
  });
}

const comparison = (op: OpDef, f: (a: TensorLike, b: TensorLike) => Tensor): OpEntry =>
  binary(op, f, DTYPES, { grid: true, differentiable: false });

const bits = (op: OpDef, f: (a: TensorLike, b: TensorLike) => Tensor, dtypes: readonly DType[]): OpEntry =>
  binary(op, f, dtypes, { differentiable: false });

const where = entry(logic.whereOp, DTYPES, true, (d) => {
  const dims = d.dims();
  d.input(d.narrower(dims), { dtype: "bool" });
  d.input(dims, { specials: d.rng.chance(0.2) });
  if (d.rng.chance(0.3)) return d.case("where (c, x, 1)", ([c, x]) => logic.where(c!, x!, 1));
  d.input(d.narrower(dims));
  return d.case("where", ([c, a, b]) => logic.where(c!, a!, b!));
});

const cast = entry(logic.castOp, DTYPES, true, (d) => {
  const to = d.smooth ? d.dtype : d.rng.pick(DTYPES);
  // Beyond every integer's range, and NaN.
  const domain = d.rng.pick([undefined, [-300, 300], [-5e9, 5e9]] as const);
  const float = isFloat(d.dtype);
  d.input(d.dims(), { domain: float ? domain : undefined, grid: true, specials: d.rng.chance(0.2) });
  return d.case(`cast to ${to}`, ([x]) => apply(logic.castOp, [x!], { dtype: to }), {
    rtol: to === "f16" ? 1e-3 : to === "bf16" ? 8e-3 : 0,
    atol: to === "f16" ? 1e-7 : 0,
  });
});

const threefry = entry(logic.threefryOp, ["u32"], false, (d) => {
  const dims = d.dims();
  for (let i = 0; i < 4; i++) d.input(dims, { domain: [0, 2 ** 32 - 1] });
  return d.case("threefry", (inputs) => apply(logic.threefryOp, inputs, null));
});

/** Cases of the element-wise ops and activations. */
export const elementwiseCases = (): readonly OpEntry[] => [
  binary(arithmetic.addOp, arithmetic.add, NUMBERS),
  binary(arithmetic.subOp, arithmetic.sub, NUMBERS),
  binary(arithmetic.mulOp, arithmetic.mul, NUMBERS),
  binary(arithmetic.divOp, arithmetic.div, FLOATS),
  { ...binary(arithmetic.divOp, arithmetic.truncDivide, INTEGERS), differentiable: false },
  binary(arithmetic.powOp, arithmetic.pow, FLOATS, { specials: false }),
  binary(arithmetic.maximumOp, arithmetic.maximum, NUMBERS),
  binary(arithmetic.minimumOp, arithmetic.minimum, NUMBERS),
  binary(arithmetic.remainderOp, arithmetic.remainder, NUMBERS, { specials: false }),
  binary(arithmetic.atan2Op, arithmetic.atan2, FLOATS, { specials: false }),
  unary(arithmetic.negOp, NUMBERS),
  unary(math.absOp, NUMBERS),
  unary(math.signOp, NUMBERS),
  ...[math.floorOp, math.ceilOp, math.truncOp, math.roundOp].map((op) => unary(op, FLOATS, true)),
  ...[math.sqrtOp, math.rsqrtOp, math.reciprocalOp, math.expOp, math.expm1Op, math.logOp].map((op) =>
    unary(op),
  ),
  ...[math.log1pOp, math.sinOp, math.cosOp, math.tanOp, math.asinOp, math.acosOp].map((op) => unary(op)),
  ...[math.atanOp, math.sinhOp, math.coshOp, math.tanhOp, math.sigmoidOp].map((op) => unary(op)),
  ...[math.erfOp, math.erfinvOp].map((op) => unary(op)),
  ...[activation.reluOp, activation.geluOp, activation.geluTanhOp].map((op) => unary(op)),
  ...[activation.siluOp, activation.softplusOp].map((op) => unary(op)),
  comparison(logic.eqOp, logic.eq),
  comparison(logic.neOp, logic.ne),
  comparison(logic.ltOp, logic.lt),
  comparison(logic.leOp, logic.le),
  comparison(logic.gtOp, logic.gt),
  comparison(logic.geOp, logic.ge),
  ...(
    [
      [logic.andOp, logic.and],
      [logic.orOp, logic.or],
      [logic.xorOp, logic.xor],
    ] as const
  ).map(([op, f]) => bits(op, f, ["bool", ...INTEGERS])),
  { ...unary(logic.notOp, ["bool", ...INTEGERS]), differentiable: false },
  bits(logic.shiftLeftOp, logic.shiftLeft, INTEGERS),
  bits(logic.shiftRightOp, logic.shiftRight, INTEGERS),
  where,
  cast,
  threefry,
];
