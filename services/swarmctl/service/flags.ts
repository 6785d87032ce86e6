import { readFileSync } from "node:fs";
import type { ContainerSpec_Ulimit, Duration, GenericResource, Mount, NetworkAttachmentConfig } from "@starling/api";
import {
  balanceNames,
  ContainerSpec_Isolation,
  EndpointSpec_ResolutionMode,
  Mount_Type,
  type PortConfig,
  parseGenericResources,
  RestartPolicy_RestartCondition,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from "@starling/api";
import type { FlagDefinition } from "../command.ts";
import { type FileReference, parseFileReference } from "../flags/file-reference.ts";
import { parseMount, parsePairMount, parseTmpfs } from "../flags/mount.ts";
import { parseNetworkAttachment } from "../flags/network-attachment.ts";
import { type PlacementFlags, placementFlags } from "../flags/placement.ts";
import { parseNamedPort, parsePublish } from "../flags/port.ts";
import { parseUlimit } from "../flags/ulimit.ts";
import {
  choose,
  durationText,
  parseBytes,
  parseCount,
  parseDuration,
  parseInteger,
  parseNanoCpus,
  parseRatio,
  splitArguments,
  splitCommas,
} from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import { type CredentialSpec, parseCredentialSpec } from "./credential-spec.ts";
import { type RuntimeFlags, runtimeFlags } from "./runtime-flags.ts";

/** What `service create` and `service update` share, parsed. Absent means: not given. */
export interface ServiceFlags extends RuntimeFlags, Pick<PlacementFlags, "placementStrategy" | "rebalance"> {
  readonly name?: string;
  readonly label?: readonly string[];
  readonly containerLabel?: readonly string[];
  readonly image?: string;
  readonly withRegistryAuth?: boolean;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly hostname?: string;
  readonly workdir?: string;
  readonly user?: string;
  readonly group?: readonly string[];
  readonly tty?: boolean;
  readonly openStdin?: boolean;
  readonly readOnly?: boolean;
  readonly init?: boolean;
  readonly stopSignal?: string;
  readonly stopGracePeriod?: Duration;
  readonly drainTime?: string;
  readonly publishNotReady?: boolean;
  readonly oomScoreAdj?: number;
  readonly mount?: readonly Mount[];
  readonly bind?: readonly Mount[];
  readonly volume?: readonly Mount[];
  readonly npipe?: readonly Mount[];
  readonly tmpfs?: readonly Mount[];
  readonly secret?: readonly FileReference[];
  readonly config?: readonly FileReference[];
  readonly host?: readonly string[];
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOption?: readonly string[];
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly sysctl?: readonly string[];
  readonly ulimit?: readonly ContainerSpec_Ulimit[];
  readonly isolation?: ContainerSpec_Isolation;
  readonly credentialSpec?: CredentialSpec;
  readonly healthCmd?: string;
  readonly healthInterval?: Duration;
  readonly healthTimeout?: Duration;
  readonly healthRetries?: number;
  readonly healthStartPeriod?: Duration;
  readonly healthStartInterval?: Duration;
  /** False with `--no-healthcheck`. */
  readonly healthcheck?: boolean;
  readonly limitCpu?: number;
  readonly limitMemory?: number;
  readonly limitPids?: number;
  readonly memorySwap?: number;
  readonly memorySwappiness?: number;
  readonly reserveCpu?: number;
  readonly reserveMemory?: number;
  readonly cpuLimit?: number;
  readonly memoryLimit?: number;
  readonly cpuReservation?: number;
  readonly memoryReservation?: number;
  readonly genericResources?: readonly GenericResource[];
  readonly genericResource?: readonly GenericResource[];
  readonly mode?: string;
  readonly replicas?: number;
  readonly maxConcurrent?: number;
  readonly constraint?: readonly string[];
  readonly placementPref?: readonly string[];
  readonly replicasMaxPerNode?: number;
  readonly restartCondition?: RestartPolicy_RestartCondition;
  readonly restartDelay?: Duration;
  readonly restartMaxAttempts?: number;
  readonly restartWindow?: Duration;
  readonly updateParallelism?: number;
  readonly updateDelay?: Duration;
  readonly updateMonitor?: Duration;
  readonly updateMaxFailureRatio?: number;
  readonly updateFailureAction?: UpdateConfig_FailureAction;
  readonly updateOnFailure?: UpdateConfig_FailureAction;
  readonly updateDeadline?: string;
  readonly preferLocal?: boolean;
  readonly balance?: string;
  readonly publishOn?: readonly string[];
  readonly updateOrder?: UpdateConfig_UpdateOrder;
  readonly rollbackParallelism?: number;
  readonly rollbackDelay?: Duration;
  readonly rollbackMonitor?: Duration;
  readonly rollbackMaxFailureRatio?: number;
  readonly rollbackFailureAction?: UpdateConfig_FailureAction;
  readonly rollbackOnFailure?: UpdateConfig_FailureAction;
  readonly rollbackOrder?: UpdateConfig_UpdateOrder;
  readonly network?: readonly NetworkAttachmentConfig[];
  readonly publish?: readonly PortConfig[];
  readonly ports?: readonly PortConfig[];
  readonly endpointMode?: EndpointSpec_ResolutionMode;
  readonly logDriver?: string;
  readonly logOpt?: readonly string[];
}

const failureActions = {
  pause: UpdateConfig_FailureAction.PAUSE,
  continue: UpdateConfig_FailureAction.CONTINUE,
  rollback: UpdateConfig_FailureAction.ROLLBACK,
};
const rollbackActions = { pause: failureActions.pause, continue: failureActions.continue };
const orders = {
  "stop-first": UpdateConfig_UpdateOrder.STOP_FIRST,
  "start-first": UpdateConfig_UpdateOrder.START_FIRST,
};
const restartConditions = {
  none: RestartPolicy_RestartCondition.NONE,
  "on-failure": RestartPolicy_RestartCondition.ON_FAILURE,
  failure: RestartPolicy_RestartCondition.ON_FAILURE,
  any: RestartPolicy_RestartCondition.ANY,
};
const isolations = {
  default: ContainerSpec_Isolation.ISOLATION_DEFAULT,
  process: ContainerSpec_Isolation.ISOLATION_PROCESS,
  hyperv: ContainerSpec_Isolation.ISOLATION_HYPERV,
};
const resolutionModes = { vip: EndpointSpec_ResolutionMode.VIP, dnsrr: EndpointSpec_ResolutionMode.DNSRR };
const parseGeneric = (text: string) => parseGenericResources(text.split(","));

/** `update` and `rollback` take the same flags, but a rollback that fails can't roll back. */
function updateFlags(what: "update" | "rollback"): readonly FlagDefinition[] {
  const actions = what === "update" ? failureActions : rollbackActions;
  const words = Object.keys(actions).join("|");
  return [
    {
      flags: `--${what}-parallelism <count>`,
      help: `Tasks per ${what} step (0 = all at once)`,
      parse: (text) => parseCount(text),
    },
    { flags: `--${what}-delay <duration>`, help: `Delay between ${what} steps`, parse: parseDuration },
    {
      flags: `--${what}-monitor <duration>`,
      help: `How long a task is watched after its ${what}`,
      parse: parseDuration,
    },
    {
      flags: `--${what}-max-failure-ratio <ratio>`,
      help: `Share of failures that the ${what} bears`,
      parse: parseRatio,
    },
    { flags: `--${what}-failure-action <action>`, help: `On failure: ${words}`, parse: choose(actions) },
    { flags: `--${what}-on-failure <action>`, help: "As the flag above", parse: choose(actions), hidden: true },
    { flags: `--${what}-order <order>`, help: "stop-first or start-first", parse: choose(orders) },
  ];
}

const parseSwap = (text: string) => (text === "-1" ? -1 : parseBytes(text));

function readProfile(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (thrown) {
    throw new UsageError(`cannot read the file: ${(thrown as Error).message}`);
  }
}

/** Flags with which `create` and `update` set a value anew. */
export const serviceFlags: readonly FlagDefinition[] = [
  { flags: "--name <name>", help: "Service name" },
  { flags: "-l, --label <key=value>", help: "Service label", list: true },
  { flags: "--container-label <key=value>", help: "Container label", list: true },
  { flags: "--image <image>", help: "Container image" },
  { flags: "--with-registry-auth", help: "Send the credentials of `registry login` to the nodes" },
  { flags: "--command <words>", help: "Override the image's entrypoint", parse: splitArguments, list: true },
  { flags: "--entrypoint <words>", help: "As --command", parse: splitArguments, list: true },
  { flags: "--args <words>", help: "Container arguments: a,b or 'a b'", parse: splitArguments, list: true },
  { flags: "-e, --env <name=value>", help: "Environment variable", list: true },
  { flags: "--env-file <file>", help: "File with environment variables, one a line", list: true },
  { flags: "--hostname <name>", help: "Container hostname" },
  { flags: "-w, --workdir <path>", help: "Working directory in the container" },
  { flags: "-u, --user <user[:group]>", help: "User in the container" },
  { flags: "--group <group>", help: "Additional group of the user", list: true },
  { flags: "-t, --tty", help: "Open a terminal on standard streams" },
  { flags: "--no-tty", help: "No terminal", hidden: true },
  { flags: "--open-stdin", help: "Open standard input" },
  { flags: "--no-open-stdin", help: "No standard input", hidden: true },
  { flags: "--read-only", help: "Root file system can't be written" },
  { flags: "--no-read-only", help: "Root file system can be written", hidden: true },
  { flags: "--init", help: "Run an init that forwards signals and reaps processes" },
  { flags: "--no-init", help: "No init", hidden: true },
  { flags: "--stop-signal <signal>", help: "Signal that stops the container" },
  { flags: "--publish-not-ready", help: "Names and balancers lead to tasks that are not healthy yet" },
  { flags: "--no-publish-not-ready", help: "They lead to healthy tasks only", hidden: true },
  {
    flags: "--drain-time <duration>",
    help: "Time for connections to end before the stop signal (2s)",
    parse: durationText,
  },
  {
    flags: "--stop-grace-period <duration>",
    help: "Time before a stopped container is killed (10s)",
    parse: parseDuration,
  },
  { flags: "--oom-score-adj <number>", help: "Preference of the OOM killer (-1000 to 1000)", parse: parseInteger },
  {
    flags: "--mount <options>",
    help: "Mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]",
    parse: parseMount,
    list: true,
  },
  { flags: "--bind <source:target>", help: "Bind mount", parse: parsePairMount(Mount_Type.BIND), list: true },
  { flags: "--volume <name:target>", help: "Volume mount", parse: parsePairMount(Mount_Type.VOLUME), list: true },
  { flags: "--npipe <source:target>", help: "Named pipe mount", parse: parsePairMount(Mount_Type.NPIPE), list: true },
  { flags: "--tmpfs <target[:options]>", help: "Tmpfs mount", parse: parseTmpfs, list: true },
  { flags: "--secret <name[:target]>", help: "Secret to hand to the container", parse: parseFileReference, list: true },
  { flags: "--config <name[:target]>", help: "Config to hand to the container", parse: parseFileReference, list: true },
  { flags: "--host <name:address>", help: "Entry for /etc/hosts", list: true },
  { flags: "--dns <address>", help: "Name server", list: true },
  { flags: "--dns-search <domain>", help: "Search domain", list: true },
  { flags: "--dns-option <option>", help: "Resolver option", list: true },
  { flags: "--cap-add <capability>", help: "Add a capability", list: true },
  { flags: "--cap-drop <capability>", help: "Drop a capability", list: true },
  { flags: "--sysctl <name=value>", help: "Kernel parameter of the container", list: true },
  { flags: "--ulimit <name=soft[:hard]>", help: "Resource limit", parse: parseUlimit, list: true },
  {
    flags: "--isolation <mode>",
    help: "default, process or hyperv (the latter two: Windows nodes)",
    parse: choose(isolations),
  },
  {
    flags: "--credential-spec <source>",
    help: "Of Windows nodes: config://NAME, file://FILE or registry://KEY",
    parse: parseCredentialSpec,
  },
  { flags: "--health-cmd <command>", help: "Command that checks health" },
  { flags: "--health-interval <duration>", help: "Time between checks", parse: parseDuration },
  { flags: "--health-timeout <duration>", help: "Longest run of a check", parse: parseDuration },
  { flags: "--health-retries <count>", help: "Failures in a row before unhealthy", parse: (text) => parseCount(text) },
  {
    flags: "--health-start-period <duration>",
    help: "Time to start, in which failures don't count",
    parse: parseDuration,
  },
  { flags: "--health-start-interval <duration>", help: "Time between checks while starting", parse: parseDuration },
  { flags: "--no-healthcheck", help: "Ignore the image's health check" },
  { flags: "--limit-cpu <cpus>", help: "CPU limit in cores", parse: parseNanoCpus },
  { flags: "--limit-memory <bytes>", help: "Memory limit (512m)", parse: parseBytes },
  { flags: "--limit-pids <count>", help: "Limit of processes (0 = none)", parse: (text) => parseCount(text) },
  { flags: "--memory-swap <bytes>", help: "Swap on top of the memory limit (-1 = any)", parse: parseSwap },
  {
    flags: "--memory-swappiness <percent>",
    help: "How readily it swaps (0 to 100)",
    parse: (text) => parseCount(text),
  },
  { flags: "--reserve-cpu <cpus>", help: "CPU to reserve", parse: parseNanoCpus },
  { flags: "--reserve-memory <bytes>", help: "Memory to reserve", parse: parseBytes },
  { flags: "--cpu-limit <cpus>", help: "As --limit-cpu", parse: parseNanoCpus, hidden: true },
  { flags: "--memory-limit <bytes>", help: "As --limit-memory", parse: parseBytes, hidden: true },
  { flags: "--cpu-reservation <cpus>", help: "As --reserve-cpu", parse: parseNanoCpus, hidden: true },
  { flags: "--memory-reservation <bytes>", help: "As --reserve-memory", parse: parseBytes, hidden: true },
  { flags: "--generic-resource <kind=count>", help: "Generic resource to reserve", parse: parseGeneric, list: true },
  {
    flags: "--generic-resources <list>",
    help: "As above: gpu=3,fpga=1",
    parse: parseGeneric,
    list: true,
    hidden: true,
  },
  { flags: "--replicas <count>", help: "Number of tasks", parse: (text) => parseCount(text) },
  { flags: "--max-concurrent <count>", help: "Tasks of a job at a time", parse: (text) => parseCount(text, 1) },
  {
    flags: "--replicas-max-per-node <count>",
    help: "Most tasks on one node (0 = any)",
    parse: (text) => parseCount(text),
  },
  { flags: "--constraint <expression>", help: "Placement constraint: node.labels.KEY==VALUE", list: true },
  { flags: "--placement-pref <spread>", help: "Placement preference: spread=node.labels.KEY", list: true },
  ...placementFlags,
  { flags: "--restart-condition <condition>", help: "none, on-failure or any", parse: choose(restartConditions) },
  { flags: "--restart-delay <duration>", help: "Delay between restarts (5s)", parse: parseDuration },
  { flags: "--restart-max-attempts <count>", help: "Most restarts (0 = any)", parse: (text) => parseCount(text) },
  {
    flags: "--restart-window <duration>",
    help: "Time in which restarts are counted (0s = ever)",
    parse: parseDuration,
  },
  ...updateFlags("update"),
  {
    flags: "--update-deadline <duration>",
    help: "An update has failed when its tasks do not all run by then (0: never)",
    parse: durationText,
  },
  ...updateFlags("rollback"),
  {
    flags: "--balance <way>",
    help: "Task of a new connection: random; source: same client, same task",
    parse: choose(Object.fromEntries(balanceNames.map((name) => [name, name]))),
  },
  { flags: "--prefer-local", help: "A node sends connections to its own tasks while it has some" },
  { flags: "--no-prefer-local", help: "Connections go to all tasks alike", hidden: true },
  {
    flags: "--network <network>",
    help: "Network to attach to; host or none",
    parse: parseNetworkAttachment,
    list: true,
  },
  {
    flags: "--publish-on <address>",
    help: "Hosts' IPv4 or IPv6 address or prefix on which ports answer (all)",
    parse: (text: string) => text,
    list: true,
  },
  { flags: "-p, --publish <port>", help: "Publish: 8080:80[/tcp][,mode=host]", parse: parsePublish, list: true },
  {
    flags: "--ports <port>",
    help: "Publish on the host: name:target[/proto][:published[/proto]]",
    parse: (text) => splitCommas(text).map(parseNamedPort),
    list: true,
    hidden: true,
  },
  { flags: "--endpoint-mode <mode>", help: "vip or dnsrr", parse: choose(resolutionModes) },
  ...runtimeFlags(readProfile),
  { flags: "--log-driver <driver>", help: "Log driver" },
  { flags: "--log-opt <key=value>", help: "Log driver option", list: true },
];
