export type { ControlDeps, RaftView } from "./deps.ts";
export { createControlHandlers } from "./handlers.ts";
export { createHealthHandlers } from "./health.ts";
export { createWatchHandlers } from "./watch.ts";
