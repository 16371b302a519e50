import { library } from "../../tsup.base.js";

// Without splitting, the CommonJS build keeps `import()`: the libraries that draw a report are ES modules only.
export default library({ platform: "node", splitting: false });
