export { Agent, type AgentOptions } from "./agent.ts";
export { type NodeHandlers, type NodeMethod, nodeMethods } from "./calls/node-service.ts";
export { ContainerExecutor, type ContainerExecutorOptions } from "./container/executor.ts";
export { readIdMaps } from "./container/id-maps.ts";
export { type CollectorSettings, defaultCollectorSettings } from "./container/image/image-collector.ts";
export { ImageStore } from "./container/image/image-store.ts";
export { ImagePuller } from "./container/image/puller.ts";
export type { PeerTls } from "./container/image/sharing/tls.ts";
export { defaultSeccompProgram } from "./container/privileges.ts";
export { Dependencies } from "./dependencies/dependencies.ts";
export {
  type Controller,
  type Executor,
  ExitError,
  FatalTaskError,
  type LogChunk,
  TemporaryError,
} from "./exec/controller.ts";
export { type NetnsRef, type NetworkAttacher, type NetworkFiles, noNetwork } from "./exec/network-attacher.ts";
export { collectTaskMetrics } from "./metrics.ts";
export {
  type FollowOptions,
  followNetworkState,
  NodeNetwork,
  type NodeNetworkOptions,
  ownTasksCgroup,
} from "./network/index.ts";
export { Remotes } from "./remotes.ts";
export type { Session } from "./session.ts";
export type { DependencySink } from "./worker.ts";
