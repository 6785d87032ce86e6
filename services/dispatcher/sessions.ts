import type { NodePatience } from "@starling/api";
import { type Clock, type Millis, newId, type Random, type SwarmError, type Timer } from "@starling/base";
import { holdBackMs, type Losses, noteLoss } from "./flapping.ts";
import {
  choosePeriod,
  mustSession,
  type NodeLiveness,
  onAnswer,
  onHeartbeat,
  onLeadership,
  onLeave,
  onRegister,
  whatIsDue,
} from "./heartbeat.ts";
import type { Patiences } from "./patiences.ts";

export interface SessionsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly patiences: Patiences;
  /** Whether anything of the node's host answers. Never rejects. */
  readonly probe: (nodeId: string) => Promise<boolean>;
  readonly onAway: (nodeId: string, message: string) => void;
  readonly onDown: (nodeId: string, message: string) => void;
  readonly onOrphan: (nodeId: string) => void;
  /** A node that was held back has stayed long enough. */
  readonly onSteady: (nodeId: string, sessionId: string) => void;
}

interface WatchedNode {
  liveness: NodeLiveness;
  timer: Timer;
  losses: Losses;
  /** Ends the time for which it is held back. */
  hold?: Timer | undefined;
}

/** Drives heartbeat.ts: holds each node's liveness, watches the deadlines, carries out what they mean. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #clock: Clock;
  readonly #nodes = new Map<string, WatchedNode>();
  #over: SwarmError | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Expects a node that a former leader knew. */
  adopt(nodeId: string, found: "alive" | "away" | "down"): void {
    this.#set(nodeId, onLeadership(found, this.#circumstances(nodeId)));
  }

  /** Starts a session; earlier ones of the node end. Tells its id, and how long the node is held back. */
  register(nodeId: string): { readonly sessionId: string; readonly heldBackMs: Millis } {
    const sessionId = newId();
    const now = this.#clock.monotonic();
    const node = this.#nodes.get(nodeId);
    this.#set(nodeId, onRegister(node?.liveness, { nodeId, sessionId, now, patience: this.#patience(nodeId) }));
    const heldBackMs = holdBackMs(node?.losses ?? [], now, this.#patience(nodeId).damping);
    if (heldBackMs > 0) {
      this.#nodes.get(nodeId)!.hold = this.#clock.setTimer(heldBackMs, () => {
        if (this.isCurrent(nodeId, sessionId)) this.#options.onSteady(nodeId, sessionId);
      });
    }
    return { sessionId, heldBackMs };
  }

  /** Returns the milliseconds after which the next beat is due. */
  beat(nodeId: string, sessionId: string): Millis {
    const node = this.#nodes.get(nodeId);
    const patience = this.#patience(nodeId);
    const next = onHeartbeat(node?.liveness, { sessionId, now: this.#clock.monotonic(), patience });
    // The timer stays: when it fires it finds the later deadline and is set again. So a beat costs no timer.
    if (node) node.liveness = next;
    return choosePeriod(this.#options.patiences.periodMs(), this.#options.random());
  }

  /** Ends the session of a node whose swarmd takes leave; returns how long its return is awaited. */
  leave(nodeId: string, sessionId: string): Millis {
    const now = this.#clock.monotonic();
    const patience = this.#patience(nodeId);
    const next = onLeave(this.#nodes.get(nodeId)?.liveness, { sessionId, now, patience });
    this.#set(nodeId, next);
    return next.deadline - now;
  }

  /** Ends the session of a node whose host goes down with its containers. */
  shutDown(nodeId: string, sessionId: string): Millis {
    this.check(nodeId, sessionId);
    this.#set(nodeId, onLeadership("down", this.#circumstances(nodeId)));
    return 0;
  }

  /** Throws NotFound or InvalidArgument unless `sessionId` is the node's session, or what all sessions have ended with. */
  check(nodeId: string, sessionId: string): void {
    if (this.#over !== undefined) throw this.#over;
    mustSession(this.#nodes.get(nodeId)?.liveness, sessionId);
  }

  isCurrent(nodeId: string, sessionId: string): boolean {
    const liveness = this.#nodes.get(nodeId)?.liveness;
    return sessionId !== "" && liveness?.t === "registered" && liveness.sessionId === sessionId;
  }

  forget(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    node?.timer.cancel();
    node?.hold?.cancel();
    this.#nodes.delete(nodeId);
  }

  /** Ends all sessions; `check` throws the error from now on. */
  end(error: SwarmError): void {
    this.#over = error;
    for (const nodeId of [...this.#nodes.keys()]) this.forget(nodeId);
  }

  #circumstances(nodeId: string) {
    return {
      now: this.#clock.monotonic(),
      periodMs: this.#options.patiences.periodMs(),
      patience: this.#patience(nodeId),
    };
  }

  #patience(nodeId: string): NodePatience {
    return this.#options.patiences.of(nodeId);
  }

  #set(nodeId: string, liveness: NodeLiveness, losses = this.#nodes.get(nodeId)?.losses ?? []): void {
    const node = this.#nodes.get(nodeId);
    node?.timer.cancel();
    node?.hold?.cancel();
    this.#nodes.set(nodeId, { liveness, losses, timer: this.#askAt(nodeId, this.#clock.monotonic()) });
    this.#ask(nodeId);
  }

  #askAt(nodeId: string, at: Millis): Timer {
    return this.#clock.setTimer(Math.max(0, at - this.#clock.monotonic()), () => this.#ask(nodeId));
  }

  #ask(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    node.timer.cancel();
    const now = this.#clock.monotonic();
    const due = whatIsDue(node.liveness, now, this.#patience(nodeId));
    switch (due.effect) {
      case "none":
        node.timer = this.#askAt(nodeId, due.at);
        return;
      case "probe":
        node.liveness = due.next;
        node.timer = this.#askAt(nodeId, due.at);
        void this.#probe(nodeId);
        return;
      case "mark-away":
        this.#set(nodeId, due.next);
        this.#options.onAway(nodeId, due.message);
        return;
      case "mark-down":
        this.#set(nodeId, due.next, noteLoss(node.losses, now, this.#patience(nodeId).damping));
        this.#options.onDown(nodeId, due.message);
        return;
      case "orphan-tasks":
        this.forget(nodeId);
        this.#options.onOrphan(nodeId);
        return;
    }
  }

  async #probe(nodeId: string): Promise<void> {
    if (!(await this.#options.probe(nodeId))) return;
    const node = this.#nodes.get(nodeId);
    if (node) node.liveness = onAnswer(node.liveness, this.#clock.monotonic(), this.#patience(nodeId));
  }
}
