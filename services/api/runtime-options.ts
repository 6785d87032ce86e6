/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";
import { parseSize } from "./size.ts";

/**
 * What a container can have beyond Swarm's ContainerSpec: kept in `ContainerSpec.labels` under `io.starling.`, one label
 * per option, named as docker run's flag. Nodes of other makers see labels and nothing else.
 */
export interface RuntimeOptions {
  /** Every capability and device, no filter, no masked paths. */
  readonly privileged: boolean;
  /** `/dev/a`, `/dev/a:/dev/b[:rwm]`, or a CDI name (`vendor.com/class=name`). */
  readonly devices: readonly DeviceOption[];
  /** Devices that may be opened, as in `c 10:200 rwm`. */
  readonly deviceRules: readonly DeviceRuleOption[];
  /** Namespaces shared with the host. */
  readonly hostPid: boolean;
  readonly hostIpc: boolean;
  readonly hostUts: boolean;
  /** No user namespace of its own, where its node gives one. */
  readonly hostUserns: boolean;
  /** "none": loopback only. "": the service's networks. */
  readonly network: "" | "host" | "none";
  /** Bytes of /dev/shm; undefined: 64 MiB. */
  readonly shmBytes: number | undefined;
  readonly domainname: string;
  /** As in `0-3,7`. */
  readonly cpus: string;
  readonly memoryNodes: string;
  /** 2 to 262144; 0: not set. */
  readonly cpuShares: number;
  /** 10 to 1000; 0: not set. */
  readonly ioWeight: number;
  /** Of each block device; bytes or operations per second. */
  readonly ioLimits: readonly IoLimitOption[];
  /** AppArmor profile by name; undefined: the spec's mode decides. */
  readonly appArmorProfile: string | undefined;
  /** Undefined: on, unless privileged. */
  readonly noNewPrivileges: boolean | undefined;
  /** Nothing below /proc and /sys is hidden or made read-only. */
  readonly unconfinedPaths: boolean;
  /** "node": a task stays where the named volumes of its slot are. "anywhere": elsewhere it begins with new ones. */
  readonly volumePlacement: "node" | "anywhere";
}

export type DeviceOption =
  | { readonly kind: "path"; readonly source: string; readonly target: string; readonly access: string }
  | { readonly kind: "cdi"; readonly name: string };

/** -1: every number. */
export interface DeviceRuleOption {
  readonly type: "a" | "b" | "c";
  readonly major: number;
  readonly minor: number;
  readonly access: string;
}

export interface IoLimitOption {
  readonly path: string;
  readonly what: "readBps" | "writeBps" | "readIops" | "writeIops";
  readonly rate: number;
}

export const runtimeOptionPrefix = "io.starling.";

/** What each option's label holds: a word of `words`, a number from `least` to `most`, `list`s by commas, else text. */
export interface RuntimeOptionShape {
  readonly name: string;
  readonly help: string;
  readonly value?: string;
  readonly words?: readonly string[];
  readonly list?: boolean;
  readonly bytes?: boolean;
  /** Managers act on it, so it holds on nodes of any make. */
  readonly manager?: boolean;
}

/** All of them; the command line's flags have the same names. */
export const runtimeOptionShapes: readonly RuntimeOptionShape[] = [
  { name: "privileged", help: "Every capability and device of the host", words: ["true", "false"] },
  {
    name: "device",
    help: "Device of the host, or a CDI name: vendor.com/gpu=0",
    value: "source[:target[:rwm]]",
    list: true,
  },
  { name: "device-cgroup-rule", help: "Devices that may be opened", value: "c 10:200 rwm", list: true },
  { name: "pid", help: "host: the host's processes are seen", value: "mode", words: ["host"] },
  { name: "ipc", help: "host: the host's System V and POSIX IPC", value: "mode", words: ["host"] },
  { name: "uts", help: "host: the host's name", value: "mode", words: ["host"] },
  { name: "userns", help: "host: its ids are the host's, on nodes that remap them", value: "mode", words: ["host"] },
  { name: "network", help: "host or none", value: "mode", words: ["host", "none"] },
  { name: "shm-size", help: "Size of /dev/shm (64m)", value: "bytes", bytes: true },
  { name: "domainname", help: "Domain name of the container", value: "name" },
  { name: "cpuset-cpus", help: "CPUs it may run on: 0-3,7", value: "list" },
  { name: "cpuset-mems", help: "Memory nodes it may use", value: "list" },
  { name: "cpu-shares", help: "Weight of its CPU time (1024 is usual)", value: "weight" },
  { name: "blkio-weight", help: "Weight of its block I/O (10 to 1000)", value: "weight" },
  { name: "device-read-bps", help: "Bytes read per second from a device", value: "path:rate", list: true },
  { name: "device-write-bps", help: "Bytes written per second to a device", value: "path:rate", list: true },
  { name: "device-read-iops", help: "Reads per second from a device", value: "path:rate", list: true },
  { name: "device-write-iops", help: "Writes per second to a device", value: "path:rate", list: true },
  { name: "apparmor", help: "AppArmor profile, or unconfined", value: "profile" },
  { name: "no-new-privileges", help: "Set-user-id programs gain nothing (default)", words: ["true", "false"] },
  {
    name: "systempaths",
    help: "unconfined: nothing of /proc and /sys is hidden",
    value: "mode",
    words: ["unconfined"],
  },
  {
    name: "volume-placement",
    help: "anywhere: on another node a task begins with new volumes; node (default): it stays with those it has",
    value: "mode",
    words: ["node", "anywhere"],
    manager: true,
  },
];

/** The options of a container by its labels. Throws InvalidArgument that names label, value and remedy. */
export function runtimeOptionsOf(labels: Readonly<Record<string, string>>): RuntimeOptions {
  const text = (name: string) => labels[runtimeOptionPrefix + name] ?? "";
  const list = (name: string) => splitList(text(name));
  for (const { name, words } of runtimeOptionShapes) {
    if (words !== undefined && text(name) !== "" && !words.includes(text(name))) {
      throw refusal(name, text(name), `must be ${words.join(" or ")}`);
    }
  }
  const limits = (name: string, what: IoLimitOption["what"]) => list(name).map((item) => ioLimitOf(name, item, what));
  const noNew = text("no-new-privileges");
  return {
    privileged: text("privileged") === "true",
    devices: list("device").map(deviceOf),
    deviceRules: list("device-cgroup-rule").map(deviceRuleOf),
    hostPid: text("pid") === "host",
    hostIpc: text("ipc") === "host",
    hostUts: text("uts") === "host",
    hostUserns: text("userns") === "host",
    network: text("network") as RuntimeOptions["network"],
    shmBytes: text("shm-size") === "" ? undefined : bytesOf("shm-size", text("shm-size")),
    domainname: domainOf(text("domainname")),
    cpus: numberListOf("cpuset-cpus", text("cpuset-cpus")),
    memoryNodes: numberListOf("cpuset-mems", text("cpuset-mems")),
    cpuShares: numberOf("cpu-shares", text("cpu-shares"), 2, 262144),
    ioWeight: numberOf("blkio-weight", text("blkio-weight"), 10, 1000),
    ioLimits: [
      ...limits("device-read-bps", "readBps"),
      ...limits("device-write-bps", "writeBps"),
      ...limits("device-read-iops", "readIops"),
      ...limits("device-write-iops", "writeIops"),
    ],
    appArmorProfile: profileOf(text("apparmor")),
    noNewPrivileges: noNew === "" ? undefined : noNew === "true",
    unconfinedPaths: text("systempaths") === "unconfined",
    volumePlacement: text("volume-placement") === "anywhere" ? "anywhere" : "node",
  };
}

/** Items of a list label. */
export function splitList(text: string): readonly string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

const cdiName = /^[A-Za-z][\w.-]*\/[A-Za-z][\w.-]*=[A-Za-z0-9][\w.:-]*$/;

function deviceOf(item: string): DeviceOption {
  if (cdiName.test(item)) return { kind: "cdi", name: item };
  const [source = "", second, third, ...more] = item.split(":");
  const isAccess = (part: string | undefined) => part !== undefined && /^[rwm]{1,3}$/.test(part);
  const access = third ?? (isAccess(second) ? second! : "rwm");
  const target = second === undefined || (third === undefined && isAccess(second)) ? source : second;
  if (!isPlainPath(source) || !isPlainPath(target) || !isAccess(access) || more.length > 0) {
    throw refusal("device", item, "write /dev/NAME, /dev/NAME:/dev/NAME:rwm, or a CDI name such as vendor.com/gpu=0");
  }
  return { kind: "path", source, target, access };
}

/** Absolute, and without parts that lead elsewhere. */
function isPlainPath(path: string): boolean {
  return /^(\/[^/\0]+)+$/.test(path) && !path.split("/").some((part) => part === "." || part === "..");
}

function deviceRuleOf(item: string): DeviceRuleOption {
  const match = /^([abc])\s+(\d{1,4}|\*):(\d{1,7}|\*)\s+([rwm]{1,3})$/.exec(item);
  if (match === null) throw refusal("device-cgroup-rule", item, "write it as in `c 10:200 rwm` or `b 8:* r`");
  const number = (part: string, most: number) => {
    if (part !== "*" && Number(part) > most) throw refusal("device-cgroup-rule", item, `${part} is above ${most}`);
    return part === "*" ? -1 : Number(part);
  };
  return {
    type: match[1] as DeviceRuleOption["type"],
    major: number(match[2]!, 0xfff),
    minor: number(match[3]!, 0xfffff),
    access: match[4]!,
  };
}

function ioLimitOf(name: string, item: string, what: IoLimitOption["what"]): IoLimitOption {
  const match = /^(\/[^:]+):(.+)$/.exec(item);
  if (match === null || !isPlainPath(match[1]!)) throw refusal(name, item, "write it as in /dev/sda:1mb");
  return { path: match[1]!, what, rate: bytesOf(name, match[2]!) };
}

function bytesOf(name: string, text: string): number {
  const bytes = parseSize(text) ?? 0;
  if (bytes < 1) throw refusal(name, text, "must be a size such as 64m");
  return bytes;
}

function numberOf(name: string, text: string, least: number, most: number): number {
  if (text === "") return 0;
  const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) throw refusal(name, text, `must be ${least} to ${most}`);
  return number;
}

function numberListOf(name: string, text: string): string {
  if (text !== "" && !/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/.test(text)) {
    throw refusal(name, text, "must be a list such as 0-3,7");
  }
  return text;
}

function domainOf(text: string): string {
  if (text !== "" && !/^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$/.test(text)) {
    throw refusal("domainname", text, "must be at most 64 letters, digits, dots and dashes");
  }
  return text;
}

function profileOf(text: string): string | undefined {
  if (text !== "" && !/^[\w./+@-]{1,255}$/.test(text)) throw refusal("apparmor", text, "must be a profile's name");
  return text === "" ? undefined : text;
}

function refusal(name: string, value: string, remedy: string): SwarmError {
  return new SwarmError(
    "InvalidArgument",
    `ContainerSpec: ${runtimeOptionPrefix}${name} ${JSON.stringify(value)}: ${remedy}`,
  );
}
