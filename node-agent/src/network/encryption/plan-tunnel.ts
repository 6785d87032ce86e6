/** Pure: no clock, no I/O, no randomness. */
import type { Millis } from "@starling/base";
import { isRelayed } from "./addresses.ts";
import type { TunnelPeer } from "./tunnels.ts";

/** A WireGuard device as it is. */
export interface TunnelState {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly port: number;
  /** When the key was made, by the host's clock; undefined: not known. */
  readonly since: Millis | undefined;
  /** By public key. */
  readonly peers: ReadonlyMap<string, TunnelPeerState>;
}

export interface TunnelPeerState {
  readonly endpoint: string | undefined;
  readonly allowedIps: readonly string[];
  /** Seconds since the epoch; 0: never. */
  readonly handshake: number;
  /** Bytes, both ways. */
  readonly received: number;
  readonly sent: number;
  /** Seconds; 0: none. */
  readonly keepalive: number;
}

/** So often a peer is sent something, so that NATs keep the way open and a session is there before it is needed. */
export const keepaliveSeconds = 25;
/** A session is dead without a handshake within this time (WireGuard's REJECT_AFTER_TIME). */
export const sessionSeconds = 180;

export const isAlive = (peer: TunnelPeerState | undefined, nowSeconds: number): boolean =>
  peer !== undefined && peer.handshake > 0 && nowSeconds - peer.handshake < sessionSeconds;

/** What turns a device's peers into those that it should have. Keys are public ones. */
export interface TunnelPlan {
  readonly set: ReadonlyMap<string, TunnelPeer>;
  /** Those to be set whose session is to begin anew: they are reached by another way from now on, which a handshake tries at once. */
  readonly anew: readonly string[];
  readonly remove: readonly string[];
}

/**
 * The difference. A peer with a live session may have been found at another endpoint than the managers know (it is behind a
 * NAT, or moved): only without one is it put right. But which peers are reached by a relay is decided here.
 */
export function planTunnel(
  desired: ReadonlyMap<string, TunnelPeer>,
  observed: TunnelState["peers"],
  nowSeconds: number,
): TunnelPlan {
  const set = new Map<string, TunnelPeer>();
  const anew: string[] = [];
  for (const [key, peer] of desired) {
    const old = observed.get(key);
    const other =
      old !== undefined && peer.endpoint !== undefined && isRelayed(peer.endpoint) !== isRelayed(old.endpoint);
    const isFound = isAlive(old, nowSeconds) && !other;
    const same =
      old !== undefined &&
      old.keepalive === peer.keepalive &&
      old.allowedIps.toSorted().join() === prefixes(peer).toSorted().join() &&
      (peer.endpoint === undefined || peer.endpoint === old.endpoint || isFound);
    if (!same) set.set(key, isFound ? { ...peer, endpoint: undefined } : peer);
    if (other) anew.push(key);
  }
  return { set, anew, remove: [...observed.keys()].filter((key) => !desired.has(key)) };
}

const prefixes = ({ addresses }: TunnelPeer): readonly string[] => addresses.map((address) => `${address}/128`);

/**
 * Keys of peers whose session is to begin and which call first: of two nodes the one with the lesser id. Two that learn of one another
 * at the same moment and call each other at once have no session for 5 s: each answers, and forgets its own call, as WireGuard keeps the
 * state of one handshake for a peer.
 */
export function callsFirst({ set, anew }: TunnelPlan, observed: TunnelState["peers"], nodeId: string): Set<string> {
  const begins = (key: string) => !observed.has(key) || anew.includes(key);
  const first = [...set].filter(([key, peer]) => begins(key) && peer.keepalive > 0 && peer.nodeId < nodeId);
  return new Set(first.map(([key]) => key));
}

/** Arguments of `wg set DEVICE` for peers to be there; those of `silent` are not called yet. */
export function setArguments(
  { set, anew }: Pick<TunnelPlan, "set" | "anew">,
  silent: Pick<ReadonlySet<string>, "has"> = new Set(),
): readonly string[] {
  return [...set].flatMap(([key, peer]) => [
    ...(anew.includes(key) ? ["peer", key, "remove"] : []),
    ...["peer", key],
    ...(peer.endpoint === undefined ? [] : ["endpoint", peer.endpoint]),
    ...["persistent-keepalive", silent.has(key) ? "0" : `${peer.keepalive}`, "allowed-ips", prefixes(peer).join()],
  ]);
}

export const removeArguments = (keys: readonly string[]): readonly string[] =>
  keys.flatMap((key) => ["peer", key, "remove"]);

/** A key's age is written on its device, as its alias: both end together, and no restart of swarmd makes the key young again. */
export const formatSince = (since: Millis): string => `key of ${since}`;

export function parseSince(alias: string): Millis | undefined {
  const [, digits] = /^key of (\d{1,15})$/.exec(alias) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** Reads `wg show DEVICE dump`. */
export function parseDump(text: string): Omit<TunnelState, "since"> {
  const [head = "", ...rows] = text.trimEnd().split("\n");
  const [privateKey = "", publicKey = "", port = "0"] = head.split("\t");
  const peers = new Map<string, TunnelPeerState>();
  for (const row of rows) {
    const [
      key = "",
      ,
      endpoint = "(none)",
      allowed = "(none)",
      handshake = "0",
      received = "0",
      sent = "0",
      keepalive = "off",
    ] = row.split("\t");
    peers.set(key, {
      endpoint: endpoint === "(none)" ? undefined : endpoint,
      allowedIps: allowed === "(none)" ? [] : allowed.split(","),
      handshake: Number(handshake),
      received: Number(received),
      sent: Number(sent),
      keepalive: keepalive === "off" ? 0 : Number(keepalive),
    });
  }
  return { privateKey, publicKey, port: Number(port), peers };
}
