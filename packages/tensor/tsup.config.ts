import { library } from "../../tsup.base.js";

export default library({ entry: ["src/index.ts", "src/backend.ts", "src/reference.ts", "src/testing.ts"] });
