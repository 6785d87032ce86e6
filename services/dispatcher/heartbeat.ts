/** Pure: no clock, no I/O, no randomness. */
import type { NodePatience } from "@starling/api";
import { assertNever, type Millis, SwarmError } from "@starling/base";

/**
 * What the leader knows of a node's liveness.
 * - unknown: was alive under the former leader; a registration makes it registered, its deadline away or down
 * - registered: beats; a missed deadline makes it away or down, its leave away
 * - away: silent, but nothing says that its containers are lost; a registration makes it registered, its deadline down
 * - down: a registration makes it registered; at its deadline its tasks are given up
 */
export type NodeLiveness =
  | (Watched & { readonly t: "unknown" })
  | (Watched & {
      readonly t: "registered";
      readonly sessionId: string;
      /** Start of the present window of the registration limit, and the registrations within it. */
      readonly windowStart: Millis;
      readonly registrations: number;
    })
  | (Watched & { readonly t: "away"; readonly since: Millis })
  | { readonly t: "down"; readonly deadline: Millis };

/** Shortly before its deadline a silent node's host is probed: does anything of it still answer? */
interface Watched {
  readonly deadline: Millis;
  /** First probe of the present silence. */
  readonly probedAt?: Millis | undefined;
  /** Last sign of life of the host. */
  readonly answeredAt?: Millis | undefined;
}

/** How long tasks of a node that is down keep their last state (Swarm: defaultNodeDownPeriod). */
export const orphanAfterMs = 24 * 3_600_000;
/** Swarm's limit is 3 in 8 s at a heartbeat period of 5 s. */
export const registrationsMax = 3;
export const registrationWindowMs = 1_600;
/** Periods vary by a tenth either way, so that nodes do not beat in step. */
const periodSpread = 0.1;
/** Probing begins this long before a deadline, or a third of the time until it. */
const probeLeadMsMax = 1_000;
/** Pause between probes of a node that is away. */
export const probeEveryMs = 1_000;

/**
 * Beats in a second that are asked of all nodes together: a leader spends a third of a core on so many that are
 * calls, half of that on our agents'.
 */
const beatsPerSecondMost = 1_100;

/** The period of a cluster with so many nodes: the one that is wanted, unless there are too many nodes for that. */
export function periodOf(wantedMs: Millis, nodes: number): Millis {
  return Math.max(wantedMs, (nodes * 1_000) / beatsPerSecondMost);
}

/** The next period of one node, chosen anew at each beat. `random` in [0, 1). */
export function choosePeriod(baseMs: Millis, random: number): Millis {
  return baseMs * (1 - periodSpread + 2 * periodSpread * random);
}

/** State of a node that a new leader finds in the store. One that should beat gets a period more, for the election. */
export function onLeadership(
  found: "alive" | "away" | "down",
  event: { readonly now: Millis; readonly periodMs: Millis; readonly patience: NodePatience },
): NodeLiveness {
  const { now, periodMs, patience } = event;
  switch (found) {
    case "alive":
      return { t: "unknown", deadline: now + patience.alertMs + periodMs };
    case "away":
      return { t: "away", since: now, deadline: now + patience.graceMs };
    case "down":
      return { t: "down", deadline: now + orphanAfterMs };
  }
}

/** Throws Unavailable when the node registers more than 3 times in a window. */
export function onRegister(
  node: NodeLiveness | undefined,
  event: {
    readonly nodeId: string;
    readonly sessionId: string;
    readonly now: Millis;
    readonly patience: NodePatience;
  },
): NodeLiveness {
  const { nodeId, sessionId, now, patience } = event;
  const deadline = now + patience.alertMs;
  if (node?.t !== "registered" || now - node.windowStart > registrationWindowMs) {
    return { t: "registered", sessionId, deadline, windowStart: now, registrations: 1 };
  }
  if (node.registrations >= registrationsMax) {
    throw new SwarmError("Unavailable", `node ${nodeId} exceeded rate limit count of registrations`);
  }
  const { windowStart, registrations } = node;
  return { t: "registered", sessionId, deadline, windowStart, registrations: registrations + 1 };
}

/** Throws NotFound or InvalidArgument when the session is not the node's present one. */
export function onHeartbeat(
  node: NodeLiveness | undefined,
  event: { readonly sessionId: string; readonly now: Millis; readonly patience: NodePatience },
): NodeLiveness {
  const { now, patience } = event;
  return { ...mustSession(node, event.sessionId), deadline: now + patience.alertMs, probedAt: undefined };
}

/** The node's swarmd took leave to be restarted. Throws as `mustSession` does. */
export function onLeave(
  node: NodeLiveness | undefined,
  event: { readonly sessionId: string; readonly now: Millis; readonly patience: NodePatience },
): NodeLiveness {
  mustSession(node, event.sessionId);
  return { t: "away", since: event.now, deadline: event.now + event.patience.graceMs };
}

/** The host answered a probe. One that is away gets the whole grace then. */
export function onAnswer(node: NodeLiveness, now: Millis, patience: NodePatience): NodeLiveness {
  if (node.t === "down") return node;
  if (node.t !== "away") return { ...node, answeredAt: now };
  return { ...node, answeredAt: now, deadline: Math.max(node.deadline, node.since + patience.graceMs) };
}

/** What is due now. `at`: when to ask again; absent when nothing more is expected of the node. */
export type Due =
  | { readonly effect: "none"; readonly at: Millis }
  | { readonly effect: "probe"; readonly next: NodeLiveness; readonly at: Millis }
  | { readonly effect: "mark-away" | "mark-down"; readonly next: NodeLiveness; readonly message: string }
  | { readonly effect: "orphan-tasks" };

export function whatIsDue(node: NodeLiveness, now: Millis, patience: NodePatience): Due {
  switch (node.t) {
    case "registered":
    case "unknown":
      return silent(node, now, patience);
    case "away":
      return away(node, now, patience);
    case "down":
      return now < node.deadline ? { effect: "none", at: node.deadline } : { effect: "orphan-tasks" };
    default:
      return assertNever(node);
  }
}

function silent(
  node: NodeLiveness & { readonly t: "registered" | "unknown" },
  now: Millis,
  patience: NodePatience,
): Due {
  const leadMs = Math.min(probeLeadMsMax, patience.alertMs / 3);
  const probeFrom = node.deadline - leadMs;
  if (now < probeFrom) return { effect: "none", at: probeFrom };
  // A leader that was held up itself gives the probe its time all the same.
  const until = Math.max(node.deadline, (node.probedAt ?? now) + leadMs / 2);
  if (now < until) {
    return {
      effect: "probe",
      next: { ...node, probedAt: node.probedAt ?? now },
      at: Math.min(until, now + leadMs / 3),
    };
  }
  const lives = node.answeredAt !== undefined && node.answeredAt >= probeFrom && patience.graceMs > 0;
  const waitMs = lives ? patience.graceMs : patience.moveMs - patience.alertMs;
  if (waitMs > 0) {
    return {
      effect: "mark-away",
      next: { t: "away", since: now, deadline: now + waitMs, answeredAt: lives ? node.answeredAt : undefined },
      message: `heartbeat failure${lives ? ", but the host answers" : ""}: its tasks are left alone for ${seconds(waitMs)}`,
    };
  }
  const message = node.t === "unknown" ? 'heartbeat failure for node in "unknown" state' : "heartbeat failure";
  return down(now, message);
}

function away(node: NodeLiveness & { readonly t: "away" }, now: Millis, patience: NodePatience): Due {
  if (now >= node.deadline) return down(now, `heartbeat failure: not back within ${seconds(now - node.since)}`);
  if (node.answeredAt !== undefined && now - node.answeredAt >= patience.moveMs) {
    return down(now, "heartbeat failure: the host answered, and does no more");
  }
  return { effect: "probe", next: node, at: Math.min(node.deadline, now + probeEveryMs) };
}

function down(now: Millis, message: string): Due {
  return { effect: "mark-down", next: { t: "down", deadline: now + orphanAfterMs }, message };
}

export function seconds(ms: Millis): string {
  return `${Math.round(ms / 100) / 10} s`;
}

/** The node, if `sessionId` is its present session. */
export function mustSession(
  node: NodeLiveness | undefined,
  sessionId: string,
): NodeLiveness & { readonly t: "registered" } {
  if (node?.t !== "registered") throw new SwarmError("NotFound", "node not registered");
  if (sessionId === "" || node.sessionId !== sessionId) throw new SwarmError("InvalidArgument", "session invalid");
  return node;
}
