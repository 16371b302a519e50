import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BadServer } from "../test/bad-server.js";
import { openUrl } from "./url-source.js";
import { checkAddress, checkRedirect, isPrivateHost } from "./web-address.js";

test.each([
  "localhost",
  "LOCALHOST.",
  "a.localhost",
  "127.0.0.1",
  "127.9.9.9",
  "10.0.0.1",
  "172.16.0.1",
  "172.31.255.255",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "0.0.0.0",
  "198.18.0.1",
  "224.0.0.1",
  "255.255.255.255",
  "[::1]",
  "[::]",
  "[fe80::1]",
  "[fc00::1]",
  "[fd12:3456::1]",
  "[ff02::1]",
  "[::ffff:10.0.0.1]",
  "[::ffff:a00:1]",
  "[64:ff9b::7f00:1]",
  "[2002:7f00:1::]",
  "[2001:db8::1]",
  "router",
  "printer.local",
  "metadata.google.internal",
])("%s is private", (host) => {
  expect(isPrivateHost(host)).toBe(true);
  // As a URL spells it: in hexadecimal, octal or as one number it comes out the same.
  expect(isPrivateHost(new URL(`https://${host}/`).hostname)).toBe(true);
});

test.each(["0x7f000001", "2130706433", "017700000001", "127.1"])("%s is seen to be loopback", (host) => {
  expect(isPrivateHost(new URL(`https://${host}/`).hostname)).toBe(true);
});

test.each([
  "example.org",
  "8.8.8.8",
  "172.32.0.1",
  "[2606:4700::1111]",
  "[2a00:1450::1]",
  "[::ffff:8.8.8.8]",
])("%s is public", (host) => {
  expect(isPrivateHost(new URL(`https://${host}/`).hostname)).toBe(false);
});

test("an address is https without a password, or http on this machine", () => {
  const check = (address: string, allowedHosts?: string[]) => () =>
    checkAddress(new URL(address), { allowedHosts });
  expect(check("http://example.org/x")).toThrow(/expected https, or http on this machine, got "http"/);
  expect(check("ftp://example.org/x")).toThrow(/got "ftp"/);
  expect(check("https://me:secret@example.org/x")).toThrow(
    /^"https:\/\/example\.org\/x": expected an address without/,
  );
  expect(check("http://127.0.0.1:8000/x")).not.toThrow();
  expect(check("https://example.org/x")).not.toThrow();
  expect(check("https://evil.org/", ["example.org", "*.hf.co"])).toThrow(
    /a host among example\.org, \*\.hf\.co/,
  );
  expect(check("https://evilhf.co/", ["*.hf.co"])).toThrow(/a host among/);
  expect(check("https://example.org:8443/", ["example.org"])).toThrow(/a host among/);
  expect(check("https://cdn.hf.co/", ["*.hf.co"])).not.toThrow();
});

describe("a redirect", () => {
  const from = new URL("https://example.org/a");
  const go = (to: string, addresses: string[] = []) =>
    checkRedirect(from, new URL(to), { lookup: async () => addresses });

  test("leads to public hosts only", async () => {
    await go("https://cdn.example.net/b", ["93.184.216.34"]);
    await expect(go("https://10.0.0.1/b")).rejects.toThrow(
      /no redirect to a private address, got one to "10\.0\.0\.1"/,
    );
    await expect(go("https://[::ffff:127.0.0.1]/b")).rejects.toThrow(/private address/);
    await expect(go("http://cdn.example.net/b")).rejects.toThrow(/expected https/);
    await expect(go("http://127.0.0.1/b")).rejects.toThrow(/private address/);
    await expect(go("file:///etc/passwd")).rejects.toThrow(/expected https/);
  });

  test("may not lead to a name that stands for a private address", async () => {
    await expect(go("https://rebind.example.net/b", ["93.184.216.34", "192.168.0.1"])).rejects.toThrow(
      /"rebind\.example\.net", which is 192\.168\.0\.1/,
    );
  });
});

describe("over the wire", () => {
  let one: BadServer;
  let two: BadServer;
  beforeAll(async () => {
    one = await BadServer.start();
    two = await BadServer.start();
    two.files.set("/file", new Uint8Array([7]));
  });
  afterAll(async () => {
    await one.stop();
    await two.stop();
  });

  test("a redirect to another port of this machine is not followed, unless its host is allowed", async () => {
    one.redirects.set("/file", `${two.origin}/file`);
    await expect(openUrl(`${one.origin}/file`)).rejects.toThrow(/no redirect to a private address/);
    expect(two.asked).toHaveLength(0);
    const allowedHosts = [new URL(one.origin).host, new URL(two.origin).host];
    expect((await openUrl(`${one.origin}/file`, { allowedHosts })).size).toBe(1);
  });

  test("headers of the caller go to the first origin only", async () => {
    two.asked.length = 0;
    one.asked.length = 0;
    const allowedHosts = [new URL(one.origin).host, new URL(two.origin).host];
    await openUrl(`${one.origin}/file`, { allowedHosts, headers: { authorization: "Bearer secret" } });
    expect(one.asked[0]?.authorization).toBe("Bearer secret");
    expect(two.asked[0]?.authorization).toBeUndefined();
    expect(two.asked[0]?.range).toBeDefined();
  });

  test("a redirect on the same host is followed, and a loop of them ends", async () => {
    two.redirects.set("/moved", "/file");
    expect((await openUrl(`${two.origin}/moved`)).size).toBe(1);
    two.redirects.set("/loop", "/loop");
    await expect(openUrl(`${two.origin}/loop`)).rejects.toThrow(/at most 8 redirects/);
    two.redirects.set("/odd", "https://[");
    await expect(openUrl(`${two.origin}/odd`)).rejects.toThrow(/a redirect to an address/);
  });
});
