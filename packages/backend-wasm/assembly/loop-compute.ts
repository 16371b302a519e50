// One instruction over one block: the switch from opcodes to loops.
import * as C from "./loop-convert";
import * as L from "./loop-doubles";
import * as F from "./loop-f32";
import * as D from "./loop-f64";
import * as I from "./loop-int";
import { threefry } from "./loop-threefry";
import * as V from "./loop-vectors";
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
  const wideEnd = d + (<usize>count << 3);
  switch (op) {
    case LoopOp.AddF:
      return V.binary<F.AddF>(d, a, sa, b, sb, end);
    case LoopOp.SubF:
      return V.binary<F.SubF>(d, a, sa, b, sb, end);
    case LoopOp.MulF:
      return V.binary<F.MulF>(d, a, sa, b, sb, end);
    case LoopOp.DivF:
      return V.binary<F.DivF>(d, a, sa, b, sb, end);
    case LoopOp.MaxF:
      return V.binary<F.MaxF>(d, a, sa, b, sb, end);
    case LoopOp.MinF:
      return V.binary<F.MinF>(d, a, sa, b, sb, end);
    case LoopOp.EqF:
      return V.binary<F.EqF>(d, a, sa, b, sb, end);
    case LoopOp.NeF:
      return V.binary<F.NeF>(d, a, sa, b, sb, end);
    case LoopOp.LtF:
      return V.binary<F.LtF>(d, a, sa, b, sb, end);
    case LoopOp.LeF:
      return V.binary<F.LeF>(d, a, sa, b, sb, end);
    case LoopOp.PowF:
      return V.longBinary<F.PowF>(d, a, sa, b, sb, end);
    case LoopOp.RemF:
      return V.longBinary<F.RemF>(d, a, sa, b, sb, end);
    case LoopOp.Atan2F:
      return V.longBinary<F.Atan2F>(d, a, sa, b, sb, end);
    case LoopOp.MaddF:
      return V.ternary<F.MaddF>(d, a, sa, b, sb, c, sc, end);
    case LoopOp.NegF:
      return V.unary<F.NegF>(d, a, sa, end);
    case LoopOp.AbsF:
      return V.unary<F.AbsF>(d, a, sa, end);
    case LoopOp.SignF:
      return V.unary<F.SignF>(d, a, sa, end);
    case LoopOp.FloorF:
      return V.unary<F.FloorF>(d, a, sa, end);
    case LoopOp.CeilF:
      return V.unary<F.CeilF>(d, a, sa, end);
    case LoopOp.TruncF:
      return V.unary<F.TruncF>(d, a, sa, end);
    case LoopOp.RoundF:
      return V.unary<F.RoundF>(d, a, sa, end);
    case LoopOp.SqrtF:
      return V.unary<F.SqrtF>(d, a, sa, end);
    case LoopOp.RsqrtF:
      return V.unary<F.RsqrtF>(d, a, sa, end);
    case LoopOp.RecipF:
      return V.unary<F.RecipF>(d, a, sa, end);
    case LoopOp.RoundF16:
      return V.unary<C.RoundF16>(d, a, sa, end);
    case LoopOp.RoundBf16:
      return V.unary<C.RoundBf16>(d, a, sa, end);
    case LoopOp.FtoI:
      return V.unary<C.FtoI>(d, a, sa, end);
    case LoopOp.FtoU:
      return V.unary<C.FtoU>(d, a, sa, end);
    case LoopOp.ItoF:
      return V.unary<C.ItoF>(d, a, sa, end);
    case LoopOp.UtoF:
      return V.unary<C.UtoF>(d, a, sa, end);
    case LoopOp.BtoF:
      return V.unary<C.BtoF>(d, a, sa, end);
    case LoopOp.ExpF:
      return V.long<F.ExpF>(d, a, sa, end);
    case LoopOp.Expm1F:
      return V.long<F.Expm1F>(d, a, sa, end);
    case LoopOp.LogF:
      return V.long<F.LogF>(d, a, sa, end);
    case LoopOp.Log1pF:
      return V.long<F.Log1pF>(d, a, sa, end);
    case LoopOp.SinF:
      return V.long<F.SinF>(d, a, sa, end);
    case LoopOp.CosF:
      return V.long<F.CosF>(d, a, sa, end);
    case LoopOp.TanF:
      return V.long<F.TanF>(d, a, sa, end);
    case LoopOp.TanhF:
      return V.long<F.TanhF>(d, a, sa, end);
    case LoopOp.SigmoidF:
      return V.long<F.SigmoidF>(d, a, sa, end);
    case LoopOp.ErfF:
      return V.long<F.ErfF>(d, a, sa, end);
    case LoopOp.ErfinvF:
      return V.long<F.ErfinvF>(d, a, sa, end);
    case LoopOp.AsinF:
      return V.long<F.AsinF>(d, a, sa, end);
    case LoopOp.AcosF:
      return V.long<F.AcosF>(d, a, sa, end);
    case LoopOp.AtanF:
      return V.long<F.AtanF>(d, a, sa, end);
    case LoopOp.SinhF:
      return V.long<F.SinhF>(d, a, sa, end);
    case LoopOp.CoshF:
      return V.long<F.CoshF>(d, a, sa, end);
    case LoopOp.AddI:
      return V.binary<I.AddI>(d, a, sa, b, sb, end);
    case LoopOp.SubI:
      return V.binary<I.SubI>(d, a, sa, b, sb, end);
    case LoopOp.MulI:
      return V.binary<I.MulI>(d, a, sa, b, sb, end);
    case LoopOp.MaxI:
      return V.binary<I.MaxI>(d, a, sa, b, sb, end);
    case LoopOp.MinI:
      return V.binary<I.MinI>(d, a, sa, b, sb, end);
    case LoopOp.MaxU:
      return V.binary<I.MaxU>(d, a, sa, b, sb, end);
    case LoopOp.MinU:
      return V.binary<I.MinU>(d, a, sa, b, sb, end);
    case LoopOp.EqI:
      return V.binary<I.EqI>(d, a, sa, b, sb, end);
    case LoopOp.NeI:
      return V.binary<I.NeI>(d, a, sa, b, sb, end);
    case LoopOp.LtI:
      return V.binary<I.LtI>(d, a, sa, b, sb, end);
    case LoopOp.LeI:
      return V.binary<I.LeI>(d, a, sa, b, sb, end);
    case LoopOp.LtU:
      return V.binary<I.LtU>(d, a, sa, b, sb, end);
    case LoopOp.LeU:
      return V.binary<I.LeU>(d, a, sa, b, sb, end);
    case LoopOp.And:
      return V.binary<I.And>(d, a, sa, b, sb, end);
    case LoopOp.Or:
      return V.binary<I.Or>(d, a, sa, b, sb, end);
    case LoopOp.Xor:
      return V.binary<I.Xor>(d, a, sa, b, sb, end);
    case LoopOp.NegI:
      return V.unary<I.NegI>(d, a, sa, end);
    case LoopOp.AbsI:
      return V.unary<I.AbsI>(d, a, sa, end);
    case LoopOp.SignI:
      return V.unary<I.SignI>(d, a, sa, end);
    case LoopOp.SignU:
      return V.unary<I.SignU>(d, a, sa, end);
    case LoopOp.Not:
      return V.unary<I.Not>(d, a, sa, end);
    case LoopOp.Wrap8I:
      return V.unary<I.Wrap8I>(d, a, sa, end);
    case LoopOp.Wrap8U:
      return V.unary<I.Wrap8U>(d, a, sa, end);
    case LoopOp.Clamp8I:
      return V.unary<I.Clamp8I>(d, a, sa, end);
    case LoopOp.Clamp8U:
      return V.unary<I.Clamp8U>(d, a, sa, end);
    case LoopOp.BtoI:
      return V.unary<I.BtoI>(d, a, sa, end);
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
      return V.ternary<C.Where>(d, a, sa, b, sb, c, sc, end);
    case LoopOp.Threefry:
      return threefry(d, a, sa, b, sb, c, sc, e, se, end);
    case LoopOp.FtoD:
      return L.widen<L.FtoD>(d, a, sa, wideEnd);
    case LoopOp.ItoD:
      return L.widen<L.ItoD>(d, a, sa, wideEnd);
    case LoopOp.UtoD:
      return L.widen<L.UtoD>(d, a, sa, wideEnd);
    case LoopOp.BtoD:
      return L.widen<L.BtoD>(d, a, sa, wideEnd);
    case LoopOp.DtoF:
      return L.demoteBlock(d, a, sa, end);
    case LoopOp.DtoI:
      return L.narrow<L.DtoI, i32>(d, a, sa, count);
    case LoopOp.DtoU:
      return L.narrow<L.DtoU, u32>(d, a, sa, count);
    case LoopOp.AddD:
      return V.binary<D.AddD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.SubD:
      return V.binary<D.SubD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.MulD:
      return V.binary<D.MulD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.DivD:
      return V.binary<D.DivD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.MaxD:
      return V.binary<D.MaxD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.MinD:
      return V.binary<D.MinD>(d, a, sa, b, sb, wideEnd);
    case LoopOp.PowD:
      return L.doublePairs<D.PowD>(d, a, sa, b, sb, count);
    case LoopOp.RemD:
      return L.doublePairs<D.RemD>(d, a, sa, b, sb, count);
    case LoopOp.Atan2D:
      return L.doublePairs<D.Atan2D>(d, a, sa, b, sb, count);
    case LoopOp.NegD:
      return V.unary<D.NegD>(d, a, sa, wideEnd);
    case LoopOp.AbsD:
      return V.unary<D.AbsD>(d, a, sa, wideEnd);
    case LoopOp.SignD:
      return L.doubles<D.SignD>(d, a, sa, count);
    case LoopOp.FloorD:
      return V.unary<D.FloorD>(d, a, sa, wideEnd);
    case LoopOp.CeilD:
      return V.unary<D.CeilD>(d, a, sa, wideEnd);
    case LoopOp.TruncD:
      return V.unary<D.TruncD>(d, a, sa, wideEnd);
    case LoopOp.RoundD:
      return V.unary<D.RoundD>(d, a, sa, wideEnd);
    case LoopOp.SqrtD:
      return V.unary<D.SqrtD>(d, a, sa, wideEnd);
    case LoopOp.RsqrtD:
      return V.unary<D.RsqrtD>(d, a, sa, wideEnd);
    case LoopOp.RecipD:
      return V.unary<D.RecipD>(d, a, sa, wideEnd);
    case LoopOp.ExpD:
      return L.doubles<D.ExpD>(d, a, sa, count);
    case LoopOp.Expm1D:
      return L.doubles<D.Expm1D>(d, a, sa, count);
    case LoopOp.LogD:
      return L.doubles<D.LogD>(d, a, sa, count);
    case LoopOp.Log1pD:
      return L.doubles<D.Log1pD>(d, a, sa, count);
    case LoopOp.SinD:
      return L.doubles<D.SinD>(d, a, sa, count);
    case LoopOp.CosD:
      return L.doubles<D.CosD>(d, a, sa, count);
    case LoopOp.TanD:
      return L.doubles<D.TanD>(d, a, sa, count);
    case LoopOp.AsinD:
      return L.doubles<D.AsinD>(d, a, sa, count);
    case LoopOp.AcosD:
      return L.doubles<D.AcosD>(d, a, sa, count);
    case LoopOp.AtanD:
      return L.doubles<D.AtanD>(d, a, sa, count);
    case LoopOp.SinhD:
      return L.doubles<D.SinhD>(d, a, sa, count);
    case LoopOp.CoshD:
      return L.doubles<D.CoshD>(d, a, sa, count);
    case LoopOp.TanhD:
      return L.doubles<D.TanhD>(d, a, sa, count);
    case LoopOp.SigmoidD:
      return L.doubles<D.SigmoidD>(d, a, sa, count);
    case LoopOp.ErfD:
      return L.doubles<D.ErfD>(d, a, sa, count);
    case LoopOp.ErfinvD:
      return L.doubles<D.ErfinvD>(d, a, sa, count);
    case LoopOp.EqD:
      return L.doubleMasks<D.EqD>(d, a, sa, b, sb, end);
    case LoopOp.NeD:
      return L.doubleMasks<D.NeD>(d, a, sa, b, sb, end);
    case LoopOp.LtD:
      return L.doubleMasks<D.LtD>(d, a, sa, b, sb, end);
    case LoopOp.LeD:
      return L.doubleMasks<D.LeD>(d, a, sa, b, sb, end);
    case LoopOp.WhereD:
      return L.doubleWhere(d, a, sa, b, sb, c, sc, wideEnd);
    default:
      unreachable();
  }
}
