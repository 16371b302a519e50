import { cachedRepos, openHub, pageStore, readSmallFile, removeCached } from "@lowrank/models";

/** What became of a download into the cache of the browser that was stopped in its third part. */
export interface HubOutcome {
  readonly stopped: string;
  /** Ranges that were asked for, the first attempt's first. */
  readonly ranges: readonly (string | null)[];
  readonly whole: boolean;
  readonly offline: boolean;
  readonly lie: string;
  readonly cached: readonly { repo: string; sizeBytes: number }[];
  readonly left: number;
}

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const SIZE = 20_000_000;

const hex = (bytes: ArrayBuffer): string =>
  Array.from(new Uint8Array(bytes), (b) => b.toString(16).padStart(2, "0")).join("");

/** A server of one repository in the page itself, which lies if told to. */
async function serve(): Promise<{
  fetch: typeof fetch;
  ranges: (string | null)[];
  lie(): void;
  weights: Uint8Array;
}> {
  const weights = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 8) * 7) & 255);
  const sha256 = hex(await crypto.subtle.digest("SHA-256", weights as Uint8Array<ArrayBuffer>));
  const siblings = [{ rfilename: "model.safetensors", lfs: { size: SIZE, sha256 } }];
  const ranges: (string | null)[] = [];
  let lies = false;
  const answer = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    if (String(input).includes("/api/models/"))
      return new Response(JSON.stringify({ sha: COMMIT, siblings }));
    const range = new Headers(init?.headers).get("range");
    ranges.push(range);
    const from = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    const part = lies ? new Uint8Array(SIZE - from) : weights.slice(from);
    const headers = { "content-range": `bytes ${from}-${SIZE - 1}/${SIZE}` };
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent === part.length) return controller.close();
        controller.enqueue(part.slice(sent, sent + 1_000_000));
        sent = Math.min(part.length, sent + 1_000_000);
      },
    });
    return new Response(body, range === null ? { status: 200 } : { status: 206, headers });
  };
  return { fetch: answer as typeof fetch, ranges, lie: () => void (lies = true), weights };
}

export async function hubInPage(): Promise<HubOutcome> {
  const server = await serve();
  const cache = pageStore("browser-check");
  const options = { cache, fetch: server.fetch, retries: 0 };
  const read = async (more: object): Promise<Uint8Array | undefined> =>
    readSmallFile(await openHub("owner/name", { ...options, ...more }), "model.safetensors", SIZE);
  const told = (error: unknown): string => (error as Error).message;
  const same = (bytes: Uint8Array | undefined): boolean =>
    bytes?.length === SIZE && bytes.every((byte, i) => byte === server.weights[i]);
  const controller = new AbortController();
  const onProgress = ({ done }: { done: number }): void => {
    if (done >= 18_000_000) controller.abort(new Error("enough"));
  };
  const stopped = await read({ signal: controller.signal, onProgress }).then(() => "nothing", told);
  const whole = same(await read({}));
  const offline = same(await read({ offline: true, fetch: () => Promise.reject(new Error("asked")) }));
  const cached = await cachedRepos(cache);
  await removeCached("owner/name", cache);
  server.lie();
  const lie = await read({}).then(() => "nothing", told);
  await removeCached("owner/name", cache);
  return {
    stopped,
    ranges: server.ranges,
    whole,
    offline,
    lie,
    cached,
    left: (await cachedRepos(cache)).length,
  };
}
