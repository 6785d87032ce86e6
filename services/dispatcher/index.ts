export { AssignmentSet, type DependencyReader, dependenciesOf } from "./assignments.ts";
export { createDispatcher, type DispatcherServer } from "./dispatcher.ts";
export { hostAnswers, isOwnHost } from "./host-probe.ts";
export { createLayerSharingHandlers } from "./layer-sharing/layer-sharing.ts";
export { createNetworkStateHandlers, type NetworkStateOptions } from "./network-state/index.ts";
export { createNodeCalls, type NodeAsker, type NodeCallsOptions } from "./node-calls/index.ts";
export { weightedPeers } from "./peers.ts";
export type { DispatcherOptions, PeerSource } from "./running.ts";
