import { describe, expect, test } from "vitest";
import { evaluate, ones, setDefaultBackend } from "@lowrank/tensor";
import { namesIn, describe as describeAdapter, driverHint } from "../src/adapters.js";
import { dawn, findAdapter, listAdapters } from "../src/index.js";
import { flagsOf, loadFault } from "../src/instance.js";
import { program, run } from "./child.js";
import { noGpu } from "./gpu.js";

describe("what goes wrong is told with what to do", () => {
  const text = (cause: object): string => loadFault(cause, "linux-x64").message;

  test("a package that is not there", () => {
    const cause = Object.assign(new Error("Cannot find package 'webgpu' imported from …"), {
      code: "ERR_MODULE_NOT_FOUND",
    });
    expect(text(cause)).toBe(
      'dawn: expected Dawn to load, got no package "webgpu"; install it: npm install webgpu@0.6.2',
    );
  });

  test("a platform without a binary", () => {
    const cause = Object.assign(
      new Error("Cannot find module '…/dist/freebsd-x64/dawn.node'\nRequire stack:"),
      {
        code: "MODULE_NOT_FOUND",
      },
    );
    expect(loadFault(cause, "freebsd-x64").message).toMatch(
      /got no binary for freebsd-x64 .*; it has them for macOS/,
    );
  });

  test("libraries that are too old, foreign or missing", () => {
    expect(
      text(
        new Error("/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by dawn.node)"),
      ),
    ).toMatch(/got a C library without GLIBC_2\.34; use Debian 12/);
    expect(text(new Error("libstdc++.so.6: version `GLIBCXX_3.4.30' not found"))).toMatch(
      /got a C\+\+ library without GLIBCXX_3\.4\.30; use/,
    );
    expect(text(new Error("Error relocating dawn.node: __res_init: symbol not found"))).toMatch(
      /without glibc/,
    );
    expect(
      text(new Error("libstdc++.so.6: cannot open shared object file: No such file or directory")),
    ).toMatch(/; install the library libstdc\+\+\.so\.6$/);
    expect(text(new Error("something else\nat length"))).toMatch(/got something else; or use wasm\(\)/);
  });

  test("options that are out of range", () => {
    expect(() => flagsOf({ api: "cuda" as "vulkan" })).toThrow(
      "dawn: expected api to be one of vulkan, metal, d3d12, d3d11, opengl, opengles, got cuda",
    );
    expect(() => flagsOf({ adapter: "" })).toThrow("listAdapters() gives the names");
    expect(() => flagsOf({ toggles: { enable: ["a,backend=null"] } })).toThrow('got "a,backend=null"');
    expect(
      flagsOf({
        api: "vulkan",
        adapter: "NVIDIA",
        toggles: { enable: ["dump_shaders"], disable: ["a", "b"] },
      }),
    ).toEqual([
      "enable-dawn-features=dump_shaders",
      "disable-dawn-features=a,b",
      "backend=vulkan",
      "adapter=NVIDIA",
    ]);
  });

  test("drivers, for each platform", () => {
    expect(driverHint("linux")).toContain("mesa-vulkan-drivers");
    expect(driverHint("win32")).toContain("Direct3D 12");
    expect(driverHint("darwin")).toContain("Metal");
  });

  test("names are read from what Dawn writes, and programs are told from devices", () => {
    expect(
      namesIn(
        "no adapter\nAvailable adapters:\n * backend: 'vulkan', name: 'A 'b' (c)'\n * backend: 'metal', name: 'M1'",
      ),
    ).toEqual([
      { api: "vulkan", name: "A 'b' (c)" },
      { api: "metal", name: "M1" },
    ]);
    const info = { vendor: "v", architecture: "", device: "", description: "", isFallbackAdapter: false };
    const software = (more: object): boolean =>
      describeAdapter({ ...info, ...more } as GPUAdapterInfo).software;
    expect(software({ description: "Microsoft Basic Render Driver" })).toBe(true);
    expect(software({ architecture: "swiftshader" })).toBe(true);
    expect(software({ isFallbackAdapter: true })).toBe(true);
    expect(software({ description: "NVIDIA H100: 570.1" })).toBe(false);
  });
});

test.runIf(process.platform === "linux")("a machine without a driver gets the words for it", async () => {
  const nowhere = { VK_ICD_FILENAMES: "/nowhere", VK_DRIVER_FILES: "/nowhere" };
  const { stdout, status } = run(await program("exit-child"), ["none"], nowhere);
  expect(stdout).toMatch(
    /^\[\]\nLOWRANK_DEVICE dawn: expected a GPU adapter, got none: no usable driver; install a Vulkan driver.*\nend\n$/,
  );
  expect(status).toBe(0);
});

describe.skipIf(noGpu)("on this machine", () => {
  test("adapters are listed, one is taken by its name, and others are not found", async () => {
    const names = await listAdapters();
    expect(names.length).toBeGreaterThan(0);
    const [{ api, name }] = names as [{ api: "vulkan"; name: string }];
    const found = await findAdapter({ api, adapter: name });
    expect(found.name).not.toBe("");
    expect(typeof found.software).toBe("boolean");
    await expect(findAdapter({ adapter: "no such GPU" })).rejects.toThrow(
      `expected a GPU adapter with the name "no such GPU", got ${names.map((n) => `${n.name} (${n.api})`).join(", ")};`,
    );
    await expect(dawn({ adapter: "no such GPU" })).rejects.toThrow("that listAdapters() gives");
  });

  test("a backend computes, with the options of webgpu(), and is gone after dispose", async () => {
    const backend = await dawn({ maxMemoryBytes: 1 << 20, toggles: { enable: ["disable_symbol_renaming"] } });
    setDefaultBackend(backend);
    expect(backend.adapter).toEqual(await findAdapter());
    expect(Array.from(await ones([3]).mul(2).data())).toEqual([2, 2, 2]);
    await expect(evaluate(ones([1 << 19]).add(1))).rejects.toThrow("maxMemoryBytes");
    await backend.dispose();
    await backend.dispose();
    expect((await backend.device.lost).reason).toBe("destroyed");
    await expect(evaluate(ones([3]).add(1))).rejects.toThrow("one that was disposed");
    await expect(dawn({ maxMemoryBytes: 0.5 })).rejects.toThrow("maxMemoryBytes");
  });

  test.each(["disposed", "left", "running", "used"])(
    "a process ends by itself, its backend %s",
    async (how) => {
      const { stdout, status, signal } = run(await program("exit-child"), [how]);
      expect(stdout).toMatch(how === "used" ? /^16\nwebgpu: expected .*\nend\n$/ : /^16\nend\n$/);
      expect([status, signal]).toEqual([0, null]);
    },
  );
});
