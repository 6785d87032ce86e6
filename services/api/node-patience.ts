/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";

/**
 * How long managers wait for a node that fell silent. Set by labels of the cluster (`ClusterSpec.annotations`) and, for one
 * node, of the node (`NodeSpec.annotations`), whose word counts more.
 *
 * Invariant: alertMs <= moveMs.
 */
export interface NodePatience {
  /** Silence after which a node is no longer shown as ready and gets no new tasks. Default: three heartbeat periods. */
  readonly alertMs: number;
  /** Silence after which a node counts as lost and its tasks are replaced. Default: as alertMs. */
  readonly moveMs: number;
  /** As moveMs, when the host is known to live: it answers, or its swarmd took leave to be restarted. Default: 60 s. */
  readonly graceMs: number;
  readonly damping: FlapDamping;
}

/** When a node that comes and goes is held back at its return, so that tasks do not follow it. */
export interface FlapDamping {
  /** Lost this often within the window, it is held back. Default: 3; 0: never. */
  readonly losses: number;
  /** Losses within this time count together. Default: 10 min. */
  readonly windowMs: number;
  /** How long it is held back first; twice that for each loss more, ten times at most. Default: 30 s; 0: not at all. */
  readonly holdMs: number;
}

export const patienceLabels = {
  alertAfter: "io.starling.node.alert-after",
  moveAfter: "io.starling.node.move-after",
  restartGrace: "io.starling.node.restart-grace",
  flapLosses: "io.starling.node.flap-losses",
  flapWindow: "io.starling.node.flap-window",
  flapHold: "io.starling.node.flap-hold",
} as const;

export const defaultDamping: FlapDamping = { losses: 3, windowMs: 10 * 60_000, holdMs: 30_000 };

/** Periods missed until a node is no longer ready. */
const alertPeriods = 3;
/** A node that beats in time must never be taken for silent. */
const alertPeriodsMin = 2;
const defaultGraceMs = 60_000;
const lossesLimit = 1_000;
const limitMs = 7 * 24 * 3_600_000;

type Labels = Readonly<Record<string, string>>;

/** What the labels say; values that are none are passed over (validation refuses them at the edge). */
export function nodePatience(cluster: Labels, node: Labels, heartbeatPeriodMs: number): NodePatience {
  const read = (key: string): number | undefined => parseLabel(node[key]) ?? parseLabel(cluster[key]);
  const alertMs = Math.max(
    read(patienceLabels.alertAfter) ?? heartbeatPeriodMs * alertPeriods,
    heartbeatPeriodMs * alertPeriodsMin,
  );
  return {
    alertMs,
    moveMs: Math.max(alertMs, read(patienceLabels.moveAfter) ?? alertMs),
    graceMs: read(patienceLabels.restartGrace) ?? defaultGraceMs,
    damping: {
      losses:
        parseCount(node[patienceLabels.flapLosses]) ??
        parseCount(cluster[patienceLabels.flapLosses]) ??
        defaultDamping.losses,
      windowMs: read(patienceLabels.flapWindow) ?? defaultDamping.windowMs,
      holdMs: read(patienceLabels.flapHold) ?? defaultDamping.holdMs,
    },
  };
}

/** Throws InvalidArgument for a label of ours whose value is not a duration, or (losses) not a number. */
export function checkPatienceLabels(labels: Labels): void {
  const { flapLosses, ...durations } = patienceLabels;
  const losses = labels[flapLosses];
  if (losses !== undefined && parseCount(losses) === undefined) {
    throw new SwarmError(
      "InvalidArgument",
      `label ${flapLosses}=${JSON.stringify(losses)} is not a whole number from 0 to ${lossesLimit}`,
    );
  }
  for (const key of Object.values(durations)) {
    const value = labels[key];
    if (value === undefined || parseLabel(value) !== undefined) continue;
    throw new SwarmError(
      "InvalidArgument",
      `label ${key}=${JSON.stringify(value)} is not a duration of at most 168h: write it as in 500ms, 10s or 1m30s`,
    );
  }
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration such as `1m30s`; undefined for what is none. */
function parseLabel(text: string | undefined): number | undefined {
  if (text === "0") return 0;
  if (text === undefined || text.length > 32 || !/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) ms += Number(number) * unitMs[unit!]!;
  return ms <= limitMs ? ms : undefined;
}

function parseCount(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,4}$/.test(text)) return undefined;
  return Number(text) <= lossesLimit ? Number(text) : undefined;
}
