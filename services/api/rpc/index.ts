export { RpcClient, withoutPings } from "./client.ts";
export {
  addForwarded,
  callerFromSubject,
  forwardedCaller,
  managerRole,
  type PeerSubject,
  requireRole,
  workerRole,
} from "./identity.ts";
export { forEachRequest } from "./incoming.ts";
export { forwardToLeader, type LeaderChannel, type LeaderRoute } from "./leader-proxy.ts";
export { listenLocal, listenRemote, type ServedService, serve, shutDown } from "./listen.ts";
export { Outgoing } from "./outgoing.ts";
export { fromServiceError, toServiceError } from "./rpc-error.ts";
export { addService, type ServiceOptions } from "./server.ts";
export { anonymous, type CallContext, type Caller, type CallOptions, type Handler, type Handlers } from "./types.ts";
