import { create, globals } from "webgpu";

/** Gives Node what a library looks for in a browser: importing this file does it, before the library is imported. */
Object.assign(globalThis, globals);
Object.defineProperty(globalThis.navigator, "gpu", { value: create([]), configurable: true });
