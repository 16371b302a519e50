import type { Backend } from "@lowrank/tensor";
import { describe } from "vitest";
import { activationSuite } from "./activations.js";
import { derivedGradientSuite } from "./derived-gradients.js";
import { factorisationGradientSuite } from "./factorisation-gradients.js";
import { factorisationSuite } from "./factorisations.js";
import { formatSuite } from "./formats.js";
import { type Accuracy, goldenSuite } from "./goldens.js";
import { klsSuite } from "./kls.js";
import { manifoldSuite } from "./manifolds.js";
import { matrixFunctionSuite } from "./matrix-functions.js";
import { measureSuite } from "./measures.js";
import { randomizedSuite } from "./randomized.js";
import { refusalSuite } from "./refusals.js";
import { singleSuite } from "./single.js";
import { solverSuite } from "./solvers.js";
import { stiefelSuite } from "./stiefel.js";
import { tensorTrainSuite } from "./tensor-trains.js";
import { truncationSuite } from "./truncation.js";
import { tuckerSuite } from "./tucker.js";

/** All that is true of this package on any backend. */
export function linalgSuite(name: string, makeBackend: () => Promise<Backend>, accuracy?: Accuracy): void {
  describe(`linalg on ${name}`, () => {
    factorisationSuite(makeBackend);
    factorisationGradientSuite(makeBackend);
    solverSuite(makeBackend);
    matrixFunctionSuite(makeBackend);
    derivedGradientSuite(makeBackend);
    goldenSuite(makeBackend, accuracy);
    refusalSuite(makeBackend);
    measureSuite(makeBackend);
    truncationSuite(makeBackend);
    randomizedSuite(makeBackend);
    tuckerSuite(makeBackend);
    tensorTrainSuite(makeBackend);
    formatSuite(makeBackend);
    stiefelSuite(makeBackend);
    manifoldSuite(makeBackend);
    klsSuite(makeBackend);
    singleSuite(makeBackend);
    activationSuite(makeBackend);
  });
}
