import { requireBuiltin } from "./node-builtin.js";
import { DownloadError } from "./download-error.js";
import { pause } from "./http.js";

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** Tells this taking of the lock from every other. */
  readonly token: string;
}

const BEAT_MS = 2000;
/** An owner that has shown no life for so long is gone; it may be on another machine, where its process cannot be seen. */
const DEAD_MS = 60_000;
const POLL_MS = 100;

/** A lock that is held. */
export interface Held {
  /** Aborted if the lock was taken away, as after the machine had slept for long. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/**
 * Takes a lock that keeps other processes out: a file that only one can create, with the owner in it, touched every two
 * seconds. A lock whose process is gone, or that was not touched for a minute, is taken over. Waits while another holds it.
 *
 * @param done Asked before each attempt; true ends the waiting without the lock, when what it was wanted for is done.
 * @returns undefined if `done` said so.
 */
export async function takeLock(
  path: string,
  signal: AbortSignal | undefined,
  done: () => Promise<boolean>,
): Promise<Held | undefined> {
  const { promises: fs } = requireBuiltin("node:fs", "takeLock");
  const host = requireBuiltin("node:os", "takeLock").hostname();
  const { pid } = (globalThis as unknown as { process: { pid: number } }).process;
  const token = globalThis.crypto.randomUUID();
  const text = JSON.stringify({ pid, host, token } satisfies Owner);
  for (;;) {
    signal?.throwIfAborted();
    if (await done()) return undefined;
    try {
      await fs.writeFile(path, text, { flag: "wx" });
      return hold(path, token);
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
    const stale = await staleToken(path, host);
    if (stale === undefined) await pause(POLL_MS, signal);
    else await takeAway(path, stale);
  }
}

/** Windows tells EPERM of a file that is just being removed. */
const isTaken = (error: unknown): boolean =>
  ["EEXIST", "EPERM", "EBUSY"].includes((error as { code?: string }).code ?? "");

function hold(path: string, token: string): Held {
  const { promises: fs } = requireBuiltin("node:fs", "takeLock");
  const lost = new AbortController();
  const beat = setInterval(async () => {
    const owner = await readOwner(path);
    if (owner?.token === token) return void fs.utimes(path, new Date(), new Date()).catch(() => undefined);
    clearInterval(beat);
    lost.abort(
      new DownloadError({
        where: path,
        expected: "this lock to be kept",
        got: "another process with it",
        hint: "try again",
      }),
    );
  }, BEAT_MS);
  (beat as { unref?: () => void }).unref?.();
  return {
    lost: lost.signal,
    async release() {
      clearInterval(beat);
      if ((await readOwner(path))?.token === token) await fs.rm(path, { force: true });
    },
  };
}

async function readOwner(path: string): Promise<Partial<Owner> | undefined> {
  try {
    const text = await requireBuiltin("node:fs", "takeLock").promises.readFile(path, "utf8");
    return JSON.parse(text) as Owner;
  } catch (error) {
    return error instanceof SyntaxError ? {} : undefined; // half written, as yet or for ever
  }
}

/** The token of a lock whose owner is gone; undefined while it lives or if there is no lock. */
async function staleToken(path: string, host: string): Promise<string | undefined> {
  const owner = await readOwner(path);
  if (owner === undefined) return undefined;
  let ageMs: number;
  try {
    ageMs = Date.now() - (await requireBuiltin("node:fs", "takeLock").promises.stat(path)).mtimeMs;
  } catch {
    return undefined;
  }
  const gone = owner.host === host && typeof owner.pid === "number" && !isRunning(owner.pid);
  return gone || ageMs > DEAD_MS ? (owner.token ?? "") : undefined;
}

function isRunning(pid: number): boolean {
  try {
    (globalThis as unknown as { process: { kill(pid: number, signal: number): void } }).process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM"; // another user's
  }
}

/** Removes a stale lock, unless another process was quicker and holds it anew. */
async function takeAway(path: string, token: string): Promise<void> {
  const { promises: fs } = requireBuiltin("node:fs", "takeLock");
  const aside = `${path}.${globalThis.crypto.randomUUID()}`;
  try {
    await fs.rename(path, aside);
  } catch {
    return; // gone already
  }
  // A lock that is not the stale one belongs to a process that lives: put back, if none has come in its place.
  if (((await readOwner(aside))?.token ?? "") !== token) await fs.link(aside, path).catch(() => undefined);
  await fs.rm(aside, { force: true });
}
