/** What `swarmd` is told on its command line, as SwarmKit's swarmd, and a few of ours. */
import { isIP } from "node:net";
import { parseArgs } from "node:util";
import {
  checkAddressPool,
  checkPoolMaskLength,
  defaultSubnetSize,
  defaultVxlanPort,
  durationMs,
  type GenericResource,
  genericKind,
  genericValue,
  parseDuration,
  parseGenericResources,
  parseUnlockKey,
} from "@starling/api";
import { type LogLevel, parseLogLevel, SwarmError } from "@starling/base";

const virtualIpsWays = ["auto", "ebpf", "nftables"] as const;
const overlayFramesWays = ["auto", "ebpf", "bridge"] as const;
const routingMeshWays = ["auto", "ebpf", "nftables"] as const;

export interface NodeOptions {
  readonly stateDir: string;
  readonly hostname: string | undefined;
  /** `host:port` on which managers listen. */
  readonly listenRemoteApi: string;
  /** `host:port` under which other nodes reach this one; by default the listening address, its host detected. */
  readonly advertiseRemoteApi: string | undefined;
  /** Address at which other nodes' VXLAN packets reach this one; undefined: that of the remote API. */
  readonly dataPathAddr: string | undefined;
  /** What a new swarm begins with. */
  readonly newCluster: {
    readonly vxlanUdpPort: number;
    /** Empty: the defaults. */
    readonly defaultAddressPool: readonly string[];
    readonly subnetSize: number;
  };
  readonly listenControlApi: string;
  readonly listenMetrics: string | undefined;
  /** `host:port` on which other nodes get images; undefined: images are not shared. */
  readonly listenImages: string | undefined;
  readonly joinAddr: string | undefined;
  readonly joinToken: string | undefined;
  readonly forceNewCluster: boolean;
  /** A new swarm begins with its managers' keys locked. */
  readonly autolock: boolean;
  /** Opens locked keys; without it a locked manager waits for `swarmctl unlock`. */
  readonly unlockKey: Uint8Array | undefined;
  readonly heartbeatTick: number;
  readonly electionTick: number;
  readonly logLevel: LogLevel;
  /** What this node offers to tasks beyond CPUs and memory. */
  readonly genericResources: readonly GenericResource[];
  /** What constraints see as `engine.labels.NAME`. */
  readonly labels: Readonly<Record<string, string>>;
  /** JSON; undefined: the default place, where it need not be. */
  readonly configFile: string | undefined;
  readonly insecureRegistries: readonly string[];
  readonly cgroupParent: string | undefined;
  /** Whose subordinate ids containers have: `default` or USER[:GROUP]; undefined: the host's ids. */
  readonly usernsRemap: string | undefined;
  /** How TCP connections to virtual IPs are led: by eBPF where the kernel allows it, by eBPF or not at all, or by nftables. */
  readonly virtualIps: (typeof virtualIpsWays)[number];
  /** How frames of overlay networks come to tasks: past the bridges by eBPF where the kernel allows it, so or not at all, or by them. */
  readonly overlayFrames: (typeof overlayFramesWays)[number];
  /** How established TCP connections of the routing mesh go: past the host's rules by eBPF where the kernel allows it, so or not at all, or by them. */
  readonly routingMesh: (typeof routingMeshWays)[number];
  readonly runDir: string;
  /** When images that no task uses are removed: not wanted for so long, in milliseconds (0: never)… */
  readonly imageGcAgeMs: number;
  /** …or less than this share of their disk is free, from 0 (only when it is full) to 0.9. */
  readonly imageGcFreeShare: number;
}

export type Command =
  | { readonly t: "run"; readonly options: NodeOptions }
  | { readonly t: "check" }
  | { readonly t: "help" }
  | { readonly t: "version" };

export const usage = `Usage: swarmd [flags]

Runs a node of a swarm. Without --join-addr, and with an empty state folder, it starts a swarm of one.

      --advertise-remote-api HOST:PORT   address under which other nodes reach this one (default: the listening address)
      --autolock                         a new swarm's managers need an unlock key to start again
      --cgroup-parent PATH               cgroup below which containers run (default: beside swarmd's own group)
      --check                            says what this host lacks, and ends
      --config-file FILE                 registries: mirrors, insecure ones, credential helpers (default /etc/starling/swarmd.json)
      --data-path-addr ADDRESS           address at which other nodes' tasks reach this one's (default: the one from which it reaches managers)
      --data-path-port PORT              UDP port of VXLAN packets in a new swarm (default 4789)
      --default-addr-pool CIDR           pool for networks without a subnet, in a new swarm (repeatable; default 10.0.0.0/8)
      --default-addr-pool-mask-length N  prefix length of IPv4 subnets out of pools, in a new swarm (default 24)
      --election-tick N                  raft ticks without a leader before an election (default 9, of 100 ms each)
      --force-new-cluster                makes this manager the only one again, when the others are lost for ever
      --generic-node-resources LIST      what tasks may claim here: gpu=a,gpu=b (names) or slots=4 (a count); repeatable
      --heartbeat-tick N                 raft ticks between a leader's heartbeats (default 3)
      --hostname NAME                    name of this node (default: the host's)
      --image-gc-age DURATION            images not used for so long are removed, 0: never (default 720h)
      --image-gc-free PERCENT            unused images make room when less of their disk is free, 0: when it is full (default 15)
      --insecure-registry HOST[:PORT]    registry or CIDR that is spoken to without TLS (repeatable)
      --join-addr HOST:PORT              a manager of the swarm to join
      --join-token TOKEN                 token of the role to join as
      --listen-control-api PATH          socket for swarmctl (default /var/run/swarmd.sock)
      --listen-images HOST:PORT          address on which other nodes get images from this one, or off (default 0.0.0.0:4243)
      --listen-metrics HOST:PORT         address that serves Prometheus metrics at /metrics
      --listen-remote-api HOST:PORT      address that managers listen on (default 0.0.0.0:4242)
      --label NAME[=VALUE]               label of this node, for constraints engine.labels.NAME==VALUE (repeatable)
  -l, --log-level LEVEL                  debug, info, warn, error or fatal (default info)
      --overlay-frames MECHANISM         auto: past bridges by eBPF where the kernel allows it (default); ebpf: else swarmd ends; bridge
      --routing-mesh MECHANISM           auto: by eBPF once connections are established, where the kernel allows it (default); ebpf: else
                                         swarmd ends; nftables: by rules alone
      --run-dir DIR                      sockets and secrets of containers, on a tmpfs (default /run/starling)
  -d, --state-dir DIR                    where the node keeps its state (default /var/lib/swarmd)
      --unlock-key KEY                   opens this manager's locked keys (SWMKEY-1-…); others of this host can see it
      --userns-remap USER[:GROUP]        containers get that user's ids of /etc/subuid and /etc/subgid; default: dockremap's
      --virtual-ips MECHANISM            auto: by eBPF where the kernel allows it (default); ebpf: else swarmd ends; nftables
  -h, --help
  -v, --version
`;

/** Flags of SwarmKit's swarmd that this one does not offer, each with what to do instead. */
const notOffered: Readonly<Record<string, string>> = {
  "external-ca": "give it to the cluster once swarmd runs: `swarmctl cluster update --external-ca`",
  "engine-addr": "containers are run by swarmd itself, no Docker Engine is needed: leave the flag out",
  "listen-debug": "use --log-level debug and --listen-metrics",
};

/** Throws InvalidArgument naming flag, value and remedy. */
export function parseCommand(args: readonly string[]): Command {
  for (const arg of args) {
    const name = /^--([a-z-]+)/.exec(arg)?.[1];
    if (name !== undefined && Object.hasOwn(notOffered, name)) {
      throw new SwarmError("InvalidArgument", `--${name}: ${notOffered[name]}`);
    }
  }
  const values = parseFlags(args);
  if (values.help) return { t: "help" };
  if (values.version) return { t: "version" };
  if (values.check) return { t: "check" };
  const logLevel = parseLogLevel(values["log-level"]);
  if (logLevel === undefined) {
    throw invalid("log-level", values["log-level"], "give one of debug, info, warn, error, fatal");
  }
  const joinAddr = values["join-addr"];
  const joinToken = values["join-token"];
  if (joinAddr !== undefined) checkAddress("join-addr", joinAddr);
  if (joinAddr !== undefined && joinToken === undefined) {
    throw invalid("join-addr", joinAddr, "also give --join-token (`swarmctl cluster join-token worker` prints it)");
  }
  if (joinToken !== undefined && joinAddr === undefined) {
    throw new SwarmError("InvalidArgument", "--join-token: also give --join-addr, the address of a manager");
  }
  checkAddress("listen-remote-api", values["listen-remote-api"]);
  if (values["advertise-remote-api"] !== undefined)
    checkAddress("advertise-remote-api", values["advertise-remote-api"]);
  if (values["listen-metrics"] !== undefined) checkAddress("listen-metrics", values["listen-metrics"]);
  const dataPathAddr = values["data-path-addr"];
  if (dataPathAddr !== undefined && isIP(dataPathAddr) === 0)
    throw invalid("data-path-addr", dataPathAddr, "give an IP address of this host, e.g. 10.0.0.5");
  const subnetSize = Number(values["default-addr-pool-mask-length"]);
  checkPoolMaskLength(subnetSize);
  for (const pool of values["default-addr-pool"]) checkAddressPool(pool, subnetSize);
  const listenImages = values["listen-images"] === "off" ? undefined : values["listen-images"];
  if (listenImages !== undefined) checkAddress("listen-images", listenImages);
  return {
    t: "run",
    options: {
      stateDir: values["state-dir"],
      hostname: values.hostname,
      listenRemoteApi: values["listen-remote-api"],
      advertiseRemoteApi: values["advertise-remote-api"],
      dataPathAddr,
      newCluster: {
        vxlanUdpPort: dataPathPort(values["data-path-port"]),
        defaultAddressPool: values["default-addr-pool"],
        subnetSize,
      },
      listenControlApi: values["listen-control-api"],
      listenMetrics: values["listen-metrics"],
      listenImages,
      joinAddr,
      joinToken,
      forceNewCluster: values["force-new-cluster"],
      genericResources: genericResources("generic-node-resources", values["generic-node-resources"]),
      labels: labels("label", values.label),
      autolock: values.autolock,
      unlockKey: unlockKey(values["unlock-key"]),
      heartbeatTick: ticks("heartbeat-tick", values["heartbeat-tick"]),
      electionTick: ticks("election-tick", values["election-tick"]),
      logLevel,
      configFile: values["config-file"],
      insecureRegistries: values["insecure-registry"],
      cgroupParent: values["cgroup-parent"],
      usernsRemap: values["userns-remap"],
      virtualIps: oneOf("virtual-ips", values["virtual-ips"], virtualIpsWays),
      overlayFrames: oneOf("overlay-frames", values["overlay-frames"], overlayFramesWays),
      routingMesh: oneOf("routing-mesh", values["routing-mesh"], routingMeshWays),
      runDir: values["run-dir"],
      imageGcAgeMs: age("image-gc-age", values["image-gc-age"]),
      imageGcFreeShare: share("image-gc-free", values["image-gc-free"]),
    },
  };
}

function parseFlags(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      strict: true,
      options: {
        "advertise-remote-api": { type: "string" },
        autolock: { type: "boolean", default: false },
        "cgroup-parent": { type: "string" },
        check: { type: "boolean", default: false },
        "config-file": { type: "string" },
        "data-path-addr": { type: "string" },
        "data-path-port": { type: "string", default: String(defaultVxlanPort) },
        "default-addr-pool": { type: "string", multiple: true, default: [] },
        "default-addr-pool-mask-length": { type: "string", default: String(defaultSubnetSize) },
        "election-tick": { type: "string", default: "9" },
        "force-new-cluster": { type: "boolean", default: false },
        "generic-node-resources": { type: "string", multiple: true, default: [] },
        "heartbeat-tick": { type: "string", default: "3" },
        help: { type: "boolean", short: "h", default: false },
        hostname: { type: "string" },
        "image-gc-age": { type: "string", default: "720h" },
        "image-gc-free": { type: "string", default: "15" },
        "insecure-registry": { type: "string", multiple: true, default: [] },
        "join-addr": { type: "string" },
        "join-token": { type: "string" },
        label: { type: "string", multiple: true, default: [] },
        "listen-control-api": { type: "string", default: "/var/run/swarmd.sock" },
        "listen-images": { type: "string", default: "0.0.0.0:4243" },
        "listen-metrics": { type: "string" },
        "listen-remote-api": { type: "string", default: "0.0.0.0:4242" },
        "log-level": { type: "string", short: "l", default: "info" },
        "overlay-frames": { type: "string", default: "auto" },
        "routing-mesh": { type: "string", default: "auto" },
        "run-dir": { type: "string", default: "/run/starling" },
        "unlock-key": { type: "string" },
        "state-dir": { type: "string", short: "d", default: "/var/lib/swarmd" },
        "userns-remap": { type: "string" },
        version: { type: "boolean", short: "v", default: false },
        "virtual-ips": { type: "string", default: "auto" },
      },
    });
    return values;
  } catch (thrown) {
    throw new SwarmError("InvalidArgument", `${(thrown as Error).message.split(". ")[0]} (see swarmd --help)`);
  }
}

function oneOf<const T extends string>(flag: string, text: string, ways: readonly [T, T, T]): T {
  const found = ways.find((way) => way === text);
  if (found === undefined) throw invalid(flag, text, `give ${ways[0]}, ${ways[1]} or ${ways[2]}`);
  return found;
}

function unlockKey(text: string | undefined): Uint8Array | undefined {
  if (text === undefined) return undefined;
  try {
    return parseUnlockKey(text);
  } catch (cause) {
    // The value is a secret, and stays out of logs.
    throw new SwarmError("InvalidArgument", `--unlock-key: ${(cause as Error).message}`, { cause });
  }
}

function genericResources(flag: string, texts: readonly string[]): readonly GenericResource[] {
  try {
    const resources = parseGenericResources(texts.flatMap((text) => text.split(",")));
    const terms = resources.map((resource) => `${genericKind(resource)}=${genericValue(resource)}`);
    const twice = terms.find((term, i) => terms.indexOf(term) !== i);
    if (twice !== undefined) throw new SwarmError("InvalidArgument", `${twice} is named twice: name each once`);
    return resources;
  } catch (cause) {
    throw new SwarmError("InvalidArgument", `--${flag}: ${(cause as Error).message}`, { cause });
  }
}

/** A label without a value has an empty one, as dockerd's. */
function labels(flag: string, texts: readonly string[]): Readonly<Record<string, string>> {
  const pairs = texts.map((text): readonly [string, string] => {
    const [name = ""] = text.split("=", 1);
    if (name.trim() === "") throw invalid(flag, text, "begin with a name, e.g. disk=ssd");
    return [name, text.slice(name.length + 1)];
  });
  const twice = pairs.find(([name], i) => pairs.findIndex(([other]) => other === name) !== i);
  if (twice !== undefined)
    throw invalid(flag, twice.join("="), `${twice[0]} has a value already: name each label once`);
  return Object.fromEntries(pairs);
}

/** `host:port` or `[v6]:port` in its parts; undefined for anything else. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address);
  if (!match) return undefined;
  const host = match[1] ?? match[2] ?? "";
  const port = Number(match[3]);
  if (port > 65_535 || (match[1] !== undefined && isIP(host) !== 6)) return undefined;
  return { host, port };
}

function checkAddress(flag: string, address: string): void {
  if (splitAddress(address) === undefined) throw invalid(flag, address, "give HOST:PORT, e.g. 10.0.0.5:4242");
}

/** Docker's bounds: below are ports of the system, above those of outgoing connections. */
function dataPathPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1024 && port <= 49_151) return port;
  throw invalid("data-path-port", text, "give a port from 1024 to 49151");
}

function ticks(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 10_000) {
    throw invalid(flag, text, "give a whole number of ticks from 1 to 10000");
  }
  return value;
}

function age(flag: string, text: string): number {
  const ms = durationMs(parseDuration(text), Number.NaN);
  if (!(ms >= 0)) throw invalid(flag, text, "give a duration, e.g. 168h, or 0");
  return ms;
}

function share(flag: string, text: string): number {
  const percent = /^\d{1,3}(\.\d+)?%?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (!(percent <= 90)) throw invalid(flag, text, "give a percentage from 0 to 90");
  return percent / 100;
}

function invalid(flag: string, value: string, remedy: string): SwarmError {
  return new SwarmError("InvalidArgument", `--${flag} ${JSON.stringify(value)}: ${remedy}`);
}
