// The one entry of the Wasm binary. A kernel is `(args, chunk, chunks, scratch) => void`: it reads its 32-bit argument
// words at `args` and does part `chunk` of `chunks`. What a chunk computes depends on nothing but these, so results do
// not depend on the number of threads.
import * as at from "./layout";
import * as ids from "./ids";
import { runKernel } from "./kernel-table";
import { expectLinked } from "./link";
import { runLoop } from "./loop-table";
import { matmulNarrow, matmulPackB, matmulTiles } from "./matmul";
import { matmulF64, matmulZero } from "./matmul-f64";
import { matmulRows } from "./matmul-narrow";
import { matmulThin } from "./matmul-thin";

/** Polls without work before a thread sleeps, at most and at least: some 2 milliseconds, 30 and 3 microseconds. */
const MOST_SPINS = 1400000;
const SPINS = 20000;
const LEAST_SPINS = 2000;
/** The same between two jobs of one list, where the next is soon to come: some 300 microseconds. */
const LIST_SPINS = 200000;

function runChunk(kernel: i32, args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  if (kernel >= ids.FIRST_KERNEL) return runKernel(kernel, args, chunk, chunks, scratch);
  if (kernel >= ids.FIRST_LOOP) return runLoop(kernel, args, chunk, chunks, scratch);
  switch (kernel) {
    case ids.MATMUL_PACK_B:
      return matmulPackB(args, chunk, chunks, scratch);
    case ids.MATMUL_TILES:
      return matmulTiles(args, chunk, chunks, scratch);
    case ids.MATMUL_THIN:
      return matmulThin(args, chunk, chunks, scratch);
    case ids.MATMUL_F64:
      return matmulF64(args, chunk, chunks, scratch);
    case ids.MATMUL_ZERO:
      return matmulZero(args, chunk, chunks, scratch);
    case ids.MATMUL_NARROW:
      return matmulNarrow(args, chunk, chunks, scratch);
    case ids.MATMUL_ROWS:
      return matmulRows(args, chunk, chunks, scratch);
    case ids.LINKED:
      expectLinked(load<i32>(args));
      return call_indirect<void>(load<i32>(args), args, chunk, chunks, scratch);
    case ids.COPY_PROBE:
      return copyProbe(args, chunk);
    default:
      unreachable();
  }
}

/** Writes chunk + 1 at word `chunk` of the block that args[0] points to: measures and tests dispatch itself. */
function copyProbe(args: usize, chunk: i32): void {
  store<i32>(load<usize>(args) + (<usize>chunk << 2), chunk + 1);
}

/** First chunk of range `range`: an even cut of the chunks. */
// @ts-ignore: decorator
@inline
function rangeStart(range: i32, ranges: i32, chunks: i32): i32 {
  return <i32>((<u32>range * <u32>chunks) / <u32>ranges);
}

/**
 * Runs chunks until none is left. A thread takes those of its own range from the front, so that kernels over the same
 * data find it in the cache of the same core, and then those of the others from the end. Each taking is one addition to
 * the word of the range, and holds if fewer than all had been taken before.
 */
function takeChunks(thread: i32, kernel: i32, args: usize, chunks: i32, ranges: i32, scratch: usize): void {
  let range = thread % ranges;
  let step = 1;
  for (let tried = 0; tried < ranges; tried++) {
    const word = at.RANGES + (<usize>range << 6);
    const first = rangeStart(range, ranges, chunks);
    const last = rangeStart(range + 1, ranges, chunks) - 1;
    while (true) {
      const taken = atomic.add<i32>(word, step);
      const front = taken & 0xffff;
      const end = taken >>> 16;
      if (first + front + end > last) break;
      runChunk(kernel, args, step == 1 ? first + front : last - end, chunks, scratch);
    }
    if (++range == ranges) range = 0;
    step = 0x10000;
  }
}

/**
 * Polls of the caller for the end of a job before it sleeps. A thread may wake up on the core of the one that wakes it, and there
 * both stay while they sleep in turns: Linux moves one of them to an idle core only if both want to run. So it polls for long, and
 * less if that was in vain: then the other may be waiting for this very core.
 */
let callerPatience = MOST_SPINS;

/** Runs all chunks of one kernel on the caller and whichever threads are awake or wake up in time. */
function dispatch(kernel: i32, args: usize, chunks: i32, wake: bool): void {
  const scratch = load<usize>(at.SCRATCH);
  const arrived = atomic.load<i32>(at.ARRIVED);
  if (chunks <= 1 || arrived == 0 || (!wake && atomic.load<i32>(at.SLEEPERS) == arrived)) {
    for (let chunk = 0; chunk < chunks; chunk++) runChunk(kernel, args, chunk, chunks, scratch);
    return;
  }
  const ranges = min(load<i32>(at.THREADS), chunks);
  store<i32>(at.JOB, kernel);
  store<usize>(at.JOB + 4, args);
  store<i32>(at.JOB + 8, chunks);
  store<i32>(at.JOB + 12, ranges);
  for (let range = 0; range < ranges; range++) store<i32>(at.RANGES + (<usize>range << 6), 0);
  atomic.add<i32>(at.EPOCH, 1); // open
  if (wake && atomic.load<i32>(at.SLEEPERS) > 0) atomic.notify(at.EPOCH, chunks - 1);
  takeChunks(0, kernel, args, chunks, ranges, scratch);
  atomic.add<i32>(at.EPOCH, 1); // closed: whoever comes now turns back
  let spins = 0;
  while (true) {
    const active = atomic.load<i32>(at.ACTIVE);
    if (active == 0) {
      if (atomic.load<i32>(at.POISON) != 0) unreachable();
      callerPatience = min(callerPatience + spins, MOST_SPINS);
      return;
    }
    if (++spins > callerPatience) {
      callerPatience = max(callerPatience >> 1, SPINS);
      spins = 0;
      atomic.store<i32>(at.CALLER_SLEEPS, 1);
      atomic.wait<i32>(at.ACTIVE, active, 1000000);
      atomic.store<i32>(at.CALLER_SLEEPS, 0);
    }
  }
}

/**
 * Runs `count` commands: triples of kernel, args, chunks. Threads that are asleep are woken only if `wake`; those that
 * are awake help in any case.
 */
export function runList(list: usize, count: i32, wake: bool): void {
  atomic.store<i32>(at.LIST, 1);
  for (let i = 0; i < count; i++, list += 12) {
    dispatch(load<i32>(list), load<usize>(list, 4), load<i32>(list, 8), wake);
  }
  atomic.store<i32>(at.LIST, 0);
}

/** What every further thread runs until it is told to quit. */
export function work(thread: i32): void {
  atomic.add<i32>(at.ARRIVED, 1);
  let done = 0;
  let spins = 0;
  // Polls for the end of a job in which nothing is left to take. The longer the others are at it, the more likely is that
  // one of them waits for this very core, on a machine that is busy otherwise.
  let patience = MOST_SPINS;
  let open = false;
  while (true) {
    const epoch = atomic.load<i32>(at.EPOCH);
    if ((epoch & 1) != 0 && epoch != done) {
      atomic.add<i32>(at.ACTIVE, 1);
      // The caller writes no new job while a thread is active, so the job is read only after this second look.
      done = atomic.load<i32>(at.EPOCH);
      if ((done & 1) != 0) {
        const scratch = load<usize>(at.SCRATCH) + <usize>thread * load<usize>(at.SCRATCH + 4);
        takeChunks(
          thread,
          load<i32>(at.JOB),
          load<usize>(at.JOB + 4),
          load<i32>(at.JOB + 8),
          load<i32>(at.JOB + 12),
          scratch,
        );
      }
      if (atomic.sub<i32>(at.ACTIVE, 1) == 1 && atomic.load<i32>(at.CALLER_SLEEPS) != 0) {
        atomic.notify(at.ACTIVE, 1);
      }
      spins = 0;
      continue;
    }
    if ((epoch & 1) != 0) {
      open = true;
      if (++spins < patience) continue;
      open = false;
      patience = max(patience >> 1, LEAST_SPINS);
    } else {
      if (open) {
        patience = min(patience + spins, MOST_SPINS);
        spins = 0;
      }
      open = false;
      if (++spins < load<i32>(at.IDLE_SPINS) || (spins < LIST_SPINS && atomic.load<i32>(at.LIST) != 0)) continue;
    }
    if (atomic.load<i32>(at.QUIT) != 0) return;
    atomic.add<i32>(at.SLEEPERS, 1);
    atomic.wait<i32>(at.EPOCH, epoch, -1);
    atomic.sub<i32>(at.SLEEPERS, 1);
    if (atomic.load<i32>(at.QUIT) != 0) return;
    spins = 0;
  }
}

/** The first address after the static data. */
export function heapBase(): usize {
  return __heap_base;
}
