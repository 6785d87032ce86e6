/** Pure: no clock, no I/O, no randomness. */
import { assertNever, type Millis, SwarmError } from "@starling/base";

/**
 * What the leader knows of a node's liveness.
 * - unknown: was alive under the former leader; a registration makes it registered, its deadline makes it down
 * - registered: beats; a missed deadline makes it down
 * - down: a registration makes it registered; at its deadline its tasks are given up
 */
export type NodeLiveness =
  | { readonly t: "unknown"; readonly deadline: Millis }
  | {
      readonly t: "registered";
      readonly deadline: Millis;
      readonly sessionId: string;
      /** Start of the present window of the registration limit, and the registrations within it. */
      readonly windowStart: Millis;
      readonly registrations: number;
    }
  | { readonly t: "down"; readonly deadline: Millis };

/** Periods missed until a node counts as down; one more right after a change of leader, for the time of its election. */
export const gracePeriods = 3;
export const unknownGracePeriods = gracePeriods + 1;
/** How long tasks of a node that is down keep their last state (Swarm: defaultNodeDownPeriod). */
export const orphanAfterMs = 24 * 3_600_000;
/** Swarm's limit is 3 in 8 s at a heartbeat period of 5 s. */
export const registrationsMax = 3;
export const registrationWindowMs = 1_600;
/** Periods vary by a tenth either way, so that nodes do not beat in step. */
const periodSpread = 0.1;

/** The next period of one node, chosen anew at each beat. `random` in [0, 1). */
export function choosePeriod(baseMs: Millis, random: number): Millis {
  return baseMs * (1 - periodSpread + 2 * periodSpread * random);
}

/** State of a node that a new leader finds in the store. */
export function onLeadership(isDown: boolean, now: Millis, periodMs: Millis): NodeLiveness {
  return isDown
    ? { t: "down", deadline: now + orphanAfterMs }
    : { t: "unknown", deadline: now + periodMs * unknownGracePeriods };
}

/** Throws Unavailable when the node registers more than 3 times in a window. */
export function onRegister(
  node: NodeLiveness | undefined,
  event: { readonly nodeId: string; readonly sessionId: string; readonly now: Millis; readonly periodMs: Millis },
): NodeLiveness {
  const { nodeId, sessionId, now, periodMs } = event;
  const deadline = now + periodMs * gracePeriods;
  if (node?.t !== "registered" || now - node.windowStart > registrationWindowMs) {
    return { t: "registered", sessionId, deadline, windowStart: now, registrations: 1 };
  }
  if (node.registrations >= registrationsMax) {
    throw new SwarmError("Unavailable", `node ${nodeId} exceeded rate limit count of registrations`);
  }
  return { ...node, sessionId, deadline, registrations: node.registrations + 1 };
}

/** Throws NotFound or InvalidArgument when the session is not the node's present one. */
export function onHeartbeat(
  node: NodeLiveness | undefined,
  event: { readonly sessionId: string; readonly now: Millis; readonly periodMs: Millis },
): NodeLiveness {
  return { ...mustSession(node, event.sessionId), deadline: event.now + event.periodMs * gracePeriods };
}

/** What a deadline that has passed means. `next` undefined: nothing more is expected of the node. */
export function onDeadline(
  node: NodeLiveness,
  now: Millis,
):
  | { readonly effect: "none" }
  | { readonly effect: "mark-down"; readonly next: NodeLiveness; readonly message: string }
  | { readonly effect: "orphan-tasks"; readonly next: undefined } {
  if (now < node.deadline) return { effect: "none" };
  const down = { t: "down", deadline: now + orphanAfterMs } as const;
  switch (node.t) {
    case "registered":
      return { effect: "mark-down", next: down, message: "heartbeat failure" };
    case "unknown":
      return { effect: "mark-down", next: down, message: 'heartbeat failure for node in "unknown" state' };
    case "down":
      return { effect: "orphan-tasks", next: undefined };
    default:
      return assertNever(node);
  }
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
