// A process that starts threads and then has nothing more to do.
import { Machine } from "../src/machine.js";

const machine = await Machine.create({ threads: 3, maxMemoryBytes: 2 ** 26 });
while (machine.arrived < 2) await new Promise((done) => setTimeout(done, 2));
console.log("up");
