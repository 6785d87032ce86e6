export { Manager, type ManagerOptions } from "./manager.ts";
