/** Pure: no clock, no I/O, no randomness. */
import { placementStrategyLabel, rebalanceLabels } from "@starling/api";
import type { FlagDefinition } from "../command.ts";

/** How tasks are placed and whether they are moved: of the whole cluster, or of one service. */
export interface PlacementFlags {
  readonly placementStrategy?: string;
  readonly rebalance?: string;
  /** Of the cluster only. */
  readonly rebalanceRate?: string;
  readonly rebalanceSettle?: string;
}

export const placementFlags: readonly FlagDefinition[] = [
  {
    flags: "--placement-strategy <strategy>",
    help: "Among nodes that fit: spread (fewest tasks of the service) or binpack (most used)",
  },
  { flags: "--rebalance <on|off>", help: "Move running tasks to nodes that came or came back (off)" },
];

export const clusterPlacementFlags: readonly FlagDefinition[] = [
  ...placementFlags,
  { flags: "--rebalance-rate <count>", help: "Tasks moved a minute at most (6)" },
  { flags: "--rebalance-settle <duration>", help: "How long a node is ready before tasks move to it (60s)" },
];

/** The labels with what the flags say; an empty value takes the setting back. Managers refuse what is none. */
export function withPlacement(
  labels: Readonly<Record<string, string>>,
  flags: PlacementFlags,
): Readonly<Record<string, string>> {
  const next = { ...labels };
  const own: readonly (readonly [label: string, value: string | undefined])[] = [
    [placementStrategyLabel, flags.placementStrategy],
    [rebalanceLabels.rebalance, flags.rebalance],
    [rebalanceLabels.rate, flags.rebalanceRate],
    [rebalanceLabels.settle, flags.rebalanceSettle],
  ];
  for (const [label, value] of own) {
    if (value === "") delete next[label];
    else if (value !== undefined) next[label] = value;
  }
  return next;
}
