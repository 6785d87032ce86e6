/** Pure: no clock, no I/O, no randomness. */
import {
  type ContainerSpec,
  genericEnvironment,
  isHostNetwork,
  type RuntimeOptions,
  runtimeOptionsOf,
  type Task,
} from "@starling/api";
import type {
  BundleDevice,
  BundleMount,
  BundleSpec,
  DeviceRule,
  HostNamespace,
  IdMaps,
  IoLimit,
} from "@starling/native";
import type { ImageConfig } from "@starling/registry";
import { FatalTaskError } from "../exec/controller.ts";
import type { LogPlan } from "./log-driver.ts";
import { confinementOf, type SecurityModules } from "./privileges.ts";
import { expandTemplate, type TemplateNode } from "./template.ts";
import { refuseWindowsOptions } from "./windows.ts";

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Where things of one container are on the host. */
export interface ContainerPaths {
  /** Unpacked layers, topmost first. */
  readonly layers: readonly string[];
  readonly upper: string;
  readonly work: string;
  readonly root: string;
  readonly log: string;
  /** Files bound over the image's. */
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
}

/** What of the host's hardware it gets. */
export interface Hardware {
  readonly devices: readonly BundleDevice[];
  readonly rules: readonly DeviceRule[];
  readonly ioLimits: readonly IoLimit[];
  /** Variables that come with devices. */
  readonly env: readonly string[];
}

/** A secret or config as a file: its content lies at `source`. */
export interface DependencyFile {
  readonly source: string;
  readonly target: string;
}

export interface SpecInput {
  readonly task: Task;
  readonly node: TemplateNode;
  readonly image: ImageConfig;
  readonly paths: ContainerPaths;
  readonly files: readonly DependencyFile[];
  /** Of the spec, its volumes and its devices. */
  readonly mounts: readonly BundleMount[];
  readonly hardware: Hardware;
  readonly securityModules: SecurityModules;
  /** Its addresses are numbers. */
  readonly log: LogPlan;
  readonly cgroupParent?: string | undefined;
  /** What the node gives its containers. */
  readonly userNamespace?: IdMaps | undefined;
}

/** The container that a task asks for, in the words of the runtime. Throws FatalTaskError for what cannot be. */
export function bundleSpecOf(input: SpecInput): BundleSpec {
  const { task, paths, image, hardware } = input;
  const spec = containerSpecOf(task);
  refuseWindowsOptions(spec);
  const options = optionsOf(task);
  const { rotation, sink } = input.log;
  const ids = userNamespaceOf(task, input.userNamespace);
  return {
    version: 1,
    id: task.id,
    hostname: hostnameOf(input),
    domainname: options.domainname,
    hostNamespaces: hostNamespacesOf(options),
    ...(ids && { userNamespace: ids }),
    process: {
      args: argsOf(spec, image),
      env: envOf(input),
      cwd: spec.dir || image.workingDir || "/",
      user: spec.user || image.user,
      groups: spec.groups,
      ...confinementOf(spec, options, input.securityModules),
      tty: spec.tty,
      openStdin: spec.openStdin,
      rlimits: spec.ulimits.map(({ name, soft, hard }) => ({ name, soft, hard })),
    },
    root: { layers: paths.layers, upper: paths.upper, work: paths.work, folder: paths.root, readOnly: spec.readOnly },
    mounts: mountsOf(input),
    devices: hardware.devices,
    ...(options.shmBytes === undefined ? {} : { shmBytes: options.shmBytes }),
    sysctls: { ...(options.network === "host" ? {} : ownNetworkSysctls(ids)), ...spec.sysctls },
    ...(options.privileged || options.unconfinedPaths ? { maskedPaths: [], readonlyPaths: [] } : {}),
    writableSys: options.privileged,
    cgroup: { ...(input.cgroupParent === undefined ? {} : { parent: input.cgroupParent }), name: task.id },
    resources: resourcesOf(input, options),
    init: spec.init?.value ?? false,
    oomScoreAdj: spec.oomScoreAdj,
    log: { ...(rotation && { path: paths.log, ...rotation }), ...(sink && { sink }) },
  };
}

/** Docker's: programs without privileges may serve port 80 and ping. Groups are those that the container has. */
function ownNetworkSysctls(ids: IdMaps | undefined): Readonly<Record<string, string>> {
  const last = ids === undefined ? 2_147_483_647 : ids.gids[0]!.size - 1;
  return { "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": `0 ${last}` };
}

/** The node's, unless the task has the host's. Throws FatalTaskError for what no user namespace can have. */
export function userNamespaceOf(task: Task, ofNode: IdMaps | undefined): IdMaps | undefined {
  const options = optionsOf(task);
  if (ofNode === undefined || options.hostUserns) return undefined;
  const excluded = {
    privileged: options.privileged,
    "pid=host": options.hostPid,
    "ipc=host": options.hostIpc,
    "network=host": options.network === "host",
  };
  const [found] = Object.entries(excluded).find(([, wanted]) => wanted) ?? [];
  if (found === undefined) return ofNode;
  throw new FatalTaskError(
    `${found}: this node's containers have user namespaces (swarmd --userns-remap), which exclude it: add userns=host`,
  );
}

/**
 * The options beyond Swarm's spec, and the host's network for a task that is attached to it. Managers have judged them;
 * one that is newer than this node is refused here.
 */
export function optionsOf(task: Task): RuntimeOptions {
  try {
    const options = runtimeOptionsOf(containerSpecOf(task).labels);
    const onHost = task.networks.some(({ network }) => network !== undefined && isHostNetwork(network));
    return onHost ? { ...options, network: "host" } : options;
  } catch (error) {
    throw new FatalTaskError((error as Error).message);
  }
}

function hostNamespacesOf(options: RuntimeOptions): readonly HostNamespace[] {
  const shared: HostNamespace[] = [];
  if (options.hostPid) shared.push("pid");
  if (options.hostIpc) shared.push("ipc");
  if (options.hostUts) shared.push("uts");
  if (options.network === "host") shared.push("network");
  return shared;
}

/** Throws FatalTaskError for tasks that are no containers. */
export function containerSpecOf(task: Task): ContainerSpec {
  if (task.spec.container === undefined) throw new FatalTaskError("task: only container tasks run on this node");
  return task.spec.container;
}

/** The spec's host name, else the first 12 characters of the container's id, on the host's network the host's, as Docker has it. */
export function hostnameOf({ task, node }: Pick<SpecInput, "task" | "node">): string {
  const { network, hostUts } = optionsOf(task);
  if (hostUts) return node.hostname;
  const own = network === "host" ? node.hostname : task.id.slice(0, 12);
  const hostname = expandTemplate(containerSpecOf(task).hostname, task, node) || own;
  if (!/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/.test(hostname)) {
    throw new FatalTaskError(`hostname ${JSON.stringify(hostname)}: must be 1 to 63 letters, digits, dots and dashes`);
  }
  return hostname;
}

/** The spec's command replaces the image's ENTRYPOINT and its CMD, the spec's arguments replace CMD. */
function argsOf(spec: ContainerSpec, image: ImageConfig): readonly string[] {
  const entrypoint = spec.command.length > 0 ? spec.command : image.entrypoint;
  const imageArgs = spec.command.length > 0 ? [] : image.cmd;
  const args = [...entrypoint, ...(spec.args.length > 0 ? spec.args : imageArgs)];
  if (args.length === 0)
    throw new FatalTaskError("no command specified: the image has none, and the service gives none");
  return args;
}

/** The image's variables, those of the spec over them; a name without `=` takes one away. */
function envOf(input: SpecInput): readonly string[] {
  const spec = containerSpecOf(input.task);
  const variables = new Map<string, string>();
  const take = (entry: string) => {
    const equals = entry.indexOf("=");
    if (equals === 0) throw new FatalTaskError(`env ${JSON.stringify(entry)}: the name is missing`);
    if (equals < 0) variables.delete(entry);
    else variables.set(entry.slice(0, equals), entry.slice(equals + 1));
  };
  take(defaultPath);
  take(`HOSTNAME=${hostnameOf(input)}`);
  if (spec.tty) take("TERM=xterm");
  for (const entry of input.image.env) take(entry);
  for (const entry of genericEnvironment(input.task.assignedGenericResources, "DOCKER_RESOURCE")) take(entry);
  for (const entry of input.hardware.env) take(entry);
  for (const entry of spec.env) take(expandTemplate(entry, input.task, input.node));
  return [...variables].map(([name, value]) => `${name}=${value}`);
}

function mountsOf(input: SpecInput): readonly BundleMount[] {
  const { paths, files } = input;
  const own: BundleMount[] = [
    { type: "bind", source: paths.hostname, target: "/etc/hostname" },
    { type: "bind", source: paths.hosts, target: "/etc/hosts" },
    { type: "bind", source: paths.resolvConf, target: "/etc/resolv.conf" },
  ];
  const dependencies = files.map(({ source, target }) => ({ type: "bind" as const, source, target, readOnly: true }));
  // Parents before what is mounted below them.
  const depth = ({ target }: BundleMount) => target.split("/").length;
  return [...own, ...input.mounts, ...dependencies].sort((a, b) => depth(a) - depth(b));
}

function resourcesOf({ task, hardware }: SpecInput, options: RuntimeOptions): NonNullable<BundleSpec["resources"]> {
  const spec = containerSpecOf(task);
  const { swapBytes, memorySwappiness } = task.spec.resources ?? {};
  const limits = task.spec.resources?.limits;
  const reservations = task.spec.resources?.reservations;
  return {
    memoryBytes: limits?.memoryBytes ?? 0,
    memoryReservationBytes: reservations?.memoryBytes ?? 0,
    // Billionths of a CPU to microseconds per 100 ms.
    cpuQuotaUs: Math.ceil((limits?.nanoCpus ?? 0) / 10_000),
    pids: Math.max(0, spec.pidsLimit),
    cpuShares: options.cpuShares,
    cpus: options.cpus,
    memoryNodes: options.memoryNodes,
    ioWeight: options.ioWeight,
    ioLimits: hardware.ioLimits,
    deviceRules: hardware.rules,
    ...(swapBytes === undefined ? {} : { swapBytes: swapBytes.value }),
    ...(memorySwappiness === undefined ? {} : { swappiness: memorySwappiness.value }),
  };
}

/** /etc/hosts: localhost, then the network's lines, then the spec's own (`10.0.0.1 name alias`). */
export function hostsFile(lines: readonly string[]): string {
  const own = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
  ];
  return `${[...own, ...lines].join("\n")}\n`;
}
