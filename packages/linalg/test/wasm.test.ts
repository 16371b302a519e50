import { wasm } from "@lowrank/backend-wasm";
import { linalgSuite } from "./suite/suite.js";

linalgSuite("wasm", async () => wasm({ threads: 1 }));
