export { type FollowOptions, followNetworkState } from "./follow.ts";
export { NodeNetwork, type NodeNetworkOptions } from "./node-network.ts";
