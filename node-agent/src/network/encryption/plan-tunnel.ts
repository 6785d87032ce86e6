/** Pure: no clock, no I/O, no randomness. */
import type { TunnelPeer } from "./tunnels.ts";

/** A WireGuard device as it is. */
export interface TunnelState {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly port: number;
  /** By public key. */
  readonly peers: ReadonlyMap<string, TunnelPeerState>;
}

export interface TunnelPeerState {
  readonly endpoint: string | undefined;
  readonly allowedIps: readonly string[];
  /** Seconds since the epoch; 0: never. */
  readonly handshake: number;
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
  readonly remove: readonly string[];
}

/**
 * The difference. A peer with a live session may have been found at another endpoint than the managers know (it is behind a
 * NAT, or moved): only without one is it put right.
 */
export function planTunnel(
  desired: ReadonlyMap<string, TunnelPeer>,
  observed: TunnelState["peers"],
  nowSeconds: number,
): TunnelPlan {
  const set = new Map<string, TunnelPeer>();
  for (const [key, peer] of desired) {
    const old = observed.get(key);
    const same =
      old !== undefined &&
      old.keepalive === keepaliveSeconds &&
      old.allowedIps.join() === `${peer.address}/128` &&
      (peer.endpoint === undefined || peer.endpoint === old.endpoint || isAlive(old, nowSeconds));
    if (!same) set.set(key, peer);
  }
  return { set, remove: [...observed.keys()].filter((key) => !desired.has(key)) };
}

/** Arguments of `wg set DEVICE` for peers to be there. */
export function setArguments(peers: ReadonlyMap<string, TunnelPeer>): readonly string[] {
  return [...peers].flatMap(([key, { endpoint, address }]) => [
    ...["peer", key],
    ...(endpoint === undefined ? [] : ["endpoint", endpoint]),
    ...["persistent-keepalive", `${keepaliveSeconds}`, "allowed-ips", `${address}/128`],
  ]);
}

export const removeArguments = (keys: readonly string[]): readonly string[] =>
  keys.flatMap((key) => ["peer", key, "remove"]);

/** Reads `wg show DEVICE dump`. */
export function parseDump(text: string): TunnelState {
  const [head = "", ...rows] = text.trimEnd().split("\n");
  const [privateKey = "", publicKey = "", port = "0"] = head.split("\t");
  const peers = new Map<string, TunnelPeerState>();
  for (const row of rows) {
    const [key = "", , endpoint = "(none)", allowed = "(none)", handshake = "0", , , keepalive = "off"] =
      row.split("\t");
    peers.set(key, {
      endpoint: endpoint === "(none)" ? undefined : endpoint,
      allowedIps: allowed === "(none)" ? [] : allowed.split(","),
      handshake: Number(handshake),
      keepalive: keepalive === "off" ? 0 : Number(keepalive),
    });
  }
  return { privateKey, publicKey, port: Number(port), peers };
}
