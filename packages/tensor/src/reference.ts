/** The reference backend by itself: float64 throughout, slow, right by inspection. */
export { reference, type ReferenceOptions } from "./reference/backend.js";
