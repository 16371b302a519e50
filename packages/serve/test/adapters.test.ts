import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { adaptersIn, type Served } from "../src/index.js";
import { adapterFiles, headers, post, start, startBackend, textOf, until } from "./harness.js";

type Files = Map<string, Uint8Array>;
let files: Files[];
beforeAll(async () => {
  await startBackend();
  files = await Promise.all([2, 3, 4, 5].map((seed) => adapterFiles(seed)));
});

const body = (adapter: string | null, more: object = {}): object => ({
  prompt: "The sea",
  temperature: 0,
  max_tokens: 8,
  ...(adapter === null ? {} : { adapter }),
  ...more,
});
const text = async (server: Served, adapter: string | null): Promise<string> =>
  textOf(await post(server, "/v1/completions", body(adapter)));
const admin = (server: Served, method: string, name: string): Promise<Response> =>
  fetch(`${server.url}/v1/adapters/${name}`, { method, headers });
const list = async (server: Served): Promise<{ name: string; loaded: boolean; inUse: number }[]> =>
  ((await (await fetch(`${server.url}/v1/adapters`, { headers })).json()) as { data: never[] }).data;

describe("adapters of a server", () => {
  test("are loaded at the first request for them, or before, and listed as models", async () => {
    const server = await start({ slots: 2, adapters: { one: files[0]!, two: files[1]! } });
    try {
      const all = [null, "one", "two"];
      expect((await list(server)).map((a) => a.loaded)).toEqual([false, false]);
      expect((await admin(server, "POST", "two")).status).toBe(200);
      expect((await list(server)).map((a) => a.loaded)).toEqual([false, true]);
      const texts: string[] = [];
      for (const name of all) texts.push(await text(server, name));
      expect(new Set(texts).size).toBe(3);
      const named = await post(server, "/v1/completions", { ...body(null), model: "tiny:one" });
      expect(((await named.clone().json()) as { model: string }).model).toBe("tiny:one");
      expect(await textOf(named)).toBe(texts[1]);
      const models = (await (await fetch(`${server.url}/v1/models`, { headers })).json()) as {
        data: { id: string }[];
      };
      expect(models.data.map(({ id }) => id)).toEqual(["tiny", "tiny:one", "tiny:two"]);
      const both = await post(server, "/v1/completions", { ...body("two"), model: "tiny:one" });
      expect(both.status).toBe(400);
    } finally {
      await server.close();
    }
  });

  test("are unloaded while serving: those in use when their requests have ended", async () => {
    const server = await start({ slots: 2, adapters: { one: files[0]! } });
    try {
      const before = await text(server, "one");
      expect((await admin(server, "DELETE", "one")).status).toBe(200);
      expect((await admin(server, "DELETE", "one")).status).toBe(404);
      const long = body("one", { max_tokens: 100, stream: true, stop: ["\u0000never"] });
      const answer = await post(server, "/v1/completions", long);
      const gone = await admin(server, "DELETE", "one");
      expect([gone.status, await gone.json()]).toEqual([202, { name: "one", loaded: false, pending: true }]);
      expect((await post(server, "/v1/completions", body("one"))).status).toBe(404);
      expect((await textOf(answer)).startsWith(before.slice(0, 5))).toBe(true);
      await until(() => server.load.running === 0, "the text has ended");
      expect(await list(server)).toEqual([{ name: "one", loaded: false, inUse: 0 }]);
      expect(await text(server, "one")).toBe(before);
    } finally {
      await server.close();
    }
  });

  test("take the place of the one that was used longest ago; with all in use the request is refused", async () => {
    const adapters = { one: files[0]!, two: files[1]!, three: files[2]! };
    const server = await start({ slots: 2, adapterSlots: 2, adapters });
    try {
      const texts = [await text(server, "one"), await text(server, "two")];
      expect(await text(server, "one")).toBe(texts[0]);
      await text(server, "three");
      expect((await list(server)).map(({ name, loaded }) => [name, loaded])).toEqual([
        ["one", true],
        ["three", true],
        ["two", false],
      ]);
      expect(await text(server, "two")).toBe(texts[1]);
      const long = { max_tokens: 300, stream: true, stop: ["\u0000never"] };
      const busy = await Promise.all(
        ["two", "three"].map((a) => post(server, "/v1/completions", body(a, long))),
      );
      const refused = await post(server, "/v1/completions", body("one"));
      expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "2"]);
      await Promise.all(busy.map((answer) => answer.body!.cancel()));
      await until(() => server.load.running === 0, "the slots are free");
      expect(await text(server, "one")).toBe(texts[0]);
    } finally {
      await server.close();
    }
  });

  test("in a folder are seen as they come, by plain names only: no path, no link, nothing else", async () => {
    const root = await mkdtemp(join(tmpdir(), "adapters-"));
    const write = async (name: string, content: Files): Promise<void> => {
      await mkdir(join(root, name), { recursive: true });
      for (const [file, bytes] of content) await writeFile(join(root, name, file), bytes);
    };
    await write("in/found", files[3]!);
    await write("in/a b", files[3]!);
    await write("outside", files[2]!);
    await mkdir(join(root, "in", "empty"));
    await symlink(join(root, "outside"), join(root, "in", "linked"), "dir");
    const server = await start({ slots: 1, adapterSource: await adaptersIn(join(root, "in")) });
    try {
      expect(await list(server)).toEqual([{ name: "found", loaded: false, inUse: 0 }]);
      expect((await text(server, "found")).length).toBeGreaterThan(0);
      const names = [
        "../outside",
        "..",
        "in/found",
        join(root, "outside"),
        "a b",
        "empty",
        "linked",
        "found\u0000",
      ];
      for (const name of [...names, "C:\\x", ".", "x".repeat(101), "late"]) {
        const answer = await post(server, "/v1/completions", { ...body(null), model: `tiny:${name}` });
        expect(answer.status).toBe(404);
        expect([400, 404]).toContain((await admin(server, "POST", encodeURIComponent(name))).status);
      }
      await write("in/late", files[1]!);
      expect((await list(server)).map(({ name }) => name)).toEqual(["found", "late"]);
      expect((await admin(server, "POST", "late")).status).toBe(200);
      await expect(adaptersIn(join(root, "none"))).rejects.toThrow(/expected a folder/);
    } finally {
      await server.close();
      await rm(root, { recursive: true });
    }
  });

  test("whose files are bad are refused with the reason, at every request, and hold no place", async () => {
    const bad = new Map(files[0]).set("adapter_model.safetensors", new Uint8Array(4));
    const wide = await adapterFiles(9, 5);
    const server = await start({
      slots: 1,
      adapterSlots: 1,
      adapterRank: 4,
      adapters: { bad, wide, good: files[0]! },
    });
    try {
      for (let i = 0; i < 2; i++) {
        const answer = await post(server, "/v1/completions", body("bad"));
        expect(answer.status).toBe(400);
        const { error } = (await (await post(server, "/v1/completions", body("wide"))).json()) as {
          error: { message: string };
        };
        expect(error.message).toMatch(/a rank of at most 4/);
      }
      expect((await text(server, "good")).length).toBeGreaterThan(0);
    } finally {
      await server.close();
    }
  });
});
