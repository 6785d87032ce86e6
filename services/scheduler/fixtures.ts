/** Pure: no clock, no I/O, no randomness. */
import {
  Annotations,
  ContainerSpec,
  Endpoint,
  EngineDescription,
  type GenericResource,
  Mount,
  Mount_Type,
  type Network,
  NetworkAttachment,
  Node,
  NodeDescription,
  NodeSpec,
  NodeStatus,
  NodeStatus_State,
  Placement,
  type PlacementPreference,
  Platform,
  PluginDescription,
  PortConfig,
  PortConfig_PublishMode,
  ResourceRequirements,
  Resources,
  SpreadOver,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  Version,
} from "@starling/api";
import { NodeSet } from "./node-set.ts";

/** Objects for tests: a READY node with 4 CPUs and 4 GiB, a PENDING task that is to run; `over` says what differs. */
export interface NodeOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly engineLabels?: Readonly<Record<string, string>>;
  readonly cpus?: number;
  readonly memory?: number;
  readonly generic?: readonly GenericResource[];
  readonly arch?: string;
  readonly state?: NodeStatus_State;
  readonly availability?: NodeSpec["availability"];
  /** `Type/name`; none: the node does not say. */
  readonly plugins?: readonly string[];
}

export const GIB = 1024 ** 3;

export function node(id: string, options: NodeOptions = {}): Node {
  return Node.create({
    id,
    spec: NodeSpec.create({
      annotations: Annotations.create({ labels: options.labels ?? {} }),
      availability: options.availability ?? 0,
    }),
    status: NodeStatus.create({ state: options.state ?? NodeStatus_State.READY }),
    description: NodeDescription.create({
      hostname: id,
      platform: Platform.create({ os: "linux", architecture: options.arch ?? "x86_64" }),
      engine: EngineDescription.create({
        labels: options.engineLabels ?? {},
        plugins: (options.plugins ?? []).map(pluginOf),
      }),
      resources: Resources.create({
        nanoCpus: (options.cpus ?? 4) * 1e9,
        memoryBytes: options.memory ?? 4 * GIB,
        generic: options.generic ?? [],
      }),
    }),
  });
}

function pluginOf(text: string): PluginDescription {
  const [type = "", name = ""] = text.split("/");
  return PluginDescription.create({ type, name });
}

/** A set of such nodes. */
export function nodeSet(nodes: Readonly<Record<string, NodeOptions>>): NodeSet {
  const set = new NodeSet();
  for (const [id, options] of Object.entries(nodes)) set.ensure(id).setNode(node(id, options));
  return set;
}

export interface TaskOptions {
  readonly service?: string;
  readonly specVersion?: number;
  readonly nodeId?: string;
  readonly state?: TaskState;
  readonly desired?: TaskState;
  readonly cpus?: number;
  readonly memory?: number;
  readonly generic?: readonly GenericResource[];
  readonly constraints?: readonly string[];
  readonly spread?: readonly string[];
  readonly platforms?: readonly Platform[];
  readonly maxReplicas?: number;
  readonly hostPort?: number;
  readonly networks?: readonly Network[];
  readonly slot?: number;
  /** Named volumes of the node that it mounts. */
  readonly volumes?: readonly string[];
  /** Of the container. */
  readonly taskLabels?: Readonly<Record<string, string>>;
}

export function task(id: string, options: TaskOptions = {}): Task {
  const reservations = Resources.create({
    nanoCpus: (options.cpus ?? 0) * 1e9,
    memoryBytes: options.memory ?? 0,
    generic: options.generic ?? [],
  });
  return Task.create({
    id,
    serviceId: options.service ?? "web",
    slot: options.slot ?? 0,
    specVersion: Version.create({ index: options.specVersion ?? 1 }),
    nodeId: options.nodeId ?? "",
    desiredState: options.desired ?? TaskState.RUNNING,
    status: TaskStatus.create({ state: options.state ?? TaskState.PENDING, message: "pending task scheduling" }),
    spec: TaskSpec.create({
      container: containerWith(options.volumes ?? [], options.taskLabels),
      resources: ResourceRequirements.create({ reservations }),
      placement: Placement.create({
        constraints: options.constraints ?? [],
        preferences: (options.spread ?? []).map(spreadOver),
        platforms: options.platforms ?? [],
        maxReplicas: options.maxReplicas ?? 0,
      }),
    }),
    networks: (options.networks ?? []).map((network) => NetworkAttachment.create({ network })),
    ...(options.hostPort && { endpoint: Endpoint.create({ ports: [hostPort(options.hostPort)] }) }),
  });
}

function containerWith(volumes: readonly string[], labels: Readonly<Record<string, string>> = {}): ContainerSpec {
  const mounts = volumes.map((source) => Mount.create({ type: Mount_Type.VOLUME, source, target: `/${source}` }));
  return ContainerSpec.create({ mounts, labels });
}

function spreadOver(spreadDescriptor: string): PlacementPreference {
  return { spread: SpreadOver.create({ spreadDescriptor }) };
}

function hostPort(publishedPort: number): PortConfig {
  return PortConfig.create({ publishedPort, targetPort: 80, publishMode: PortConfig_PublishMode.HOST });
}
