import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COMMIT, FakeHub, gitSha1, sha256 } from "../test/fake-hub.js";
import { cachedRepos, type HubOptions, openHub, removeCached } from "./hub.js";
import { parseHubName } from "./hub-name.js";
import { resolveModel } from "./resolve-model.js";
import { readSmallFile } from "./source.js";

let hub: FakeHub;
let cache: string;
let options: HubOptions & { cache: string };
beforeEach(async () => {
  hub = await FakeHub.start();
  cache = mkdtempSync(join(tmpdir(), "hub-"));
  options = { ...hub.options, cache };
  hub.publish(FILES);
});
afterEach(async () => {
  await hub.stop();
  rmSync(cache, { recursive: true });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const weights = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 8) * 7) & 255);
const FILES = {
  "config.json": bytes('{"model_type":"llama"}'),
  "tokenizer.json": bytes("{}"),
  "1_Pooling/config.json": bytes("{ }"),
  "model.safetensors": weights,
  "pytorch_model.bin": bytes("pickle"),
  "onnx/model.safetensors": bytes("other"),
  "README.md": bytes("# name"),
};
const blobs = (): string => join(cache, "models--owner--name", "blobs");
const partial = (): string => join(blobs(), `${sha256(weights)}.partial`);

async function readAll(
  opened: Awaited<ReturnType<typeof openHub>>,
  name: string,
): Promise<Uint8Array | undefined> {
  return readSmallFile(opened, name, 1 << 24);
}

test.each([
  ["owner/name", "owner/name", "main", undefined],
  ["o.w-n_er/na.me@v1.0", "o.w-n_er/na.me", "v1.0", undefined],
  ["owner/name@refs/pr/1", "owner/name", "refs/pr/1", undefined],
  ["owner/name:sub/a.gguf", "owner/name", "main", "sub/a.gguf"],
  [`owner/name@${COMMIT}:a.gguf`, "owner/name", COMMIT, "a.gguf"],
])("%s is a name on the Hub", (text, repo, revision, file) => {
  expect(parseHubName(text)).toEqual({ repo, revision, file });
});

test.each([
  "name",
  "a/b/c",
  "../name",
  "owner/..",
  "owner/name@",
  "owner/name@../x",
  "owner/name@a//b",
  "o/n:",
  "/n",
  "a b/c",
  "a/b--c/..",
])("%j is no name on the Hub", (text) => {
  expect(() => parseHubName(text)).toThrow(/Hub: expected owner\/name, owner\/name@revision/);
});

describe("a repository", () => {
  test("is resolved to a commit; its files come when they are opened, verified, and stay in the cache", async () => {
    const opened = await openHub("owner/name", options);
    expect(opened.commit).toBe(COMMIT);
    expect(await readAll(opened, "config.json")).toEqual(FILES["config.json"]);
    expect(await readAll(opened, "1_Pooling/config.json")).toEqual(FILES["1_Pooling/config.json"]);
    expect(await readAll(opened, "model.safetensors")).toEqual(weights);
    expect(await opened.open("absent.json")).toBeUndefined();
    const before = hub.api.asked.length + hub.content.asked.length;
    expect(await readAll(opened, "model.safetensors")).toEqual(weights);
    expect(hub.api.asked.length + hub.content.asked.length).toBe(before);
    expect(readdirSync(blobs()).sort()).toEqual(
      [gitSha1(FILES["config.json"]), gitSha1(FILES["1_Pooling/config.json"]), sha256(weights)].sort(),
    );
    expect(readFileSync(join(opened.path!, "1_Pooling", "config.json"), "utf8")).toBe("{ }");
    // The name in the snapshot is the blob itself, not a copy.
    expect(statSync(join(opened.path!, "model.safetensors")).ino).toBe(
      statSync(join(blobs(), sha256(weights))).ino,
    );
  });

  test("keeps to its commit while the branch moves on", async () => {
    const opened = await openHub("owner/name", options);
    const later = "f".repeat(40);
    hub.publish({ "config.json": bytes("later") }, later);
    expect(await readAll(opened, "config.json")).toEqual(FILES["config.json"]);
    expect(await readAll(await openHub("owner/name", options), "config.json")).toEqual(bytes("later"));
    expect(await readAll(await openHub(`owner/name@${COMMIT}`, options), "config.json")).toEqual(
      FILES["config.json"],
    );
  });

  test("at a commit that is known asks nothing of the Hub", async () => {
    await readAll(await openHub("owner/name", options), "config.json");
    const before = hub.api.asked.length;
    expect(await readAll(await openHub(`owner/name@${COMMIT}`, options), "config.json")).toEqual(
      FILES["config.json"],
    );
    expect(hub.api.asked.length).toBe(before);
  });

  test("gives its token to its own host only", async () => {
    hub.token = "hf_secret";
    await expect(openHub("owner/name", options)).rejects.toThrow(
      /status 401 \(RepoNotFound\); check the name; for a private/,
    );
    const opened = await openHub("owner/name", { ...options, token: "hf_secret" });
    expect(await readAll(opened, "model.safetensors")).toEqual(weights);
    expect(hub.api.asked.filter(({ path }) => path.includes("model.safetensors"))).toMatchObject([
      { authorization: "Bearer hf_secret" },
    ]);
    expect(hub.content.asked.map(({ authorization }) => authorization)).toEqual([undefined]);
  });

  test("may not send us to a host that is not its own", async () => {
    const opened = await openHub("owner/name", { ...options, allowedHosts: [] });
    await expect(opened.open("model.safetensors")).rejects.toThrow(
      /expected a host among 127\.0\.0\.1:\d+, huggingface\.co/,
    );
    expect(hub.content.asked).toHaveLength(0);
  });

  test("that is not there, or has no such revision, is said", async () => {
    await expect(openHub("owner/name@v9", options)).rejects.toThrow(
      /^owner\/name@v9: expected it on http.+, got status 404 \(RevisionNotFound\); there is no such branch, tag or commit$/,
    );
    await expect(openHub("owner/other", options)).rejects.toThrow(/status 404; check the name/);
  });

  test("is read over ranges without keeping anything, where that is asked for", async () => {
    const opened = await openHub("owner/name", options);
    const source = await opened.openRemote("model.safetensors");
    expect(await source?.read(2_000_000, 10)).toEqual(weights.subarray(2_000_000, 2_000_010));
    expect(hub.content.asked.every(({ range }) => range !== undefined)).toBe(true);
    await source?.close();
    expect(() => readdirSync(blobs())).toThrow(/ENOENT/);
  });
});

describe("a listing", () => {
  const listing = (
    change: (files: Record<string, unknown>[], root: Record<string, unknown>) => void,
  ): void => {
    const root = structuredClone(hub.listings.get("main")) as Record<string, unknown>;
    change(root["siblings"] as Record<string, unknown>[], root);
    hub.listings.set("main", root);
  };
  test.each<[string, Parameters<typeof listing>[0], RegExp]>([
    [
      "a name that leads upwards",
      ([file]) => Object.assign(file!, { rfilename: "../x" }),
      /the name of a file, got "\.\."/,
    ],
    [
      "an absolute name",
      ([file]) => Object.assign(file!, { rfilename: "/etc/x" }),
      /the name of a file, got ""/,
    ],
    [
      "a name of a Windows device",
      ([file]) => Object.assign(file!, { rfilename: "a/nul" }),
      /device of Windows/,
    ],
    ["a drive letter", ([file]) => Object.assign(file!, { rfilename: "C:/x" }), /drive letters/],
    ["a name twice", (files) => files.push({ ...files[0]! }), /every file once, got "config.json" again/],
    [
      "a name twice but for case",
      (files) => files.push({ ...files[0]!, rfilename: "CONFIG.json" }),
      /every file once/,
    ],
    [
      "no size",
      ([file]) => Object.assign(file!, { size: undefined }),
      /a size for "config.json", got nothing/,
    ],
    ["a negative size", ([file]) => Object.assign(file!, { size: -1 }), /a size for/],
    [
      "no checksum",
      ([file]) => Object.assign(file!, { blobId: undefined }),
      /a checksum for "config.json", got nothing/,
    ],
    ["a checksum that is a path", ([file]) => Object.assign(file!, { blobId: "../../x" }), /a checksum for/],
    [
      "a commit that is a path",
      (_, root) => Object.assign(root, { sha: "../../x" }),
      /a commit of 40 digits/,
    ],
    ["no files", (_, root) => Object.assign(root, { siblings: {} }), /a list of files/],
    [
      "too many files",
      (_, root) => Object.assign(root, { siblings: Array(100_001).fill(0) }),
      /at most 100000 files/,
    ],
    ["a file without a name", (files) => files.push({}), /every file to have a name/],
  ])("with %s is refused", async (_name, change, message) => {
    listing(change);
    await expect(openHub("owner/name", options)).rejects.toThrow(message);
    expect(readdirSync(cache)).toEqual([]);
  });
});

describe("a download", () => {
  const fetchWeights = async (more: HubOptions = {}): Promise<Uint8Array | undefined> =>
    readAll(await openHub("owner/name", { ...options, ...more }), "model.safetensors");

  test("that drops, stalls and ends early goes on where it was", async () => {
    hub.content.faults.push(
      { kind: "drop", after: 1_000_000 },
      { kind: "stall", after: 500_000 },
      { kind: "truncate", after: 200_000 },
    );
    expect(await fetchWeights()).toEqual(weights);
    const starts = hub.content.asked.map(({ range }) =>
      Number(/^bytes=(\d+)-/.exec(range ?? "bytes=0-")?.[1]),
    );
    expect(starts).toHaveLength(4);
    expect([...starts].sort((a, b) => a - b)).toEqual(starts);
    expect(starts[3]).toBeGreaterThan(200_000);
    expect(hub.content.asked.at(-1)?.ifRange).toBe(`"${sha256(weights)}"`);
  });

  test("that was given up keeps what it has, and another process goes on there", async () => {
    hub.content.faults.push({ kind: "drop", after: 1_000_000 });
    await expect(fetchWeights({ retries: 0 })).rejects.toThrow(/what has been fetched is kept/);
    const kept = statSync(partial()).size;
    expect(kept).toBeGreaterThan(0);
    expect(readFileSync(partial())).toEqual(Buffer.from(weights.subarray(0, kept)));
    expect(await fetchWeights()).toEqual(weights);
    expect(hub.content.asked.at(-1)?.range).toBe(`bytes=${kept}-2999999`);
  });

  test("of a server that lies is refused, and nothing of it kept", async () => {
    hub.content.faults.push({ kind: "lie" });
    await expect(fetchWeights()).rejects.toThrow(
      /expected a content with checksum [0-9a-f]{64}, got [0-9a-f]{64}; the server/,
    );
    expect(statSync(partial()).size).toBe(0);
    expect(readdirSync(blobs())).not.toContain(sha256(weights));
    expect(await fetchWeights()).toEqual(weights);
  });

  test("of a small file that was altered is refused too", async () => {
    hub.api.faults.push({ kind: "lie" });
    const opened = await openHub("owner/name", options);
    await expect(opened.open("config.json")).rejects.toThrow(/with checksum [0-9a-f]{40}, got/);
  });

  test("onto a partial file that is spoilt begins anew by itself", async () => {
    hub.content.faults.push({ kind: "drop", after: 1_000_000 });
    await expect(fetchWeights({ retries: 0 })).rejects.toThrow();
    writeFileSync(partial(), "rubbish");
    expect(await fetchWeights()).toEqual(weights);
    writeFileSync(partial(), new Uint8Array(weights.length + 5));
    rmSync(join(blobs(), sha256(weights)));
    expect(await fetchWeights()).toEqual(weights);
  });

  test("from a server without ranges passes over what it has", async () => {
    hub.content.faults.push({ kind: "drop", after: 1_000_000 });
    await expect(fetchWeights({ retries: 0 })).rejects.toThrow();
    hub.content.ranges = false;
    expect(await fetchWeights()).toEqual(weights);
  });

  test("of a file that a server tells to be shorter or longer is refused", async () => {
    for (const size of [2_999_999, 3_000_001]) {
      hub.content.files.set(`/${sha256(weights)}`, new Uint8Array(size));
      await expect(fetchWeights()).rejects.toThrow(/expected the file that was opened, of 3000000 bytes/);
    }
  });

  test("stops at once by its signal, keeps what it has, and lets go of its lock", async () => {
    const controller = new AbortController();
    hub.content.faults.push({ kind: "stall", after: 1_000_000 });
    const running = fetchWeights({
      signal: controller.signal,
      stallMs: 60_000,
      onProgress: ({ done }) => {
        if (done > 0) controller.abort(new Error("enough"));
      },
    });
    await expect(running).rejects.toThrow("enough");
    expect(statSync(partial()).size).toBeGreaterThan(0);
    expect(readdirSync(blobs()).filter((name) => name.endsWith(".lock"))).toEqual([]);
  });

  test("stops by its signal while bytes come faster than they are asked for", async () => {
    const controller = new AbortController();
    const body = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        start(stream) {
          for (let at = 0; at < weights.length; at += 1000) stream.enqueue(weights.slice(at, at + 1000));
          stream.close();
        },
      });
    const answer = async (input: RequestInfo | URL): Promise<Response> =>
      String(input).includes("/api/") ? fetch(input) : new Response(body());
    const running = fetchWeights({
      signal: controller.signal,
      fetch: answer as typeof fetch,
      onProgress: ({ done }) => {
        if (done >= 1_000_000) controller.abort(new Error("enough"));
      },
    });
    await expect(running).rejects.toThrow("enough");
    expect(statSync(partial()).size).toBe(1_000_000);
  });

  test("tells how far it is", async () => {
    const seen: number[] = [];
    await fetchWeights({
      onProgress: ({ file, done, total }) => {
        expect([file, total]).toEqual(["model.safetensors", weights.length]);
        seen.push(done);
      },
    });
    expect(seen[0]).toBe(0);
    expect(seen.at(-1)).toBe(weights.length);
    expect([...seen].sort((a, b) => a - b)).toEqual(seen);
  });
});

describe("two processes", () => {
  const child = (): Promise<number> =>
    new Promise((resolve) => {
      const path = fileURLToPath(new URL("../test/hub-child.ts", import.meta.url));
      const tsx = fileURLToPath(new URL("../../../node_modules/tsx/dist/cli.mjs", import.meta.url));
      const args = [tsx, path, JSON.stringify({ ...hub.options, cache }), sha256(weights)];
      spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] }).on("exit", (code) =>
        resolve(code ?? -1),
      );
    });

  test("that want the same file fetch it once, through a drop, and both have it", async () => {
    hub.content.faults.push({ kind: "stall", after: 2_000_000 });
    expect(await Promise.all([child(), child()])).toEqual([0, 0]);
    const fetched = hub.content.asked.map(({ range }) => range);
    expect(fetched).toHaveLength(2); // the first, and its second attempt for the rest
    expect(fetched.filter((range) => range === undefined)).toHaveLength(1);
    expect(readdirSync(blobs()).filter((name) => /lock|partial|tmp/.test(name))).toEqual([]);
  });

  test("of which one was killed in the middle leave a lock that the next takes over", async () => {
    await readAll(await openHub("owner/name", options), "config.json");
    writeFileSync(partial(), weights.subarray(0, 777));
    // The number of a process that has ended.
    const ended = spawn(process.execPath, ["-e", ""]);
    await new Promise((resolve) => ended.on("exit", resolve));
    const { hostname } = await import("node:os");
    writeFileSync(
      join(blobs(), `${sha256(weights)}.lock`),
      JSON.stringify({ pid: ended.pid, host: hostname(), token: "t" }),
    );
    expect(await readAll(await openHub("owner/name", options), "model.safetensors")).toEqual(weights);
    expect(hub.content.asked[0]?.range).toBe("bytes=777-2999999");
  });

  test("of which one lives keep the other waiting until its signal", async () => {
    await readAll(await openHub("owner/name", options), "config.json");
    writeFileSync(
      join(blobs(), `${sha256(weights)}.lock`),
      JSON.stringify({ pid: process.pid, host: "elsewhere", token: "t" }),
    );
    const opened = await openHub("owner/name", { ...options, signal: AbortSignal.timeout(300) });
    await expect(opened.open("model.safetensors")).rejects.toMatchObject({ name: "TimeoutError" });
    expect(hub.content.asked).toHaveLength(0);
  });
});

describe("offline", () => {
  test("what is in the cache is used, and what is not is named with the way to get it", async () => {
    const first = await openHub("owner/name", options);
    await readAll(first, "config.json");
    await hub.api.stop();
    const opened = await openHub("owner/name", { ...options, offline: true });
    expect(await readAll(opened, "config.json")).toEqual(FILES["config.json"]);
    await expect(opened.open("model.safetensors")).rejects.toThrow(
      /^owner\/name@0123456789ab: expected model\.safetensors in the cache .+, got nothing; fetch it with a connection: lowrank pull owner\/name@main$/,
    );
    await expect(openHub("owner/name@v2", { ...options, offline: true })).rejects.toThrow(
      /lowrank pull owner\/name@v2/,
    );
    hub = await FakeHub.start();
  });

  test("is asked for by the environment", async () => {
    process.env["LOWRANK_OFFLINE"] = "1";
    try {
      await expect(openHub("owner/name", options)).rejects.toThrow(/since we are offline/);
      expect(hub.api.asked).toHaveLength(0);
    } finally {
      delete process.env["LOWRANK_OFFLINE"];
    }
  });

  test("a cache whose listing was tampered with is refused", async () => {
    await openHub("owner/name", options);
    const path = join(cache, "models--owner--name", "listings", `${COMMIT}.json`);
    writeFileSync(path, readFileSync(path, "utf8").replace("config.json", "../../x"));
    await expect(openHub(`owner/name@${COMMIT}`, options)).rejects.toThrow(/the name of a file/);
  });
});

test("the cache is listed and cleared by repository", async () => {
  const opened = await openHub("owner/name", options);
  await opened.fetch(opened.modelFiles());
  const [entry] = await cachedRepos(cache);
  expect(entry?.repo).toBe("owner/name");
  expect(entry?.sizeBytes).toBeGreaterThan(weights.length);
  await removeCached("owner/name", cache);
  expect(await cachedRepos(cache)).toEqual([]);
});

describe("the files of a model", () => {
  test("are its configuration, tokenizer and safetensors, and nothing for other programs", async () => {
    const opened = await openHub("owner/name", options);
    expect(
      opened
        .modelFiles()
        .map(({ path }) => path)
        .sort(),
    ).toEqual(["1_Pooling/config.json", "README.md", "config.json", "model.safetensors", "tokenizer.json"]);
  });

  test("are its one GGUF file, or the one that the name picks", async () => {
    hub.publish({ "a.gguf": bytes("a"), "config.json": bytes("{}") });
    expect((await openHub("owner/name", options)).modelFiles().map(({ path }) => path)).toEqual([
      "config.json",
      "a.gguf",
    ]);
    hub.publish({ "a.gguf": bytes("a"), "b.gguf": bytes("b") }, "1".repeat(40));
    const several = await openHub("owner/name", options);
    expect(() => several.modelFiles()).toThrow(
      /expected one GGUF file, picked as owner\/name:NAME, got 2; they are "a\.gguf", "b\.gguf"/,
    );
    expect((await openHub("owner/name:b.gguf", options)).modelFiles().map(({ path }) => path)).toEqual([
      "b.gguf",
    ]);
    expect(() => several.modelFiles("c.gguf")).toThrow(
      /the name of one of its files, got "c\.gguf"; it has "a\.gguf"/,
    );
  });

  test("may not be pickles", async () => {
    hub.publish({ "pytorch_model.bin": bytes("x") });
    const opened = await openHub("owner/name", options);
    expect(() => opened.modelFiles()).toThrow(
      /weights as safetensors or GGUF, got "pytorch_model\.bin", a pickle file that runs code when it is read; convert it/,
    );
    hub.publish({ "README.md": bytes("x") });
    const empty = await openHub("owner/name", options);
    expect(() => empty.modelFiles()).toThrow(/got none among 1 files; check/);
  });
});

describe("a model argument", () => {
  test("is a path first, then a name in the cache, and asks nothing of a server unless told to", async () => {
    expect(await resolveModel(cache, options)).toEqual({ path: cache, kind: "folder" });
    const file = fileURLToPath(import.meta.url);
    expect(await resolveModel(file, options)).toEqual({ path: file, kind: "file" });
    await expect(resolveModel("owner/name", options)).rejects.toThrow(/lowrank pull owner\/name/);
    await expect(resolveModel("no such/path/at all", options)).rejects.toThrow(
      /a folder, a file, or owner\/name of a model on the Hub, got nothing of that name/,
    );
    expect(hub.api.asked).toHaveLength(0);
    const { path, kind } = await resolveModel("owner/name", { ...options, offline: false });
    expect(kind).toBe("folder");
    expect(new Uint8Array(readFileSync(join(path, "model.safetensors")))).toEqual(weights);
    expect(await resolveModel("owner/name", options)).toEqual({ path, kind });
    expect(await resolveModel(`owner/name@${COMMIT}`, options)).toEqual({ path, kind });
  });

  test("may stand for a GGUF file of a repository", async () => {
    hub.publish({ "a.gguf": bytes("a"), "b.gguf": bytes("b") });
    const { path, kind } = await resolveModel("owner/name:b.gguf", { ...options, offline: false });
    expect(kind).toBe("file");
    expect(readFileSync(path, "utf8")).toBe("b");
  });
});
