/** Pure: no clock, no I/O, no randomness. */
import { type ContainerSpec, Mount_Type, type Mount as SwarmMount, type Task } from "@starling/api";
import type { BundleMount, BundleSpec } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";
import type { ImageConfig } from "./image/manifest.ts";
import { logRotationOf } from "./log-driver.ts";
import { capabilitiesOf, noNewPrivileges, seccompOn } from "./privileges.ts";
import { expandTemplate, type TemplateNode } from "./template.ts";

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
  /** Folder of a named volume. */
  volume(name: string): string;
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
  readonly cgroupParent?: string | undefined;
}

/** The container that a task asks for, in the words of the runtime. Throws FatalTaskError for what cannot be. */
export function bundleSpecOf(input: SpecInput): BundleSpec {
  const { task, paths, image } = input;
  const spec = containerSpecOf(task);
  const rotation = logRotationOf(task);
  return {
    version: 1,
    id: task.id,
    hostname: hostnameOf(input),
    process: {
      args: argsOf(spec, image),
      env: envOf(input),
      cwd: spec.dir || image.workingDir || "/",
      user: spec.user || image.user,
      groups: spec.groups,
      capabilities: capabilitiesOf(spec),
      noNewPrivileges: noNewPrivileges(spec),
      seccomp: seccompOn(spec),
      tty: spec.tty,
      rlimits: spec.ulimits.map(({ name, soft, hard }) => ({ name, soft, hard })),
    },
    root: { layers: paths.layers, upper: paths.upper, work: paths.work, folder: paths.root, readOnly: spec.readOnly },
    mounts: mountsOf(input),
    sysctls: {
      // Docker's: programs without privileges may serve port 80 and ping.
      "net.ipv4.ip_unprivileged_port_start": "0",
      "net.ipv4.ping_group_range": "0 2147483647",
      ...spec.sysctls,
    },
    cgroup: { ...(input.cgroupParent === undefined ? {} : { parent: input.cgroupParent }), name: task.id },
    resources: resourcesOf(task, spec),
    init: spec.init?.value ?? false,
    oomScoreAdj: spec.oomScoreAdj,
    ...(rotation === undefined ? {} : { log: { path: paths.log, ...rotation } }),
  };
}

/** Throws FatalTaskError for tasks that are no containers. */
export function containerSpecOf(task: Task): ContainerSpec {
  if (task.spec.container === undefined) throw new FatalTaskError("task: only container tasks run on this node");
  return task.spec.container;
}

/** The spec's host name, else the first 12 characters of the container's id, as Docker has it. */
export function hostnameOf({ task, node }: Pick<SpecInput, "task" | "node">): string {
  const hostname = expandTemplate(containerSpecOf(task).hostname, task, node) || task.id.slice(0, 12);
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
  const wanted = containerSpecOf(input.task).mounts.map((mount) => mountOf(mount, input));
  const dependencies = files.map(({ source, target }) => ({ type: "bind" as const, source, target, readOnly: true }));
  // Parents before what is mounted below them.
  const depth = ({ target }: BundleMount) => target.split("/").length;
  return [...own, ...[...wanted, ...dependencies].sort((a, b) => depth(a) - depth(b))];
}

function mountOf(mount: SwarmMount, { task, node, paths }: SpecInput): BundleMount {
  const target = expandTemplate(mount.target, task, node).replace(/(.)\/+$/, "$1");
  const source = expandTemplate(mount.source, task, node);
  const refuse = (why: string): never => {
    throw new FatalTaskError(`invalid mount config for ${JSON.stringify(target)}: ${why}`);
  };
  if (!target.startsWith("/") || target === "/") refuse("the target must be an absolute path below /");
  switch (mount.type) {
    case Mount_Type.BIND:
      if (!source.startsWith("/")) refuse("the source of a bind must be an absolute path");
      return {
        type: "bind",
        source,
        target,
        readOnly: mount.readonly,
        recursive: !(mount.bindOptions?.nonrecursive ?? false),
      };
    case Mount_Type.TMPFS:
      return {
        type: "tmpfs",
        target,
        readOnly: mount.readonly,
        sizeBytes: mount.tmpfsOptions?.sizeBytes ?? 0,
        mode: mount.tmpfsOptions?.mode || 0o1777,
      };
    case Mount_Type.VOLUME: {
      // Without a name: a volume of this task alone.
      const name = source || `${task.id}-${target.replaceAll(/[^A-Za-z0-9]/g, "_")}`;
      if (!/^[A-Za-z0-9][\w.-]{1,254}$/.test(name))
        refuse(`${JSON.stringify(name)} is not a volume's name: use 2 to 255 letters, digits, _ . -`);
      const driver = mount.volumeOptions?.driverConfig?.name ?? "";
      if (driver !== "" && driver !== "local") refuse(`volume driver ${JSON.stringify(driver)} is not on this node`);
      return { type: "bind", source: paths.volume(name), target, readOnly: mount.readonly };
    }
    default:
      return refuse("only bind, volume and tmpfs mounts are supported");
  }
}

function resourcesOf(task: Task, spec: ContainerSpec): NonNullable<BundleSpec["resources"]> {
  const limits = task.spec.resources?.limits;
  const reservations = task.spec.resources?.reservations;
  return {
    memoryBytes: limits?.memoryBytes ?? 0,
    memoryReservationBytes: reservations?.memoryBytes ?? 0,
    // Billionths of a CPU to microseconds per 100 ms.
    cpuQuotaUs: Math.ceil((limits?.nanoCpus ?? 0) / 10_000),
    pids: Math.max(0, spec.pidsLimit),
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
