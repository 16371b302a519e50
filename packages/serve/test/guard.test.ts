import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Served } from "../src/index.js";
import { start, startBackend } from "./harness.js";

let server: Served;
beforeAll(async () => {
  await startBackend();
  server = await start({ slots: 1, origins: ["http://localhost:5173"] });
});
afterAll(() => server.close());

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** A request with headers of any kind, such as fetch does not let through. */
const send = (headers: Record<string, string>, path = "/v1/models", method = "GET"): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = request(`${server.url}${path}`, { method, headers }, (answer) => {
      let body = "";
      answer.on("data", (part: Buffer) => {
        body += part.toString();
      });
      answer.on("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
    });
    sent.on("error", reject);
    sent.end();
  });

const token = { authorization: "Bearer secret" };

describe("who comes in", () => {
  test("with the token, and nobody without or with another", async () => {
    expect((await send(token)).status).toBe(200);
    expect((await send({})).headers["www-authenticate"]).toBe("Bearer");
    for (const authorization of ["", "Bearer", "Bearer secre", "Bearer secretx", "Basic secret"]) {
      expect((await send({ authorization })).status).toBe(401);
    }
    const path = "/v1/adapters/x";
    expect([(await send({}, path, "DELETE")).status, (await send({}, path, "POST")).status]).toEqual([
      401, 401,
    ]);
  });

  test("under the names of this machine only, whatever the token", async () => {
    for (const host of ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80"]) {
      expect((await send({ ...token, host })).status).toBe(200);
    }
    for (const host of [
      "evil.example",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "localhost@evil",
      "x y",
    ]) {
      expect([400, 421]).toContain((await send({ ...token, host })).status); // 400: no host name at all
      expect([400, 421]).toContain((await send({ host }, "/health")).status);
    }
  });

  test("under further names where they are given", async () => {
    const named = await start({ slots: 1, token: null, hosts: ["box.local"] });
    const status = (host: string): Promise<number> =>
      new Promise((resolve) => {
        request(`${named.url}/v1/models`, { headers: { host } }, (answer) => {
          answer.resume();
          resolve(answer.statusCode!);
        }).end();
      });
    expect([await status("box.local:80"), await status("localhost"), await status("other.local")]).toEqual([
      200, 200, 421,
    ]);
    await named.close();
  });

  test("from no page, or one of those allowed, which is told so", async () => {
    for (const origin of ["https://evil.example", "null", "http://localhost:5174"]) {
      const answer = await send({ ...token, origin });
      expect([answer.status, answer.headers["access-control-allow-origin"]]).toEqual([403, undefined]);
      expect((await send({ origin }, "/v1/models", "OPTIONS")).status).toBe(403);
    }
    const origin = "http://localhost:5173";
    expect((await send({ ...token, origin })).headers["access-control-allow-origin"]).toBe(origin);
    const preflight = await send({ origin }, "/v1/chat/completions", "OPTIONS");
    expect([preflight.status, preflight.headers["access-control-allow-origin"]]).toEqual([204, origin]);
    expect(preflight.headers["access-control-allow-headers"]).toContain("authorization");
    const refused = await send({ origin });
    expect([refused.status, refused.headers["access-control-allow-origin"]]).toEqual([401, origin]);
  });

  test("a token is made where none is given, and none asked for where it is null", async () => {
    const [own, open] = [await start({ token: undefined, slots: 1 }), await start({ token: null, slots: 1 })];
    expect(own.token).toMatch(/^lr-[0-9a-f]{48}$/);
    expect((await fetch(`${own.url}/v1/models`)).status).toBe(401);
    const headers = { authorization: `Bearer ${own.token}` };
    expect((await fetch(`${own.url}/v1/models`, { headers })).status).toBe(200);
    expect((await fetch(`${open.url}/v1/models`)).status).toBe(200);
    await Promise.all([own.close(), open.close()]);
  });

  test("an address in use is told, and settings out of range", async () => {
    const { port } = new URL(server.url);
    await expect(start({ port: Number(port) })).rejects.toThrow(
      /expected a free address, 127.0.0.1:\d+, got one in use/,
    );
    await expect(start({ queue: -1 })).rejects.toThrow(/queue to be an integer from 0/);
    await expect(start({ adapters: { "a/b": "x" } })).rejects.toThrow(/names of adapters of letters/);
  });

  test("faults of the server are told to onError, and not to the one who asked", async () => {
    const told: unknown[] = [];
    const broken = await start({
      slots: 1,
      token: null,
      onError: (error) => told.push(error),
      adapterSource: {
        list: async () => [],
        find: () => Promise.reject(new Error("disk at /secret/path failed")),
      },
    });
    const answer = await fetch(`${broken.url}/v1/adapters/x`, { method: "POST" });
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toContain("secret/path");
    expect(told.map(String)).toEqual(["Error: disk at /secret/path failed"]);
    await broken.close();
  });
});
