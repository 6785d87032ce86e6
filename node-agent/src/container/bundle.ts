import { lookup } from "node:dns/promises";
import { chown, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Task, taskName } from "@starling/api";
import type { Clock } from "@starling/base";
import type { IdMaps } from "@starling/native";
import type { Dependencies } from "../dependencies/dependencies.ts";
import { FatalTaskError, TemporaryError } from "../exec/controller.ts";
import { type ContainerFolders, writeDependencies } from "./bundle-files.ts";
import { cdiEdits } from "./cdi.ts";
import { allDevices, allDevicesRule, hostDevices, ioLimitsOf } from "./devices.ts";
import { hostOwner } from "./id-maps.ts";
import type { StoredImage } from "./image/image-store.ts";
import { type LogPlan, logPlanOf } from "./log-driver.ts";
import { volumeMount, wantedMounts } from "./mounts.ts";
import { securityModules } from "./security-modules.ts";
import { bundleSpecOf, type Hardware, hostnameOf, optionsOf, userNamespaceOf } from "./spec.ts";
import type { TemplateNode } from "./template.ts";
import type { VolumeStore } from "./volumes.ts";

export interface BundleContext {
  readonly dependencies: Dependencies;
  readonly clock: Clock;
  readonly volumes: VolumeStore;
  readonly cgroupParent: string | undefined;
  readonly cdiFolders?: readonly string[] | undefined;
  /** User namespace of the node's containers; undefined: the host's. */
  readonly userNamespace?: IdMaps | undefined;
  node(): TemplateNode;
}

/** Of a container's data folder: names of the volumes it uses, of its own first. */
interface VolumesFile {
  readonly version: 1;
  /** Absent in files of an earlier swarmd. */
  readonly taskName?: string;
  readonly anonymous: readonly string[];
  readonly named: readonly string[];
}

/**
 * Writes a task's bundle and runs `create` on it, with the volumes it needs in place; those that are new are filled
 * while it is created. Throws FatalTaskError for what this node cannot give.
 */
export async function withBundle<T>(
  input: { readonly task: Task; readonly image: StoredImage; readonly folders: ContainerFolders; readonly log: string },
  context: BundleContext,
  create: () => Promise<T>,
): Promise<T> {
  const { task, image, folders } = input;
  const { bundle, data } = folders;
  const node = context.node();
  const file = (name: string) => join(bundle, "files", name);
  const ids = userNamespaceOf(task, context.userNamespace);
  const wanted = wantedMounts(task, node, image.config.volumes);
  await makeSources(wanted.createdSources);
  await Promise.all(wanted.mounts.filter(({ type }) => type === "bind").map(({ source }) => checkSource(source!)));
  const [files, { hardware, mounts }, modules, log] = await Promise.all([
    writeDependencies(task, context.dependencies, node, bundle, ids),
    hardwareOf(task, context.cdiFolders),
    securityModules(),
    withLogAddress(logPlanOf(task, node.hostname)),
    writeOwnFile(file("hostname"), `${hostnameOf({ task, node })}\n`, ids),
    writeOwnFile(file("hosts"), "", ids),
    writeOwnFile(file("resolv.conf"), "", ids),
  ]);
  await writeVolumesFile(data, {
    version: 1,
    taskName: taskName(task),
    anonymous: wanted.volumes.filter(({ anonymous }) => anonymous).map(({ name }) => name),
    named: wanted.volumes.filter(({ anonymous }) => !anonymous).map(({ name }) => name),
  });
  const createdAtMs = context.clock.now();
  const volumes = wanted.volumes.map(({ name, labels, options, anonymous }) => ({
    ...{ name, labels, options, anonymous, createdAtMs },
  }));
  return context.volumes.withVolumes(volumes, async (isNew) => {
    const filled = new Set<string>();
    const ofVolumes = await Promise.all(
      wanted.volumes.map(async (volume) => {
        // An existing volume keeps the driver options that it was made with.
        const { options } = (await context.volumes.get(volume.name)) ?? volume;
        // Mounted at two places, it gets what is at the first.
        const fill = isNew(volume.name) && !filled.has(volume.name);
        filled.add(volume.name);
        return volumeMount({ ...volume, options }, context.volumes.dataFolder(volume.name), fill);
      }),
    );
    const spec = bundleSpecOf({
      task,
      node,
      image: image.config,
      files,
      mounts: [...wanted.mounts, ...ofVolumes, ...mounts],
      hardware,
      log,
      securityModules: modules,
      cgroupParent: context.cgroupParent,
      userNamespace: context.userNamespace,
      paths: {
        layers: image.layers,
        upper: join(data, "upper"),
        work: join(data, "work"),
        root: join(data, "root"),
        log: input.log,
        hostname: file("hostname"),
        hosts: file("hosts"),
        resolvConf: file("resolv.conf"),
      },
    });
    await writeFile(join(bundle, "spec.json"), JSON.stringify(spec), { mode: 0o600 });
    return create();
  });
}

/** Volumes that a container with this data folder uses; its own, and those that outlive it. */
export async function volumesOf(dataFolder: string): Promise<Pick<VolumesFile, "taskName" | "anonymous" | "named">> {
  const text = await readFile(join(dataFolder, "volumes.json"), "utf8").catch(() => undefined);
  if (text === undefined) return { anonymous: [], named: [] };
  return JSON.parse(text) as VolumesFile;
}

/** Of the container's root, which may write to it. */
async function writeOwnFile(path: string, content: string, ids: IdMaps | undefined): Promise<void> {
  await writeFile(path, content, { mode: 0o644 });
  const { uid, gid } = hostOwner(ids, 0, 0);
  await chown(path, uid, gid);
}

async function writeVolumesFile(dataFolder: string, content: VolumesFile): Promise<void> {
  await writeFile(join(dataFolder, "volumes.json"), JSON.stringify(content));
}

/** With the number of the collector's address: the shim asks no name server. */
async function withLogAddress(plan: LogPlan): Promise<LogPlan> {
  const { sink } = plan;
  if (sink === undefined || sink.transport === undefined || sink.transport === "unix") return plan;
  const { address } = await lookup(sink.address!).catch((error: Error) => {
    throw new TemporaryError(`log collector ${sink.address}: ${error.message}`);
  });
  return { ...plan, sink: { ...sink, address } };
}

async function makeSources(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    await mkdir(folder, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw new FatalTaskError(`bind source ${folder} cannot be made: ${error.message}`);
    });
  }
}

async function checkSource(source: string): Promise<void> {
  await stat(source).catch(() => {
    throw new FatalTaskError(
      `invalid mount config for type "bind": bind source path does not exist on this node: ${source}`,
    );
  });
}

/** Devices, their variables and mounts; a named generic resource that is a CDI device brings that device. */
async function hardwareOf(task: Task, folders: readonly string[] | undefined) {
  const options = optionsOf(task);
  const paths = options.devices.filter((device) => device.kind === "path");
  const asked = options.devices.filter((device) => device.kind === "cdi").map(({ name }) => name);
  const assigned = task.assignedGenericResources
    .map(({ namedResourceSpec: named }) => (named?.kind.includes("/") ? `${named.kind}=${named.value}` : ""))
    .filter((name) => name !== "");
  const [own, cdi, ioLimits, all] = await Promise.all([
    hostDevices(paths),
    cdiEdits([...asked, ...assigned], folders),
    ioLimitsOf(options.ioLimits),
    options.privileged ? allDevices() : [],
  ]);
  const rules = options.privileged ? [allDevicesRule] : [...options.deviceRules, ...own.rules, ...cdi.rules];
  const hardware: Hardware = {
    devices: [...all, ...own.devices, ...cdi.devices],
    rules,
    ioLimits,
    env: cdi.env,
  };
  return { hardware, mounts: cdi.mounts };
}
