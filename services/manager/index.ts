export { awaitUnlock } from "./locked.ts";
export { Manager, type ManagerOptions } from "./manager.ts";
