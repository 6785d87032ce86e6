/** Pure: no clock, no I/O, no randomness. */
import {
  type Mount_BindOptions,
  Mount_BindOptions_Propagation,
  Mount_Type,
  type Mount as SwarmMount,
  type Task,
} from "@starling/api";
import type { BundleMount } from "@starling/native";
import { FatalTaskError } from "../exec/controller.ts";
import { expandTemplate, type TemplateNode } from "./template.ts";

/** A volume that a container wants; made when it is missing. */
export interface WantedVolume {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly anonymous: boolean;
  /** It stays empty instead of getting what the image has at `mount.target`. */
  readonly nocopy: boolean;
  /** Relative to the volume; "": all of it. */
  readonly subpath: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** What a spec's mounts come to. */
export interface WantedMounts {
  readonly mounts: readonly BundleMount[];
  readonly volumes: readonly WantedVolume[];
  /** Folders of the host that binds ask to be made. */
  readonly createdSources: readonly string[];
}

/** Mounts of `task` and of its image's VOLUMEs. Throws FatalTaskError that names the target. */
export function wantedMounts(task: Task, node: TemplateNode, imageVolumes: readonly string[]): WantedMounts {
  const mounts: BundleMount[] = [];
  const volumes: WantedVolume[] = [];
  const createdSources: string[] = [];
  const targets = new Set<string>();
  for (const mount of task.spec.container?.mounts ?? []) {
    const target = targetOf(expandTemplate(mount.target, task, node));
    if (targets.has(target)) refuse(target, "it is mounted twice");
    targets.add(target);
    const source = expandTemplate(mount.source, task, node);
    switch (mount.type) {
      case Mount_Type.BIND:
        mounts.push(bindOf(mount, source, target));
        if (mount.bindOptions?.createmountpoint) createdSources.push(source);
        break;
      case Mount_Type.TMPFS:
        mounts.push(tmpfsOf(mount, target));
        break;
      case Mount_Type.VOLUME:
        volumes.push(volumeOf(mount, source, target, { task, node }));
        break;
      default:
        refuse(target, "only bind, volume and tmpfs mounts are supported");
    }
  }
  for (const path of imageVolumes) {
    const target = targetOf(path);
    if (targets.has(target)) continue;
    targets.add(target);
    volumes.push({ ...anonymousVolume(task, target), target, readOnly: false, nocopy: false, subpath: "" });
  }
  return { mounts, volumes, createdSources };
}

/** The mount of a volume whose folder is `folder`; `fill` says that it is new. */
export function volumeMount(volume: WantedVolume, folder: string, fill: boolean): BundleMount {
  const { target, readOnly, subpath } = volume;
  const { type = "", device = "", o = "" } = volume.options;
  const flags = o.split(",").filter((flag) => flag !== "");
  const isReadOnly = readOnly || flags.includes("ro");
  if (type === "" && device === "" && flags.length === 0) {
    const whole = { type: "bind" as const, source: folder, target, readOnly: isReadOnly, mapIds: true };
    return subpath === ""
      ? { ...whole, recursive: true, fill: fill && !volume.nocopy }
      : { ...whole, subPath: subpath };
  }
  if (subpath !== "") refuse(target, "volume-subpath is for volumes without driver options");
  if (flags.includes("bind") || flags.includes("rbind")) {
    if (!device.startsWith("/"))
      refuse(target, `the volume's device ${JSON.stringify(device)} must be an absolute path`);
    return { type: "bind", source: device, target, readOnly: isReadOnly, recursive: flags.includes("rbind") };
  }
  if (type === "" || device === "")
    refuse(target, "the volume's driver options need type and device, or o=bind and device");
  const options = flags.filter((flag) => flag !== "ro" && flag !== "rw").join(",");
  return { type: "filesystem", fileSystem: type, source: device, target, readOnly: isReadOnly, options };
}

function refuse(target: string, why: string): never {
  throw new FatalTaskError(`invalid mount config for ${JSON.stringify(target)}: ${why}`);
}

function targetOf(path: string): string {
  const target = path.replace(/(.)\/+$/, "$1");
  if (!target.startsWith("/") || target === "/") refuse(target, "the target must be an absolute path below /");
  return target;
}

const propagations: Readonly<Record<number, NonNullable<BundleMount["propagation"]>>> = {
  [Mount_BindOptions_Propagation.RPRIVATE]: "rprivate",
  [Mount_BindOptions_Propagation.PRIVATE]: "private",
  [Mount_BindOptions_Propagation.RSHARED]: "rshared",
  [Mount_BindOptions_Propagation.SHARED]: "shared",
  [Mount_BindOptions_Propagation.RSLAVE]: "rslave",
  [Mount_BindOptions_Propagation.SLAVE]: "slave",
};

function bindOf({ readonly, bindOptions }: SwarmMount, source: string, target: string): BundleMount {
  if (!source.startsWith("/")) refuse(target, "the source of a bind must be an absolute path");
  const options: Partial<Mount_BindOptions> = bindOptions ?? {};
  const propagation = propagations[options.propagation ?? 0];
  if (propagation === undefined) refuse(target, `propagation ${options.propagation} is unknown to this node`);
  const recursive = !(options.nonrecursive ?? false);
  return {
    type: "bind",
    source,
    target,
    readOnly: readonly,
    recursive,
    propagation,
    ...(options.readonlynonrecursive && { readOnlyTop: true }),
  };
}

/** mount(8)'s words that are flags of the mount, not options of the file system; the first three are what it has anyway. */
const tmpfsFlags = new Set(["nosuid", "nodev", "rw", "ro", "exec", "noexec"]);
const tmpfsOption = /^(uid|gid|mode|nr_inodes|nr_blocks|size|huge)=[\w%]+$/;

function tmpfsOf({ readonly, tmpfsOptions }: SwarmMount, target: string): BundleMount {
  const words = (tmpfsOptions?.options ?? "").split(",").filter((word) => word !== "");
  const unknown = words.find((word) => !tmpfsFlags.has(word) && !tmpfsOption.test(word));
  if (unknown !== undefined) refuse(target, `${JSON.stringify(unknown)} is not an option of a tmpfs`);
  return {
    type: "tmpfs",
    target,
    readOnly: readonly || words.includes("ro"),
    // Docker's: exec must be asked for.
    noExec: !words.includes("exec"),
    sizeBytes: tmpfsOptions?.sizeBytes ?? 0,
    mode: tmpfsOptions?.mode || 0o1777,
    options: words.filter((word) => !tmpfsFlags.has(word)).join(","),
  };
}

function volumeOf(
  mount: SwarmMount,
  source: string,
  target: string,
  { task, node }: { readonly task: Task; readonly node: TemplateNode },
): WantedVolume {
  const expanded = (map: Readonly<Record<string, string>> = {}) =>
    Object.fromEntries(Object.entries(map).map(([key, value]) => [key, expandTemplate(value, task, node)]));
  const options = mount.volumeOptions;
  const driver = options?.driverConfig?.name ?? "";
  if (driver !== "" && driver !== "local")
    refuse(target, `volume driver ${JSON.stringify(driver)} is not on this node`);
  const subpath = options?.subpath ?? "";
  if (subpath.startsWith("/") || subpath.split("/").includes("..")) {
    refuse(target, `volume-subpath ${JSON.stringify(subpath)} must be a path within the volume`);
  }
  const base =
    source === ""
      ? anonymousVolume(task, target)
      : {
          name: source,
          labels: expanded(options?.labels),
          anonymous: false,
          options: expanded(options?.driverConfig?.options),
        };
  return { ...base, nocopy: options?.nocopy ?? false, subpath, target, readOnly: mount.readonly };
}

/** Its name is the same each time the task is prepared. */
function anonymousVolume(task: Task, target: string): Pick<WantedVolume, "name" | "labels" | "options" | "anonymous"> {
  // Letters and digits stand for themselves, all else for its code: no two targets share a name.
  const place = target.replaceAll(/[^A-Za-z0-9]/g, (char) =>
    char === "/" ? "." : `_${char.charCodeAt(0).toString(16)}_`,
  );
  return { name: `${task.id}${place}`.slice(0, 255), labels: {}, options: {}, anonymous: true };
}
