// A process that makes and destroys many backends, one after the other, and tells its memory in MiB after each tenth.
import { matmul, ones, setDefaultBackend } from "@lowrank/tensor";
import { dawn } from "../src/index.js";

const count = Number(process.argv[2]);
for (let i = 1; i <= count; i++) {
  const backend = await dawn();
  setDefaultBackend(backend);
  if ((await matmul(ones([16, 16]), ones([16, 16])).data())[0] !== 16) throw new Error("wrong numbers");
  await backend.dispose();
  if (i % 10 !== 0) continue;
  globalThis.gc!();
  await new Promise((done) => setTimeout(done, 10));
  console.log(Math.round(process.memoryUsage.rss() / 2 ** 20));
}
