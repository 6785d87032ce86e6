import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The process part of a spec, and of an exec request (where absent members are those of the container). */
export interface ProcessSpec {
  /** argv; a first word without a slash is looked up in PATH, inside the container. */
  readonly args: readonly string[];
  /** `NAME=value` */
  readonly env?: readonly string[];
  readonly cwd?: string;
  /** `user` or `user:group`, names of the image or numbers. */
  readonly user?: string;
  readonly groups?: readonly string[];
  /** `CAP_…` */
  readonly capabilities?: readonly string[];
  readonly noNewPrivileges?: boolean;
  /** False: no filter of system calls. */
  readonly seccomp?: boolean;
  /** The filter, which must be there unless `seccomp` is false: BPF instructions (`struct sock_filter`) in hexadecimal, 16 digits each. */
  readonly seccompProgram?: string;
  readonly appArmorProfile?: string;
  readonly selinuxLabel?: string;
  /** -1: unlimited. */
  readonly rlimits?: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
  readonly tty?: boolean;
  /** Of the terminal when the program starts; both, 1 to 9999. */
  readonly rows?: number;
  readonly columns?: number;
  /** Of a container without a terminal: stdin stays open until an attached client ends it. */
  readonly openStdin?: boolean;
}

export interface BundleMount {
  readonly type: "bind" | "tmpfs" | "filesystem";
  readonly source?: string;
  readonly target: string;
  readonly readOnly?: boolean;
  readonly recursive?: boolean;
  /** Read-only, but not what is mounted below. */
  readonly readOnlyTop?: boolean;
  /** Of a bind; `rprivate` when absent. */
  readonly propagation?: "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave";
  /** Of a bind: a path below `source`, which is looked up without following links. */
  readonly subPath?: string;
  /** Of a bind: an empty folder `source` gets what the image has at `target`. */
  readonly fill?: boolean;
  /** Of a bind: owners are numbers of the container, where that has a user namespace; else they are the host's. */
  readonly mapIds?: boolean;
  /** Of a file system: its type; `options` as it takes them. Of a tmpfs: further `options`. */
  readonly fileSystem?: string;
  readonly options?: string;
  readonly noExec?: boolean;
  readonly sizeBytes?: number;
  readonly mode?: number;
}

/** A device node to make in the container. */
export interface BundleDevice {
  readonly path: string;
  readonly type: "b" | "c";
  readonly major: number;
  readonly minor: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** What may be opened besides the usual devices; -1 stands for every number. */
export interface DeviceRule {
  readonly type: "a" | "b" | "c";
  readonly major: number;
  readonly minor: number;
  /** Of the letters r, w and m. */
  readonly access: string;
}

/** Rates per second of one block device; absent: not limited. */
export interface IoLimit {
  readonly major: number;
  readonly minor: number;
  readonly readBps?: number;
  readonly writeBps?: number;
  readonly readIops?: number;
  readonly writeIops?: number;
}

/** A collector that gets each line besides the file. */
export interface LogSinkSpec {
  readonly kind: "syslog" | "journald";
  readonly tag: string;
  /** Of syslog; absent: /dev/log. A Unix socket's path, or an IP address with `port`. */
  readonly transport?: "unix" | "udp" | "tcp";
  readonly address?: string;
  readonly port?: number;
  /** 0 to 23; absent: 3, daemon. */
  readonly facility?: number;
  readonly rfc5424?: boolean;
  readonly hostname?: string;
  /** Of journald: further fields, names in capitals. */
  readonly fields?: Readonly<Record<string, string>>;
}

export type HostNamespace = "pid" | "ipc" | "network" | "uts" | "cgroup";

/** `size` ids from `container` on are those from `host` on of the host. */
export interface IdMapping {
  readonly container: number;
  readonly host: number;
  readonly size: number;
}

/** Both map 0. */
export interface IdMaps {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** `spec.json` of a bundle (native/runtime/spec.h). */
export interface BundleSpec {
  readonly version: 1;
  readonly id: string;
  readonly hostname: string;
  readonly domainname?: string;
  readonly process: ProcessSpec;
  readonly root: {
    /** Unpacked layers, topmost first. Empty: `folder` itself is the root. */
    readonly layers?: readonly string[];
    readonly upper?: string;
    readonly work?: string;
    readonly folder: string;
    readonly readOnly?: boolean;
  };
  readonly mounts?: readonly BundleMount[];
  readonly shmBytes?: number;
  readonly sysctls?: Readonly<Record<string, string>>;
  /** `parent` from the root of each hierarchy; absent: below the caller's own group, /starling.slice on systemd hosts. */
  readonly cgroup: { readonly parent?: string; readonly name: string };
  readonly resources?: {
    readonly memoryBytes?: number;
    readonly memoryReservationBytes?: number;
    /** Microseconds of CPU per 100 ms. */
    readonly cpuQuotaUs?: number;
    readonly cpuShares?: number;
    readonly pids?: number;
    /** On top of `memoryBytes`; -1: no limit; absent: none. */
    readonly swapBytes?: number;
    /** 0 to 100. */
    readonly swappiness?: number;
    /** As in "0-3,7". */
    readonly cpus?: string;
    readonly memoryNodes?: string;
    /** 10 to 1000. */
    readonly ioWeight?: number;
    readonly ioLimits?: readonly IoLimit[];
    readonly deviceRules?: readonly DeviceRule[];
  };
  /** Namespaces that it shares with the host instead of having its own. */
  readonly hostNamespaces?: readonly HostNamespace[];
  /** Of a user namespace of its own, which excludes the host's pid, ipc and network namespaces; absent: the host's. */
  readonly userNamespace?: IdMaps;
  readonly devices?: readonly BundleDevice[];
  /** /sys can be written to. */
  readonly writableSys?: boolean;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  /** An existing network namespace to join; absent: a new one with `lo` up. */
  readonly netnsPath?: string;
  readonly init?: boolean;
  readonly oomScoreAdj?: number;
  readonly log?: {
    /** Absent: no file. */
    readonly path?: string;
    readonly maxBytes?: number;
    readonly maxFiles?: number;
    readonly sink?: LogSinkSpec;
  };
}

/** How a container ended. Times in milliseconds since the epoch; `startedAtMs` is 0 when it never ran. */
export interface ExitStatus {
  readonly exitCode: number;
  /** The signal that ended it, 0: none. `exitCode` is then 128 + signal. */
  readonly signal: number;
  readonly oomKilled: boolean;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** Why the program could not be started; empty when it was. */
  readonly error: string;
}

/** The exit status that a shim left in its bundle; undefined when it left none. */
export async function readExitStatus(bundle: string): Promise<ExitStatus | undefined> {
  const parsed = await readVersioned(join(bundle, "exit.json"));
  return parsed as unknown as ExitStatus | undefined;
}

/** Where the shim of a bundle runs (0: nowhere yet) and which cgroups it made; undefined when it got not that far. */
export async function readShimState(
  bundle: string,
): Promise<{ readonly shimPid: number; readonly cgroups: readonly string[] } | undefined> {
  const parsed = await readVersioned(join(bundle, "state.json"));
  if (parsed === undefined || typeof parsed["shimPid"] !== "number" || !Array.isArray(parsed["cgroups"]))
    return undefined;
  return { shimPid: parsed["shimPid"], cgroups: parsed["cgroups"].map(String) };
}

/** Absent, torn (a power cut) and unreadable files are the same to us: nothing is known. A newer version is an error. */
async function readVersioned(path: string): Promise<Record<string, unknown> | undefined> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const version = (parsed as Record<string, unknown>)["version"];
  if (version !== 1) throw new Error(`${path}: version ${version}, this swarmd reads version 1`);
  return parsed as Record<string, unknown>;
}
