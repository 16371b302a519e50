import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BadServer } from "../test/bad-server.js";
import { openCheckpoint } from "./safetensors.js";
import { encodeSafetensors } from "./safetensors-write.js";
import { openFolder, openSource } from "./source.js";
import { openUrl, openUrlFolder } from "./url-source.js";

let server: BadServer;
beforeAll(async () => {
  server = await BadServer.start();
});
afterAll(() => server.stop());
beforeEach(() => {
  server.files.clear();
  server.redirects.clear();
  server.faults.length = 0;
  server.asked.length = 0;
  server.ranges = true;
  server.etag = undefined;
  server.lastModified = undefined;
});

/** 1 MB in which every place can be told from every other. */
const content = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31 + (i >> 8) * 7) & 255);
const quick = { backoffMs: 1, stallMs: 2000 };
const serve = (bytes = content): string => {
  server.files.set("/file", bytes);
  return `${server.origin}/file`;
};

describe("a file by its address", () => {
  test("is read at any place, each read a request for its bytes only", async () => {
    const source = await openUrl(serve(), quick);
    expect(source.size).toBe(content.length);
    expect(await source.read(999_990, 10)).toEqual(content.subarray(999_990));
    expect(await source.read(300_000, 300_000)).toEqual(content.subarray(300_000, 600_000));
    expect(server.asked.at(-1)?.range).toBe("bytes=300000-599999");
    await source.close();
    await expect(source.read(0, 1)).rejects.toThrow(/expected an open file, got a closed one/);
  });

  test("gives small reads of its head from the first answer", async () => {
    const source = await openUrl(serve(), quick);
    expect(await source.read(0, 8)).toEqual(content.subarray(0, 8));
    expect(await source.read(8, 4000)).toEqual(content.subarray(8, 4008));
    expect(server.asked).toHaveLength(1);
  });

  test("may be empty", async () => {
    const source = await openUrl(serve(new Uint8Array()), quick);
    expect(source.size).toBe(0);
    expect(await source.read(0, 0)).toEqual(new Uint8Array());
  });

  test("is taken as a whole where the server has no ranges, up to a limit", async () => {
    server.ranges = false;
    const source = await openUrl(serve(), quick);
    expect(await source.read(500_000, 5)).toEqual(content.subarray(500_000, 500_005));
    expect(server.asked).toHaveLength(1);
    await expect(openUrl(serve(), { ...quick, maxWholeBytes: 1000 })).rejects.toThrow(
      /a server with range requests, or at most 1000 bytes, got 1000000 bytes without ranges; download/,
    );
  });

  test("is opened by openSource, a folder of them by openFolder", async () => {
    serve();
    expect((await openSource(new URL(`${server.origin}/file`))).size).toBe(content.length);
    expect((await openSource(`${server.origin}/file`)).size).toBe(content.length);
    await expect(openSource(`${server.origin}/absent?secret=1`)).rejects.toThrow(/absent: expected a file/);
    const one = { dtype: "U8", shape: [2], data: new Uint8Array([5, 6]) } as const;
    server.files.set("/m/model.safetensors", await encodeSafetensors({ a: one }));
    const folder = await openFolder(`${server.origin}/m`);
    expect(await folder.open("config.json")).toBeUndefined();
    const archive = await openCheckpoint(folder);
    expect(await archive.tensors.get("a")?.bytes()).toEqual(new Uint8Array([5, 6]));
    await archive.close();
  });

  test("below a folder keeps to names that are files everywhere", async () => {
    server.files.set("/m/1_Pooling/config.json", new Uint8Array([1]));
    const folder = openUrlFolder(`${server.origin}/m/`, quick);
    expect((await folder.open("1_Pooling/config.json"))?.size).toBe(1);
    for (const name of ["../m/x", "a//b", "/etc/passwd", "..", "a\\b", "C:x"]) {
      await expect(folder.open(name), name).rejects.toMatchObject({ code: "LOWRANK_FORMAT" });
    }
  });
});

describe("a server that", () => {
  const readAll = async (address: string, options = {}): Promise<Uint8Array> => {
    const source = await openUrl(address, { ...quick, ...options });
    return source.read(0, source.size);
  };

  test("drops the connection is asked for the rest, of the same file", async () => {
    const source = await openUrl(serve(), quick);
    server.faults.push({ kind: "drop", after: 100_000 }, { kind: "drop", after: 200_000 });
    expect(await source.read(0, content.length)).toEqual(content);
    const [, first, second, third] = server.asked;
    expect(first?.range).toBeUndefined();
    expect(Number(/^bytes=(\d+)-999999$/.exec(second?.range ?? "")?.[1])).toBeGreaterThan(0);
    expect(second?.ifRange).toMatch(/^"[0-9a-f]{64}"$/);
    expect(Number(/^bytes=(\d+)-/.exec(third?.range ?? "")?.[1])).toBeGreaterThan(100_000);
  });

  test("drops the first answer is asked again", async () => {
    server.faults.push({ kind: "drop", after: 10 }, { kind: "silent" });
    expect(await readAll(serve())).toEqual(content);
  });

  test("stalls is left and asked again", async () => {
    const source = await openUrl(serve(), quick);
    server.faults.push({ kind: "stall", after: 5000 });
    expect(await source.read(300_000, 300_000)).toEqual(content.subarray(300_000, 600_000));
  });

  test("ends in good order too early is asked for the rest", async () => {
    const source = await openUrl(serve(), quick);
    server.faults.push({ kind: "truncate", after: 1234 });
    expect(await source.read(300_000, 300_000)).toEqual(content.subarray(300_000, 600_000));
  });

  test("has no ranges and drops is asked for the whole again, and what is known is passed over", async () => {
    server.ranges = false;
    server.faults.push({ kind: "drop", after: 400_000 });
    expect(await readAll(serve())).toEqual(content);
  });

  test("is busy is asked again after the time it names", async () => {
    server.faults.push({ kind: "status", status: 503, headers: { "retry-after": "0" } });
    server.faults.push({ kind: "status", status: 429 });
    expect(await readAll(serve())).toEqual(content);
  });

  test("never comes back is given up, with what to do", async () => {
    for (let i = 0; i < 3; i++) server.faults.push({ kind: "status", status: 500 });
    await expect(readAll(serve(), { retries: 2 })).rejects.toMatchObject({
      code: "LOWRANK_DOWNLOAD",
      message: expect.stringMatching(/an answer within 3 attempts, got status 500; check the connection/),
    });
    const port = Number(new URL(server.origin).port);
    await expect(
      openUrl(`http://127.0.0.1:${port === 1 ? 2 : 1}/x`, { ...quick, retries: 1 }),
    ).rejects.toThrow(/an answer within 2 attempts/);
  });

  test("refuses is not asked again", async () => {
    server.faults.push({ kind: "status", status: 403 });
    await expect(openUrl(serve(), quick)).rejects.toThrow(/got status 403; it may be private/);
    await expect(openUrl(`${server.origin}/absent`, quick)).rejects.toMatchObject({ status: 404 });
    expect(server.asked).toHaveLength(2);
  });

  test.each([
    ["another place", "bytes 1-600000/1000000"],
    ["another length", "bytes 300000-599999/1000001"],
    ["more than was asked for", "bytes 300000-700000/1000000"],
    ["nonsense", "bytes 9-3/2"],
  ])("tells %s is refused", async (_name, header) => {
    const source = await openUrl(serve(), quick);
    server.faults.push({ kind: "range", header });
    await expect(source.read(300_000, 300_000)).rejects.toThrow(
      /expected bytes 300000 to 600000 of 1000000, got/,
    );
  });

  test("sends more than it was asked for is refused", async () => {
    const source = await openUrl(serve(), quick);
    server.faults.push({ kind: "longer" });
    await expect(source.read(300_000, 300_000)).rejects.toThrow(/got more/);
  });

  test("changes the file underfoot is refused, by its tag, its date or its length", async () => {
    const other = content.slice().reverse();
    const change: [string, () => void, () => void][] = [
      ["tag", () => {}, () => serve(other)],
      ["date", () => {}, () => {}],
      ["length", () => {}, () => {}],
    ];
    change[1]![1] = () => {
      server.etag = () => 'W/"weak"';
      server.lastModified = "Sat, 28 Nov 2026 10:00:00 GMT";
    };
    change[1]![2] = () => {
      server.lastModified = "Sat, 28 Nov 2026 10:00:01 GMT";
    };
    change[2]![1] = () => {
      server.etag = () => undefined;
      server.lastModified = undefined;
    };
    change[2]![2] = () => serve(content.subarray(0, 999_999));
    for (const [name, before, after] of change) {
      before();
      const source = await openUrl(serve(), quick);
      after();
      await expect(source.read(300_000, 300_000), name).rejects.toThrow(/has changed on the server/);
    }
  });

  test("drips one byte at a time and breaks off each time is given up", async () => {
    const source = await openUrl(serve(), { ...quick, retries: 3 });
    for (let i = 0; i < 20; i++) server.faults.push({ kind: "drop", after: 1 });
    await expect(source.read(300_000, 300_000)).rejects.toThrow(/within 4 attempts/);
  });
});

describe("a signal", () => {
  test("stops a read that is under way at once and with its reason", async () => {
    const controller = new AbortController();
    const source = await openUrl(serve(), { backoffMs: 1, signal: controller.signal });
    server.faults.push({ kind: "stall", after: 10 });
    const reading = source.read(300_000, 300_000);
    let stopped = 0;
    setTimeout(() => {
      stopped = performance.now();
      controller.abort(new Error("enough"));
    }, 50);
    await expect(reading).rejects.toThrow("enough");
    expect(performance.now() - stopped).toBeLessThan(250); // 50 on a machine that does nothing else
  });

  test("stops a wait between attempts", async () => {
    server.faults.push({ kind: "status", status: 503, headers: { "retry-after": "60" } });
    await expect(openUrl(serve(), { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
  });
});
