export { ownTasksCgroup } from "./connect-time.ts";
export { type FollowOptions, followNetworkState } from "./follow.ts";
export { NodeNetwork, type NodeNetworkOptions } from "./node-network.ts";
