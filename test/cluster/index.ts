export { type ClusterOptions, sweep, TestCluster } from "./cluster.ts";
export type { Host, HostProcess, SpawnInHostOptions } from "./host.ts";
export { type Load, type LoadResult, startLoad } from "./load.ts";
export { cacheFolder, repositoryRoot } from "./paths.ts";
export type { HostPlan } from "./plan.ts";
export { type ExecOptions, type ExecResult, exec, mustExec } from "./run.ts";
export { type NodeRow, type Programs, type Role, roleOf, Swarm } from "./swarm.ts";
export { until } from "./until.ts";
