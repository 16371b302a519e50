import { checkAddress, DownloadError } from "@lowrank/models";
import type { PushFile } from "./hub-files.js";

export interface Upload {
  readonly repo: string;
  readonly branch: string;
  readonly files: readonly PushFile[];
  readonly title: string;
  readonly token: string;
  readonly endpoint: string;
  readonly makePrivate: boolean;
  readonly signal: AbortSignal;
}

/**
 * Uploads files in one commit, large ones ahead of it to the Hub's storage. Makes the repository if there is none.
 *
 * @param onProgress Told the share that is done, 0 to 1, and what is going on.
 */
export async function uploadFolder(
  { repo, branch, files, title, token, endpoint, makePrivate, signal }: Upload,
  onProgress: (share: number, what: string) => void,
): Promise<{ oid: string; url: string } | undefined> {
  const { commitIter, createRepo } = await import("@huggingface/hub");
  const hub = new URL(endpoint);
  const hubUrl = `${hub.origin}${hub.pathname.replace(/\/$/, "")}`;
  const common = {
    repo: { type: "model" as const, name: repo },
    accessToken: token,
    hubUrl,
    fetch: guarded(hub, signal),
  };
  try {
    try {
      await createRepo({ ...common, ...(makePrivate ? { visibility: "private" as const } : {}) });
    } catch (error) {
      if (statusOf(error) !== 409) throw error; // 409: it is there already
    }
    const total = files.reduce((sum, { content }) => sum + content.size, 0);
    const sizes = new Map(files.map(({ path, content }) => [path, content.size]));
    const sent = new Map<string, number>();
    const commit = commitIter({
      ...common,
      branch,
      title,
      operations: files.map(({ path, content }) => ({ operation: "addOrUpdate" as const, path, content })),
      abortSignal: signal,
      useXet: false,
    });
    for (;;) {
      const { done, value } = await commit.next();
      if (done) return value?.commit;
      if (value.event !== "fileProgress") continue;
      // Hashing a file is half of it.
      const half = value.state === "hashing" ? value.progress / 2 : 0.5 + value.progress / 2;
      sent.set(value.path, half * (sizes.get(value.path) ?? 0));
      const share = [...sent.values()].reduce((a, b) => a + b, 0) / Math.max(1, total);
      onProgress(share, `${value.state} ${value.path}`);
    }
  } catch (error) {
    signal.throwIfAborted();
    const status = statusOf(error);
    if (status === undefined) throw error;
    throw new DownloadError({
      where: repo,
      expected: `${hub.origin} to take it`,
      got: `status ${status}`,
      hint:
        status === 401 || status === 403
          ? "check that HF_TOKEN may write there"
          : "nothing was changed there, unless it was just made; try again",
      status,
      cause: error,
    });
  }
}

const statusOf = (error: unknown): number | undefined => {
  const { statusCode } = error as { statusCode?: unknown };
  return typeof statusCode === "number" ? statusCode : undefined;
};

/** A fetch that sends the token to the Hub's own origin only, and goes nowhere without https but to this machine. */
function guarded(hub: URL, signal: AbortSignal): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    checkAddress(url);
    const headers = new Headers(init.headers);
    if (url.origin !== hub.origin) headers.delete("authorization");
    try {
      return await fetch(url, { ...init, headers, signal });
    } catch (cause) {
      signal.throwIfAborted();
      const inner = (cause as { cause?: { code?: string } }).cause?.code;
      throw new DownloadError({
        where: `${url.origin}${url.pathname}`,
        expected: "an answer",
        got: inner ?? (cause instanceof Error ? cause.message : String(cause)),
        hint: "check the connection and try again",
        cause,
      });
    }
  };
}
