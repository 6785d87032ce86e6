export { exitCodes, run, type Surroundings } from "./program.ts";
