export { AssignmentSet, type DependencyReader, dependenciesOf } from "./assignments.ts";
export { createDispatcher, type DispatcherServer } from "./dispatcher.ts";
export { peersOfStore, weightedPeers } from "./peers.ts";
export type { DispatcherOptions, PeerSource } from "./running.ts";
