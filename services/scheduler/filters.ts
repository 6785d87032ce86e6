/** Pure: no clock, no I/O, no randomness. */
import {
  type Constraint,
  hasEnoughGeneric,
  isForeignNode,
  type Mount,
  Mount_Type,
  NodeSpec_Availability,
  NodeStatus_State,
  needsOwnNode,
  nodeMatches,
  type Platform,
  type PluginDescription,
  parseConstraints,
  type Task,
} from "@starling/api";
import { hostPortsOf, type NodeInfo } from "./node-info.ts";

/** Whether the task can run on a node whose object is known. */
export type Check = (info: NodeInfo) => boolean;

/** One reason why a node may not take a task. */
export interface Filter {
  /** The check for this task; undefined when the filter doesn't concern it. */
  checkFor(task: Task): Check | undefined;
  /** Placing other tasks of the same group can change the answer. */
  readonly changesByPlacing: boolean;
  /** What it means that the filter refused `nodes` nodes, in Swarm's words. */
  explain(nodes: number): string;
}

const count = (nodes: number) => (nodes === 1 ? "1 node" : `${nodes} nodes`);

const ready: Filter = {
  changesByPlacing: false,
  checkFor: () => (info) =>
    info.node!.status.state === NodeStatus_State.READY && info.node!.spec.availability === NodeSpec_Availability.ACTIVE,
  explain: (nodes) => `${count(nodes)} not available for new tasks`,
};

const resource: Filter = {
  changesByPlacing: true,
  checkFor(task) {
    const wanted = task.spec.resources?.reservations;
    if (!wanted || (wanted.nanoCpus === 0 && wanted.memoryBytes === 0 && wanted.generic.length === 0)) return undefined;
    return (info) =>
      wanted.nanoCpus <= info.nanoCpusLeft &&
      wanted.memoryBytes <= info.memoryBytesLeft &&
      wanted.generic.every((generic) => hasEnoughGeneric(info.genericLeft, generic));
  },
  explain: (nodes) => `insufficient resources on ${count(nodes)}`,
};

/** Volume, network and log drivers that the task names must be among the node's plugins. */
const plugin: Filter = {
  changesByPlacing: false,
  checkFor(task) {
    const volumes = (task.spec.container?.mounts ?? []).map(volumeDriver).filter((name) => name !== "");
    const networks = task.networks.map(({ network }) => network?.driverState?.name ?? "").filter((name) => name !== "");
    const log = task.spec.logDriver?.name ?? "";
    if (volumes.length + networks.length === 0 && (log === "" || log === "none")) return undefined;
    return ({ node }) => {
      const engine = node!.description?.engine;
      if (engine === undefined) return true;
      // A node that reports no plugins of a type at all does not report that type.
      return (
        volumes.every((name) => hasPlugin(engine.plugins, "Volume", name)) &&
        networks.every((name) => hasPlugin(engine.plugins, "Network", name)) &&
        (log === "" || log === "none" || hasPlugin(engine.plugins, "Log", log) || !reports(engine.plugins, "Log"))
      );
    };
  },
  explain: (nodes) => `missing plugin on ${count(nodes)}`,
};

/** Overlay networks and options beyond Swarm's spec are swarmd's: on a Docker Engine they would silently be missing. */
const ownNode: Filter = {
  changesByPlacing: false,
  checkFor: (task) => (needsOwnNode(task) ? ({ node }) => !isForeignNode(node!.description) : undefined),
  explain: (nodes) => `overlay networks and io.starling options not available on ${count(nodes)} without swarmd`,
};

function volumeDriver(mount: Mount): string {
  const name = mount.type === Mount_Type.VOLUME ? (mount.volumeOptions?.driverConfig?.name ?? "") : "";
  return name === "local" ? "" : name;
}

function hasPlugin(plugins: readonly PluginDescription[], type: string, name: string): boolean {
  return plugins.some((each) => each.type === type && (each.name === name || each.name === `${name}:latest`));
}

function reports(plugins: readonly PluginDescription[], type: string): boolean {
  return plugins.some((each) => each.type === type);
}

const constraint: Filter = {
  changesByPlacing: false,
  checkFor(task) {
    const expressions = task.spec.placement?.constraints ?? [];
    if (expressions.length === 0) return undefined;
    let constraints: readonly Constraint[];
    try {
      constraints = parseConstraints(expressions);
    } catch {
      // The control API refuses malformed constraints; a task that has one nevertheless matches no node.
      return () => false;
    }
    return (info) => nodeMatches(constraints, info.node!);
  },
  explain: (nodes) => `scheduling constraints not satisfied on ${count(nodes)}`,
};

const platform: Filter = {
  changesByPlacing: false,
  checkFor(task) {
    const supported = task.spec.placement?.platforms ?? [];
    if (supported.length === 0) return undefined;
    return ({ node }) => {
      const offered = node!.description?.platform;
      return offered !== undefined && supported.some((wanted) => platformFits(wanted, offered));
    };
  },
  explain: (nodes) => `unsupported platform on ${count(nodes)}`,
};

function platformFits(wanted: Platform, offered: Platform): boolean {
  const architecture = canonical(wanted.architecture);
  return (
    (architecture === "" || architecture === canonical(offered.architecture)) &&
    (wanted.os === "" || wanted.os === offered.os)
  );
}

function canonical(architecture: string): string {
  if (architecture === "x86_64") return "amd64";
  return architecture === "aarch64" ? "arm64" : architecture;
}

const hostPort: Filter = {
  changesByPlacing: true,
  checkFor(task) {
    const ports = hostPortsOf(task);
    return ports.length === 0 ? undefined : (info) => !ports.some((port) => info.usesHostPort(port));
  },
  explain: (nodes) => `host-mode port already in use on ${count(nodes)}`,
};

const maxReplicas: Filter = {
  changesByPlacing: true,
  checkFor(task) {
    const limit = task.spec.placement?.maxReplicas ?? 0;
    return limit === 0 ? undefined : (info) => info.activeTasksOf(task.serviceId) < limit;
  },
  explain: () => "max replicas per node limit exceed",
};

/** Cluster volumes (CSI) are not served yet: tasks that mount one wait and say so. */
const volumes: Filter = {
  changesByPlacing: false,
  checkFor(task) {
    const mounts = task.spec.container?.mounts ?? [];
    return mounts.some((mount) => mount.type === Mount_Type.CLUSTER) ? () => false : undefined;
  },
  explain: (nodes) => `cannot fulfill requested CSI volume mounts on ${count(nodes)}`,
};

/** In the order they are asked; the first refusal counts. */
export const filters: readonly Filter[] = [
  ready,
  resource,
  plugin,
  ownNode,
  constraint,
  platform,
  hostPort,
  maxReplicas,
  volumes,
];
