/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";
import { durationMs, parseDuration } from "./duration.ts";
import type { Task } from "./gen/messages.js";

/** When tasks that run are moved to nodes that came or came back. Set by labels of the cluster (`ClusterSpec.annotations`). */
export interface RebalancePolicy {
  /** For services that say nothing themselves. Default: off. */
  readonly on: boolean;
  /** Tasks moved a minute at most, in the whole cluster. Default: 6. */
  readonly perMinute: number;
  /** How long a node must have been ready before tasks move to it, and a task have run before it moves. Default: 1 min. */
  readonly settleMs: number;
}

export const rebalanceLabels = {
  /** "on" or "off"; of a service, too, whose word counts more. */
  rebalance: "io.starling.rebalance",
  rate: "io.starling.rebalance.rate",
  settle: "io.starling.rebalance.settle",
} as const;

const defaultPerMinute = 6;
const perMinuteLimit = 6_000;
const defaultSettleMs = 60_000;
const settleLimitMs = 7 * 24 * 3_600_000;

type Labels = Readonly<Record<string, string>>;

/** What the labels of the cluster say; values that are none are passed over (validation refuses them at the edge). */
export function rebalancePolicy(cluster: Labels): RebalancePolicy {
  return {
    on: cluster[rebalanceLabels.rebalance] === "on",
    perMinute: rateOf(cluster[rebalanceLabels.rate]) ?? defaultPerMinute,
    settleMs: settleOf(cluster[rebalanceLabels.settle]) ?? defaultSettleMs,
  };
}

/** Whether the tasks of a service with these labels may be moved. */
export function mayRebalance(service: Labels, policy: RebalancePolicy): boolean {
  const own = service[rebalanceLabels.rebalance];
  return own === "on" || (own !== "off" && policy.on);
}

/** Throws InvalidArgument for a label of ours whose value is none. */
export function checkRebalanceLabels(labels: Labels): void {
  const { rebalance, rate, settle } = rebalanceLabels;
  const refuse = (label: string, what: string) => {
    throw new SwarmError("InvalidArgument", `label ${label}=${JSON.stringify(labels[label])} ${what}`);
  };
  if (!["on", "off", undefined].includes(labels[rebalance])) refuse(rebalance, "must be on or off");
  if (labels[rate] !== undefined && rateOf(labels[rate]) === undefined) {
    refuse(rate, `is not a number of tasks a minute, from 1 to ${perMinuteLimit}`);
  }
  if (labels[settle] !== undefined && settleOf(labels[settle]) === undefined) {
    refuse(settle, "is not a duration of at most 168h: write it as in 500ms, 10s or 1m30s");
  }
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,4}$/.test(text)) return undefined;
  const rate = Number(text);
  return rate >= 1 && rate <= perMinuteLimit ? rate : undefined;
}

function settleOf(text: string | undefined): number | undefined {
  const duration = text === undefined ? undefined : parseDuration(text);
  if (duration === undefined) return undefined;
  const ms = durationMs(duration);
  return ms >= 0 && ms <= settleLimitMs ? ms : undefined;
}

/**
 * Labels of a task (`Task.annotations`) by which scheduler and orchestrator agree on a move:
 * - moveTo: on a running task, written by the scheduler: it is to be replaced by one on that node;
 * - movedTo: on the same task, instead of moveTo, once the orchestrator has made its replacement;
 * - wish: on the replacement: the node that the scheduler gives it if it fits there.
 */
const moveLabels = {
  moveTo: "io.starling.rebalance.move-to",
  movedTo: "io.starling.rebalance.moved-to",
  wish: "io.starling.rebalance.node",
} as const;

export type MoveLabel = keyof typeof moveLabels;

/** Id of the node that the label names; undefined without it. */
export function moveLabelOf({ annotations }: Task, label: MoveLabel): string | undefined {
  return annotations.labels[moveLabels[label]];
}

/** The task with this label, or with none of them, in place of those it has. */
export function withMoveLabel(task: Task, label: MoveLabel | undefined, nodeId = ""): Task {
  const none = new Set<string>(Object.values(moveLabels));
  const others = Object.entries(task.annotations.labels).filter(([key]) => !none.has(key));
  const own = label === undefined ? {} : { [moveLabels[label]]: nodeId };
  return { ...task, annotations: { ...task.annotations, labels: { ...Object.fromEntries(others), ...own } } };
}
