export { createNodeCalls, type NodeCallsOptions } from "./node-calls.ts";
