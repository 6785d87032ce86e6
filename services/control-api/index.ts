export type { ControlDeps, ImageResolver, RaftView, RootCaView } from "./deps.ts";
export { createControlHandlers } from "./handlers.ts";
export { createHealthHandlers } from "./health.ts";
export { createResourceAllocatorHandlers } from "./resource-allocator.ts";
export { createWatchHandlers } from "./watch.ts";
