import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { encodeRequests, type Request } from "./netlink.ts";

/** Errno values that callers tell apart. */
export const Errno = {
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EEXIST: 17,
  ENODEV: 19,
  EADDRNOTAVAIL: 99,
  EBUSY: 16,
  EINVAL: 22,
  EOPNOTSUPP: 95,
} as const;

/** What the C++ side (binding.cc) takes and gives. */
type NativeStep =
  | { readonly type: "netlink"; readonly protocol: number; readonly requests: Uint8Array; readonly session: string }
  | { readonly type: "nft"; readonly script: string; readonly json: boolean; readonly session: string }
  | { readonly type: "sysctl"; readonly settings: readonly Sysctl[] }
  | { readonly type: "socket"; readonly tcp: boolean; readonly address: string; readonly port: number }
  | FilesStep
  | HeldStep
  | ConntrackStep
  | PingStep
  | ExchangeStep;

/** Sends each target an unfragmented ICMP echo request, three times at most. */
export interface PingStep {
  readonly type: "ping";
  /** IPv4 addresses, with the payload's size in bytes. */
  readonly targets: readonly { readonly address: string; readonly size: number }[];
  readonly timeoutMs: number;
}

/** Sends each address `size` bytes by TCP, and awaits the same back. */
export interface ExchangeStep {
  readonly type: "exchange";
  /** IPv4. */
  readonly addresses: readonly string[];
  readonly port: number;
  readonly size: number;
  readonly timeoutMs: number;
}

/** Texts of files below /proc, as the namespace has them: of `/proc/sys/net` and `/proc/thread-self/net`. */
export interface FilesStep {
  readonly type: "files";
  readonly paths: readonly string[];
}

/** Takes over a socket that another process holds, by its descriptor there; rejects unless it is bound to the address. */
export interface HeldStep {
  readonly type: "held";
  readonly pid: number;
  readonly fd: number;
  readonly address: string;
}

/** Deletes tracked connections of `protocols` that lead into `subnets` but to none of `live`: their next packet is translated anew. */
export interface ConntrackStep {
  readonly type: "conntrack";
  /** IPv4 and IPv6 prefixes. */
  readonly subnets: readonly string[];
  readonly live: readonly string[];
  /** IP protocol numbers: 6 TCP, 17 UDP; none: all. */
  readonly protocols: readonly number[];
}

/** In place of a namespace's path: a new one, which ends with the job. */
export const freshNetns = "new:";

interface NativeAddon {
  openBalancer(object: string, cgroup: string, nodeId: string): Promise<number>;
  removeBalancer(cgroup: string, nodeId: string): Promise<void>;
  isBalancerAttached(programs: number): boolean;
  detachBalancer(programs: number): void;
  openDevicePrograms(object: string, programs: readonly string[], maps: readonly string[]): Promise<number>;
  deviceProgram(programs: number, program: number): { readonly fd: number; readonly id: number };
  changeMaps(programs: number, changes: Uint8Array): Promise<void>;
  readMap(programs: number, map: number): Promise<Uint8Array>;
  closePrograms(programs: number): void;
  netnsCookie(socket: number): bigint;
  closeSession(name: string): void;
  run(netns: string | undefined, steps: readonly NativeStep[]): Promise<unknown[]>;
}

export interface Sysctl {
  /** Below /proc/sys, such as `net/ipv4/ip_forward`; or whole, of a device: `/sys/class/net/DEVICE/…`. */
  readonly path: string;
  readonly value: string;
  /** A file that does not exist is no error. */
  readonly optional?: boolean;
}

/** The kernel's answer to one request; `error` is 0 or a positive errno. */
export interface Answer {
  readonly error: number;
  readonly explanation: string;
}

export interface NetlinkResult {
  readonly answers: readonly Answer[];
  /** For `decodeReplies`. */
  readonly replies: Uint8Array;
}

export interface NftResult {
  readonly ok: boolean;
  readonly output: string;
  readonly error: string;
}

export interface SocketResult {
  /** The caller's to close; an open one keeps its network namespace alive. */
  readonly fd: number;
  readonly port: number;
}

/** A step of a job; a job's steps are done in order in one network namespace. */
export type Step =
  | {
      readonly type: "netlink";
      readonly protocol: number;
      readonly requests: readonly Request[];
      /** As of nft steps. */
      readonly session?: string;
    }
  | {
      readonly type: "nft";
      readonly script: string;
      readonly json?: boolean;
      /** Keeps what is costly to make for the next script of this name, which must be for the same namespace; see `closeNftSession`. */
      readonly session?: string;
    }
  | { readonly type: "sysctl"; readonly settings: readonly Sysctl[] }
  | { readonly type: "socket"; readonly tcp: boolean; readonly address: string; readonly port: number }
  | FilesStep
  | HeldStep
  | ConntrackStep
  | PingStep
  | ExchangeStep;

type ResultOf<S extends Step> = S extends { type: "netlink" }
  ? NetlinkResult
  : S extends { type: "nft" }
    ? NftResult
    : S extends { type: "sysctl" }
      ? { readonly errors: readonly string[] }
      : S extends { type: "files" }
        ? { /** By path: empty where there is no such file. */ readonly texts: readonly string[] }
        : S extends { type: "conntrack" }
          ? undefined
          : S extends { type: "ping" | "exchange" }
            ? { /** Per target: empty when it answered, else why not. */ readonly outcomes: readonly string[] }
            : SocketResult;

let loaded: NativeAddon | undefined;

export function addon(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const path = fileURLToPath(new URL("build/Release/starling_net.node", import.meta.url));
  if (!existsSync(path)) throw new Error(`${path} is not built: run \`node native/build.ts\``);
  loaded = createRequire(import.meta.url)(path) as NativeAddon;
  return loaded;
}

/**
 * Does `steps` in order in the network namespace at `netns` (undefined: the process's own) on a thread of its own. A
 * refused request or script shows in its result; a step that cannot be tried at all (no such namespace, address in use,
 * library missing) rejects, and the steps after it are not done.
 */
export async function runSteps<const S extends readonly Step[]>(
  netns: string | undefined,
  steps: S,
): Promise<{ -readonly [K in keyof S]: ResultOf<S[K]> }> {
  const native = steps.map((step): NativeStep => {
    if (step.type === "netlink")
      return { ...step, requests: encodeRequests(step.requests), session: step.session ?? "" };
    if (step.type === "nft") return { ...step, json: step.json ?? false, session: step.session ?? "" };
    return step;
  });
  return (await addon().run(netns, native)) as { -readonly [K in keyof S]: ResultOf<S[K]> };
}

/** Ends the session that steps of that name kept, and with it its hold on their network namespace. */
export function closeNftSession(name: string): void {
  addon().closeSession(name);
}
