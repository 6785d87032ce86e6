/** Pure: no clock, no I/O, no randomness. */
import { NetworkPath, NetworkPath_Kind } from "@starling/api";
import type { Finding } from "../describe-plan.ts";
import type { NetworkView } from "../state.ts";
import type { Way } from "./relaying.ts";
import { isBehindNat } from "./ways.ts";

/** Nodes that encrypted packets don't get to, in words that say what to do. */
export const judgeWays = (ways: ReadonlyMap<string, Way>): readonly Finding[] =>
  [...ways].flatMap(([nodeId, way]) =>
    way.t === "none"
      ? [{ subject: "encryption", detail: `packets of encrypted networks don't get to node ${nodeId}: ${way.reason}` }]
      : [],
  );

/** The way as managers are told. */
export function pathOf(
  view: NetworkView,
  { from, to, way }: { readonly from: string; readonly to: string; readonly way: Way },
): NetworkPath {
  const { NONE, DIRECT, KEEPALIVE, RELAY } = NetworkPath_Kind;
  if (way.t === "none") return NetworkPath.create({ nodeId: to, kind: NONE });
  if (way.t === "relay") return NetworkPath.create({ nodeId: to, kind: RELAY, relayNodeId: way.manager });
  const isKeptOpen = [from, to].some((id) => isBehindNat(view.nodes.get(id)));
  return NetworkPath.create({ nodeId: to, kind: isKeptOpen ? KEEPALIVE : DIRECT });
}
