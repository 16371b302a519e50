// Fixed addresses below the static data, one cache line apart where two threads write. Plain TypeScript too.

/** Odd while a job is open; each job adds two. Idle threads sleep on it. */
export const EPOCH = 1024;
/** 1 while a list of commands runs. */
export const LIST = 1088;
/** Threads, beside the caller, that are inside the open job. */
export const ACTIVE = 1152;
/** Threads asleep on EPOCH. */
export const SLEEPERS = 1216;
/** 1 while the caller sleeps on ACTIVE. */
export const CALLER_SLEEPS = 1280;
/** The job: kernel, args, chunks, ranges. */
export const JOB = 1344;
/** Scratch of thread t begins at [SCRATCH] + t * [SCRATCH + 4]. */
export const SCRATCH = 1408;
/** Threads that have entered their loop. */
export const ARRIVED = 1472;
/** 1 tells the threads to leave. */
export const QUIT = 1476;
/** 1 after a kernel trapped on a thread. */
export const POISON = 1480;
/** Threads, the caller included: chunks are dealt out to so many ranges. Written once, before any job. */
export const THREADS = 1484;
/** How often a thread without work polls before it sleeps. Written once, before any job. */
export const IDLE_SPINS = 1488;
/** Line t counts the chunks that have been taken from range t of the open job: 16 bits from its front, 16 from its end. */
export const RANGES = 4096;
/** Most threads. */
export const MOST_THREADS = 64;
/** Most chunks of a command: so many, and a failed look of every thread, fit 16 bits. */
export const MOST_CHUNKS = 65535 - MOST_THREADS;
/** 256 bytes that functions of a host may use as they like; 0 at first. */
export const HOST = 2048;
/** The code of loops: its address, and the number of modules in it; see src/linker.ts. */
export const CODE = 1536;
/** Static data begins here. */
export const STATIC_BASE = 8192;
