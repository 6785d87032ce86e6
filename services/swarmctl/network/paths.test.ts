import { NetworkPath, NetworkPath_Kind, NodeInspection } from "@starling/api";
import { expect, it } from "vitest";
import { pathCells, pathRows, withoutMirrored } from "./paths.ts";

const { NONE, DIRECT, KEEPALIVE, RELAY } = NetworkPath_Kind;
const inspection = (nodeId: string, paths: readonly (readonly [string, NetworkPath_Kind, string?])[]) =>
  NodeInspection.create({
    nodeId,
    paths: paths.map(([peer, kind, relayNodeId = ""]) => NetworkPath.create({ nodeId: peer, kind, relayNodeId })),
  });
const nameOf = (id: string) => id.toUpperCase();

it("shows a pair once when both find the same, and each side's when they don't", () => {
  const rows = pathRows(
    [
      inspection("d", [["a", 99 as NetworkPath_Kind]]),
      inspection("a", [
        ["b", DIRECT],
        ["c", RELAY, "m"],
        ["d", NONE],
      ]),
      inspection("b", [
        ["a", DIRECT],
        ["c", KEEPALIVE],
      ]),
      inspection("c", [
        ["a", RELAY, "n"],
        ["b", KEEPALIVE],
      ]),
    ],
    nameOf,
  );
  expect(rows).toHaveLength(8);
  expect(withoutMirrored(rows).map((row) => pathCells(row).join(" | "))).toEqual([
    "A | B | direct",
    "A | C | through M, which cannot read it",
    "A | D | none",
    "B | C | direct, kept open through a NAT",
    "C | A | through N, which cannot read it",
  ]);
});

it("says for programs what it says for people", () => {
  expect(pathRows([inspection("a", [["c", RELAY, "m"]])], nameOf)).toEqual([
    { nodeId: "a", node: "A", peerId: "c", peer: "C", path: "relay", relayId: "m", relay: "M" },
  ]);
});
