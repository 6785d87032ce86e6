/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";

/**
 * Label of a service, or of the cluster for services without it: how the scheduler chooses among the nodes that fit. "spread"
 * (default): the one with the fewest tasks of the service; "binpack": the one most used by reservations.
 */
export const placementStrategyLabel = "io.starling.placement-strategy";

export const placementStrategies = ["spread", "binpack"] as const;
export type PlacementStrategy = (typeof placementStrategies)[number];

type Labels = Readonly<Record<string, string>>;

/** The service's own word, else the cluster's, else spread; what is neither is passed over (validation refuses it). */
export function placementStrategy(service: Labels, cluster: Labels): PlacementStrategy {
  return named(service[placementStrategyLabel]) ?? named(cluster[placementStrategyLabel]) ?? "spread";
}

/** Throws InvalidArgument for a label that names no strategy. */
export function checkPlacementStrategy(labels: Labels): void {
  const text = labels[placementStrategyLabel];
  if (text === undefined || named(text) !== undefined) return;
  throw new SwarmError(
    "InvalidArgument",
    `label ${placementStrategyLabel}=${JSON.stringify(text)} must be one of ${placementStrategies.join(", ")}`,
  );
}

function named(text: string | undefined): PlacementStrategy | undefined {
  return placementStrategies.find((name) => name === text);
}
