// Opcodes and argument words of the block interpreter. Plain TypeScript and plain AssemblyScript: the emitter imports it.

/** Runs a fused loop; see `ARG_*` for its arguments. */
export const LOOP_RUN = 32;
/** Joins the partial results of a loop's reductions, or writes the results of empty ones. */
export const LOOP_COMBINE = 33;

// Words of LOOP_RUN's arguments, as byte offsets.
/** Program: `ARG_PROGRAM_END - ARG_PROGRAM` bytes of instructions of `OP_BYTES`. */
export const ARG_PROGRAM = 0;
export const ARG_OPS = 4;
/** Table of (slot, address, dtype) for what is the same in the whole loop. */
export const ARG_CONSTS = 8;
export const ARG_CONST_COUNT = 12;
/** Table of (address, log2 of the bytes of an element). */
export const ARG_STORES = 16;
export const ARG_SLOTS = 20;
/** Bytes of a block register. */
export const ARG_SLOT_BYTES = 24;
/** Most elements of a block. */
export const ARG_BLOCK = 28;
export const ARG_MODE = 32;
/** Map: rows, and elements of a row; blocks do not cross rows. */
export const ARG_ROWS = 36;
export const ARG_ROW = 40;
/** Rows that are visited together, segment by segment, and the number of rows after which groups of them begin anew. */
export const ARG_GROUP = 44;
export const ARG_GROUP_RUN = 48;
/** Reductions: table of `REDUCTION_BYTES`, count, pieces of the reduced range, length of a piece. */
export const ARG_REDUCTIONS = 36;
export const ARG_REDUCTION_COUNT = 40;
export const ARG_PIECES = 44;
export const ARG_PIECE = 48;
/** Kept and reduced outer axes: tables of (size, step in elements), counts, products of sizes. */
export const ARG_KEPT = 52;
export const ARG_KEPT_COUNT = 56;
export const ARG_KEPT_SIZE = 60;
export const ARG_REDUCED = 64;
export const ARG_REDUCED_COUNT = 68;
export const ARG_REDUCED_SIZE = 72;
/** Sizes of the innermost reduced and (columns only) kept axis. */
export const ARG_INNER_REDUCED = 76;
export const ARG_INNER_KEPT = 80;
/** Columns: rows in a block. Rows: how many are visited together, and the number after which such groups begin anew. */
export const ARG_TOGETHER = 84;
export const ARG_RUN = 88;
/** Whether the rows that are visited together are those of the last kept axis, else of the last reduced one. */
export const ARG_GROUP_KEPT = 92;
/** Bytes of tiles. */
export const ARG_TILE_BYTES = 96;

export const MODE_MAP = 0;
/** The innermost axis is reduced. */
export const MODE_ROWS = 1;
/** The innermost axis is kept. */
export const MODE_COLUMNS = 2;

/** An instruction: opcode, destination, four sources (of a load: entry, tile), store + 1, flags; slots are byte offsets into the slot table. */
export const OP_BYTES = 32;
/** A slot of the table: address, step (16, or 0 if all elements are equal), address of its block, of its splat. */
export const SLOT_BYTES = 16;
/** Bytes of a splat. */
export const SPLAT_BYTES = 64;
/** The result must be there for every element. */
export const FLAG_FULL = 1;
/** A load must be copied. */
export const FLAG_COPY = 2;
/** A load that lies row by row where the space has columns: a group of rows is fetched at once into a tile. */
export const FLAG_TILE = 8;
/** Rows of a tile: a cache line of f32. */
export const TILE_ROWS = 16;
/** A load of what a kernel hands to its epilogue. */
export const FLAG_PRODUCT = 16;
/** The result takes 8 bytes per element. */
export const FLAG_WIDE = 4;

/** Bytes of an output of code, and how many there may be. */
export const OUTPUT_BYTES = 12;
export const MOST_OUTPUTS = 16;

/** A reduction: op, class, source slot, address of results or partials, dtype of the result, start value of integers. */
export const REDUCTION_BYTES = 24;
export const REDUCE_SUM = 0;
export const REDUCE_PROD = 1;
export const REDUCE_MAX = 2;
export const REDUCE_MIN = 3;
/** Classes of registers: f32, f64, i32, u32. */
export const CLASS_F32 = 0;
export const CLASS_F64 = 1;
export const CLASS_I32 = 2;
export const CLASS_U32 = 3;

/** Kinds in the constant table beside the dtypes: a splat of zeros. */
export const CONST_ZERO = 255;
/** Kind of a load beside the dtypes: its index itself, as i32, f32 or f64. */
export const LOAD_IOTA_I32 = 16;
export const LOAD_IOTA_F32 = 17;
export const LOAD_IOTA_F64 = 18;

export enum LoopOp {
  Load,
  Store,
  // f32
  AddF,
  SubF,
  MulF,
  DivF,
  MaxF,
  MinF,
  PowF,
  RemF,
  Atan2F,
  MaddF,
  NegF,
  AbsF,
  SignF,
  FloorF,
  CeilF,
  TruncF,
  RoundF,
  SqrtF,
  RsqrtF,
  RecipF,
  ExpF,
  Expm1F,
  LogF,
  Log1pF,
  SinF,
  CosF,
  TanF,
  AsinF,
  AcosF,
  AtanF,
  SinhF,
  CoshF,
  TanhF,
  SigmoidF,
  ErfF,
  ErfinvF,
  EqF,
  NeF,
  LtF,
  LeF,
  RoundF16,
  RoundBf16,
  // 32-bit integers and masks
  AddI,
  SubI,
  MulI,
  DivI,
  DivU,
  RemI,
  RemU,
  MaxI,
  MinI,
  MaxU,
  MinU,
  NegI,
  AbsI,
  SignI,
  SignU,
  EqI,
  NeI,
  LtI,
  LeI,
  LtU,
  LeU,
  And,
  Or,
  Xor,
  Not,
  Shl,
  ShrI,
  ShrU,
  Wrap8I,
  Wrap8U,
  Clamp8I,
  Clamp8U,
  Where,
  Threefry,
  // conversions; B is a mask
  FtoI,
  FtoU,
  ItoF,
  UtoF,
  BtoF,
  BtoI,
  FtoD,
  DtoF,
  DtoI,
  DtoU,
  ItoD,
  UtoD,
  BtoD,
  // f64
  AddD,
  SubD,
  MulD,
  DivD,
  MaxD,
  MinD,
  PowD,
  RemD,
  Atan2D,
  NegD,
  AbsD,
  SignD,
  FloorD,
  CeilD,
  TruncD,
  RoundD,
  SqrtD,
  RsqrtD,
  RecipD,
  ExpD,
  Expm1D,
  LogD,
  Log1pD,
  SinD,
  CosD,
  TanD,
  AsinD,
  AcosD,
  AtanD,
  SinhD,
  CoshD,
  TanhD,
  SigmoidD,
  ErfD,
  ErfinvD,
  EqD,
  NeD,
  LtD,
  LeD,
  WhereD,
  /** Several operations at once: number of the code, outputs (slot, store + 1, flags), how many. */
  Code,
}
