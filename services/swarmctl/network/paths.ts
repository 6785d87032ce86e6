/** Pure: no clock, no I/O, no randomness. */
import { type NetworkPath, NetworkPath_Kind, type NodeInspection } from "@starling/api";

/** How encrypted packets get from one node to another, as the first one finds. */
export interface PathRow {
  readonly nodeId: string;
  readonly node: string;
  readonly peerId: string;
  readonly peer: string;
  readonly path: "none" | "direct" | "keepalive" | "relay";
  /** The manager in between; empty without one. */
  readonly relayId: string;
  readonly relay: string;
}

/** Newer nodes may know other ways: those are shown as none that this program knows. */
const kinds: Readonly<Record<number, PathRow["path"]>> = {
  [NetworkPath_Kind.DIRECT]: "direct",
  [NetworkPath_Kind.KEEPALIVE]: "keepalive",
  [NetworkPath_Kind.RELAY]: "relay",
};

/** A row for each node and each that it exchanges encrypted packets with, by what nodes answered; sorted by their names. */
export function pathRows(nodes: readonly NodeInspection[], nameOf: (id: string) => string): readonly PathRow[] {
  const row = (nodeId: string, { nodeId: peerId, kind, relayNodeId }: NetworkPath): PathRow => ({
    ...{ nodeId, node: nameOf(nodeId), peerId, peer: nameOf(peerId) },
    ...{ path: kinds[kind] ?? "none", relayId: relayNodeId, relay: relayNodeId === "" ? "" : nameOf(relayNodeId) },
  });
  const key = ({ node, peer }: PathRow) => `${node}\0${peer}`;
  return nodes
    .flatMap(({ nodeId, paths }) => paths.map((path) => row(nodeId, path)))
    .sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** One row for two nodes that find the same; the other way's is left out. */
export function withoutMirrored(rows: readonly PathRow[]): readonly PathRow[] {
  const seen = new Set<string>();
  return rows.filter(({ nodeId, peerId, path, relayId }) => {
    if (seen.has([peerId, nodeId, path, relayId].join())) return false;
    seen.add([nodeId, peerId, path, relayId].join());
    return true;
  });
}

const words: Readonly<Record<PathRow["path"], (relay: string) => string>> = {
  none: () => "none",
  direct: () => "direct",
  keepalive: () => "direct, kept open through a NAT",
  relay: (relay) => `through ${relay}, which cannot read it`,
};

export const pathHeading = ["NODE", "PEER", "ENCRYPTED PATH"];
export const pathCells = ({ node, peer, path, relay }: PathRow): readonly string[] => [node, peer, words[path](relay)];
