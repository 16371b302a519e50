// A process that computes on the GPU and then has nothing more to do. Its argument says how it leaves its backend.
import { evaluate, matmul, ones, setDefaultBackend } from "@lowrank/tensor";
import { dawn, findAdapter, listAdapters } from "../src/index.js";

process.on("exit", () => console.log("end"));
const how = process.argv[2];

if (how === "none") {
  console.log(JSON.stringify(await listAdapters()));
  await findAdapter().catch((error: { code: string; message: string }) =>
    console.log(error.code, error.message),
  );
} else {
  const backend = await dawn();
  setDefaultBackend(backend);
  Object.assign(globalThis, { backend }); // the longest that a program can hold it
  console.log((await matmul(ones([16, 16]), ones([16, 16])).data())[0]);
  if (how === "running") void evaluate(matmul(ones([256, 256]), ones([256, 256])));
  if (how === "disposed" || how === "used") await backend.dispose();
  if (how === "used") {
    for (let i = 0; i < 4; i++) {
      globalThis.gc!();
      await new Promise((done) => setTimeout(done, 10));
    }
    backend.device.createBuffer({ size: 16, usage: 8 }); // on a dead device: nothing, but no crash
    await evaluate(ones([4]).add(1)).catch((error: Error) => console.log(error.message));
  }
}
