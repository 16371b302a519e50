// One instruction over one block: the switch from opcodes to loops.
import * as F from "./loop-f32";
import * as I from "./loop-int";
import * as D from "./loop-f64";
import { LoopOp } from "./loop-ops";

/**
 * Runs `op` on `count` elements (a multiple of 8): d from up to four sources and their steps (16 bytes per four 32-bit or
 * two 64-bit elements, or 0).
 */
export function compute(
  op: i32,
  count: i32,
  d: usize,
  a: usize,
  sa: usize,
  b: usize,
  sb: usize,
  c: usize,
  sc: usize,
  e: usize,
  se: usize,
): void {
  const end = d + (<usize>count << 2);
  switch (op) {
    case LoopOp.AddF:
      return F.binary<F.AddF>(d, a, sa, b, sb, end);
    case LoopOp.SubF:
      return F.binary<F.SubF>(d, a, sa, b, sb, end);
    case LoopOp.MulF:
      return F.binary<F.MulF>(d, a, sa, b, sb, end);
    case LoopOp.DivF:
      return F.binary<F.DivF>(d, a, sa, b, sb, end);
    case LoopOp.MaxF:
      return F.binary<F.MaxF>(d, a, sa, b, sb, end);
    case LoopOp.MinF:
      return F.binary<F.MinF>(d, a, sa, b, sb, end);
    case LoopOp.EqF:
      return F.binary<F.EqF>(d, a, sa, b, sb, end);
    case LoopOp.NeF:
      return F.binary<F.NeF>(d, a, sa, b, sb, end);
    case LoopOp.LtF:
      return F.binary<F.LtF>(d, a, sa, b, sb, end);
    case LoopOp.LeF:
      return F.binary<F.LeF>(d, a, sa, b, sb, end);
    case LoopOp.PowF:
      return F.longBinary<F.PowF>(d, a, sa, b, sb, end);
    case LoopOp.RemF:
      return F.longBinary<F.RemF>(d, a, sa, b, sb, end);
    case LoopOp.Atan2F:
      return F.longBinary<F.Atan2F>(d, a, sa, b, sb, end);
    case LoopOp.MaddF:
      return F.ternary<F.MaddF>(d, a, sa, b, sb, c, sc, end);
    case LoopOp.NegF:
      return F.unary<F.NegF>(d, a, sa, end);
    case LoopOp.AbsF:
      return F.unary<F.AbsF>(d, a, sa, end);
    case LoopOp.SignF:
      return F.unary<F.SignF>(d, a, sa, end);
    case LoopOp.FloorF:
      return F.unary<F.FloorF>(d, a, sa, end);
    case LoopOp.CeilF:
      return F.unary<F.CeilF>(d, a, sa, end);
    case LoopOp.TruncF:
      return F.unary<F.TruncF>(d, a, sa, end);
    case LoopOp.RoundF:
      return F.unary<F.RoundF>(d, a, sa, end);
    case LoopOp.SqrtF:
      return F.unary<F.SqrtF>(d, a, sa, end);
    case LoopOp.RsqrtF:
      return F.unary<F.RsqrtF>(d, a, sa, end);
    case LoopOp.RecipF:
      return F.unary<F.RecipF>(d, a, sa, end);
    case LoopOp.RoundF16:
      return F.unary<F.RoundF16>(d, a, sa, end);
    case LoopOp.RoundBf16:
      return F.unary<F.RoundBf16>(d, a, sa, end);
    case LoopOp.FtoI:
      return F.unary<F.FtoI>(d, a, sa, end);
    case LoopOp.FtoU:
      return F.unary<F.FtoU>(d, a, sa, end);
    case LoopOp.ItoF:
      return F.unary<F.ItoF>(d, a, sa, end);
    case LoopOp.UtoF:
      return F.unary<F.UtoF>(d, a, sa, end);
    case LoopOp.BtoF:
      return F.unary<F.BtoF>(d, a, sa, end);
    case LoopOp.ExpF:
      return F.long<F.ExpF>(d, a, sa, end);
    case LoopOp.Expm1F:
      return F.long<F.Expm1F>(d, a, sa, end);
    case LoopOp.LogF:
      return F.long<F.LogF>(d, a, sa, end);
    case LoopOp.Log1pF:
      return F.long<F.Log1pF>(d, a, sa, end);
    case LoopOp.SinF:
      return F.long<F.SinF>(d, a, sa, end);
    case LoopOp.CosF:
      return F.long<F.CosF>(d, a, sa, end);
    case LoopOp.TanF:
      return F.long<F.TanF>(d, a, sa, end);
    case LoopOp.TanhF:
      return F.long<F.TanhF>(d, a, sa, end);
    case LoopOp.SigmoidF:
      return F.long<F.SigmoidF>(d, a, sa, end);
    case LoopOp.ErfF:
      return F.long<F.ErfF>(d, a, sa, end);
    case LoopOp.ErfinvF:
      return F.long<F.ErfinvF>(d, a, sa, end);
    case LoopOp.AsinF:
      return F.long<F.AsinF>(d, a, sa, end);
    case LoopOp.AcosF:
      return F.long<F.AcosF>(d, a, sa, end);
    case LoopOp.AtanF:
      return F.long<F.AtanF>(d, a, sa, end);
    case LoopOp.SinhF:
      return F.long<F.SinhF>(d, a, sa, end);
    case LoopOp.CoshF:
      return F.long<F.CoshF>(d, a, sa, end);
    case LoopOp.AddI:
      return F.binary<I.AddI>(d, a, sa, b, sb, end);
    case LoopOp.SubI:
      return F.binary<I.SubI>(d, a, sa, b, sb, end);
    case LoopOp.MulI:
      return F.binary<I.MulI>(d, a, sa, b, sb, end);
    case LoopOp.MaxI:
      return F.binary<I.MaxI>(d, a, sa, b, sb, end);
    case LoopOp.MinI:
      return F.binary<I.MinI>(d, a, sa, b, sb, end);
    case LoopOp.MaxU:
      return F.binary<I.MaxU>(d, a, sa, b, sb, end);
    case LoopOp.MinU:
      return F.binary<I.MinU>(d, a, sa, b, sb, end);
    case LoopOp.EqI:
      return F.binary<I.EqI>(d, a, sa, b, sb, end);
    case LoopOp.NeI:
      return F.binary<I.NeI>(d, a, sa, b, sb, end);
    case LoopOp.LtI:
      return F.binary<I.LtI>(d, a, sa, b, sb, end);
    case LoopOp.LeI:
      return F.binary<I.LeI>(d, a, sa, b, sb, end);
    case LoopOp.LtU:
      return F.binary<I.LtU>(d, a, sa, b, sb, end);
    case LoopOp.LeU:
      return F.binary<I.LeU>(d, a, sa, b, sb, end);
    case LoopOp.And:
      return F.binary<I.And>(d, a, sa, b, sb, end);
    case LoopOp.Or:
      return F.binary<I.Or>(d, a, sa, b, sb, end);
    case LoopOp.Xor:
      return F.binary<I.Xor>(d, a, sa, b, sb, end);
    case LoopOp.NegI:
      return F.unary<I.NegI>(d, a, sa, end);
    case LoopOp.AbsI:
      return F.unary<I.AbsI>(d, a, sa, end);
    case LoopOp.SignI:
      return F.unary<I.SignI>(d, a, sa, end);
    case LoopOp.SignU:
      return F.unary<I.SignU>(d, a, sa, end);
    case LoopOp.Not:
      return F.unary<I.Not>(d, a, sa, end);
    case LoopOp.Wrap8I:
      return F.unary<I.Wrap8I>(d, a, sa, end);
    case LoopOp.Wrap8U:
      return F.unary<I.Wrap8U>(d, a, sa, end);
    case LoopOp.Clamp8I:
      return F.unary<I.Clamp8I>(d, a, sa, end);
    case LoopOp.Clamp8U:
      return F.unary<I.Clamp8U>(d, a, sa, end);
    case LoopOp.BtoI:
      return F.unary<I.BtoI>(d, a, sa, end);
    case LoopOp.DivI:
      return I.integerLanes<I.DivI>(d, a, sa, b, sb, end);
    case LoopOp.DivU:
      return I.integerLanes<I.DivU>(d, a, sa, b, sb, end);
    case LoopOp.RemI:
      return I.integerLanes<I.RemI>(d, a, sa, b, sb, end);
    case LoopOp.RemU:
      return I.integerLanes<I.RemU>(d, a, sa, b, sb, end);
    case LoopOp.Shl:
      return I.shift<I.Shl>(0, d, a, sa, b, sb, end);
    case LoopOp.ShrI:
      return I.shift<I.ShrI>(1, d, a, sa, b, sb, end);
    case LoopOp.ShrU:
      return I.shift<I.ShrU>(2, d, a, sa, b, sb, end);
    case LoopOp.Where:
      return F.ternary<F.Where>(d, a, sa, b, sb, c, sc, end);
    case LoopOp.Threefry:
      return I.threefry(d, a, sa, b, sb, c, sc, e, se, end);
    case LoopOp.FtoD:
      return D.widen<D.FtoD, f32>(d, a, sa, count);
    case LoopOp.ItoD:
      return D.widen<D.ItoD, i32>(d, a, sa, count);
    case LoopOp.UtoD:
      return D.widen<D.UtoD, u32>(d, a, sa, count);
    case LoopOp.BtoD:
      return D.widen<D.BtoD, i32>(d, a, sa, count);
    case LoopOp.DtoF:
      return D.narrow<D.DtoF, f32>(d, a, sa, count);
    case LoopOp.DtoI:
      return D.narrow<D.DtoI, i32>(d, a, sa, count);
    case LoopOp.DtoU:
      return D.narrow<D.DtoU, u32>(d, a, sa, count);
    case LoopOp.AddD:
      return D.doublePairs<D.AddD>(d, a, sa, b, sb, count);
    case LoopOp.SubD:
      return D.doublePairs<D.SubD>(d, a, sa, b, sb, count);
    case LoopOp.MulD:
      return D.doublePairs<D.MulD>(d, a, sa, b, sb, count);
    case LoopOp.DivD:
      return D.doublePairs<D.DivD>(d, a, sa, b, sb, count);
    case LoopOp.MaxD:
      return D.doublePairs<D.MaxD>(d, a, sa, b, sb, count);
    case LoopOp.MinD:
      return D.doublePairs<D.MinD>(d, a, sa, b, sb, count);
    case LoopOp.PowD:
      return D.doublePairs<D.PowD>(d, a, sa, b, sb, count);
    case LoopOp.RemD:
      return D.doublePairs<D.RemD>(d, a, sa, b, sb, count);
    case LoopOp.Atan2D:
      return D.doublePairs<D.Atan2D>(d, a, sa, b, sb, count);
    case LoopOp.NegD:
      return D.doubles<D.NegD>(d, a, sa, count);
    case LoopOp.AbsD:
      return D.doubles<D.AbsD>(d, a, sa, count);
    case LoopOp.SignD:
      return D.doubles<D.SignD>(d, a, sa, count);
    case LoopOp.FloorD:
      return D.doubles<D.FloorD>(d, a, sa, count);
    case LoopOp.CeilD:
      return D.doubles<D.CeilD>(d, a, sa, count);
    case LoopOp.TruncD:
      return D.doubles<D.TruncD>(d, a, sa, count);
    case LoopOp.RoundD:
      return D.doubles<D.RoundD>(d, a, sa, count);
    case LoopOp.SqrtD:
      return D.doubles<D.SqrtD>(d, a, sa, count);
    case LoopOp.RsqrtD:
      return D.doubles<D.RsqrtD>(d, a, sa, count);
    case LoopOp.RecipD:
      return D.doubles<D.RecipD>(d, a, sa, count);
    case LoopOp.ExpD:
      return D.doubles<D.ExpD>(d, a, sa, count);
    case LoopOp.Expm1D:
      return D.doubles<D.Expm1D>(d, a, sa, count);
    case LoopOp.LogD:
      return D.doubles<D.LogD>(d, a, sa, count);
    case LoopOp.Log1pD:
      return D.doubles<D.Log1pD>(d, a, sa, count);
    case LoopOp.SinD:
      return D.doubles<D.SinD>(d, a, sa, count);
    case LoopOp.CosD:
      return D.doubles<D.CosD>(d, a, sa, count);
    case LoopOp.TanD:
      return D.doubles<D.TanD>(d, a, sa, count);
    case LoopOp.AsinD:
      return D.doubles<D.AsinD>(d, a, sa, count);
    case LoopOp.AcosD:
      return D.doubles<D.AcosD>(d, a, sa, count);
    case LoopOp.AtanD:
      return D.doubles<D.AtanD>(d, a, sa, count);
    case LoopOp.SinhD:
      return D.doubles<D.SinhD>(d, a, sa, count);
    case LoopOp.CoshD:
      return D.doubles<D.CoshD>(d, a, sa, count);
    case LoopOp.TanhD:
      return D.doubles<D.TanhD>(d, a, sa, count);
    case LoopOp.SigmoidD:
      return D.doubles<D.SigmoidD>(d, a, sa, count);
    case LoopOp.ErfD:
      return D.doubles<D.ErfD>(d, a, sa, count);
    case LoopOp.ErfinvD:
      return D.doubles<D.ErfinvD>(d, a, sa, count);
    case LoopOp.EqD:
      return D.doubleMasks<D.EqD>(d, a, sa, b, sb, count);
    case LoopOp.NeD:
      return D.doubleMasks<D.NeD>(d, a, sa, b, sb, count);
    case LoopOp.LtD:
      return D.doubleMasks<D.LtD>(d, a, sa, b, sb, count);
    case LoopOp.LeD:
      return D.doubleMasks<D.LeD>(d, a, sa, b, sb, count);
    case LoopOp.WhereD:
      return D.doubleWhere(d, a, sa, b, sb, c, sc, count);
    default:
      unreachable();
  }
}
