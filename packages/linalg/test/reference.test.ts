import { reference } from "@lowrank/tensor/reference";
import { linalgSuite } from "./suite/suite.js";

linalgSuite("reference", async () => reference());
