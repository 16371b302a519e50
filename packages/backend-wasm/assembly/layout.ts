// Fixed addresses below the static data, one cache line apart where two threads write. Plain TypeScript too.

/** Odd while a job is open; each job adds two. Idle threads sleep on it. */
export const EPOCH = 1024;
/** Next chunk of the open job. */
export const NEXT = 1088;
/** Threads, beside the caller, that are inside the open job. */
export const ACTIVE = 1152;
/** Threads asleep on EPOCH. */
export const SLEEPERS = 1216;
/** 1 while the caller sleeps on ACTIVE. */
export const CALLER_SLEEPS = 1280;
/** The job: kernel, args, chunks. */
export const JOB = 1344;
/** Scratch of thread t begins at [SCRATCH] + t * [SCRATCH + 4]. */
export const SCRATCH = 1408;
/** Threads that have entered their loop. */
export const ARRIVED = 1472;
/** 1 tells the threads to leave. */
export const QUIT = 1476;
/** 1 after a kernel trapped on a thread. */
export const POISON = 1480;
/** Static data begins here. */
export const STATIC_BASE = 4096;
