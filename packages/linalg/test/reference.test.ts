import { reference } from "@lowrank/tensor/reference";
import { largeSpectrumSuite } from "./suite/goldens.js";
import { largeSuite } from "./suite/large.js";
import { linalgSuite } from "./suite/suite.js";

const makeBackend = async () => reference();
linalgSuite("reference", makeBackend);
largeSuite(makeBackend, [
  [24, 24],
  [40, 16],
]);
largeSpectrumSuite(makeBackend, [128], ["f64"]);
