export { createNodeCalls, type NodeAsker, type NodeCallsOptions } from "./node-calls.ts";
