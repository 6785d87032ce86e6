import { type Clock, type Millis, newId, type Random, type Timer } from "@starling/base";
import {
  choosePeriod,
  mustSession,
  type NodeLiveness,
  onDeadline,
  onHeartbeat,
  onLeadership,
  onRegister,
} from "./heartbeat.ts";

/** Drives heartbeat.ts: holds each node's liveness, watches the deadlines, carries out what they mean. */
export class Sessions {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #periodMs: () => Millis;
  readonly #onDown: (nodeId: string, message: string) => void;
  readonly #onOrphan: (nodeId: string) => void;
  readonly #nodes = new Map<string, { liveness: NodeLiveness; timer: Timer }>();

  constructor(options: {
    readonly clock: Clock;
    readonly random: Random;
    /** The cluster's heartbeat period now. */
    readonly periodMs: () => Millis;
    readonly onDown: (nodeId: string, message: string) => void;
    readonly onOrphan: (nodeId: string) => void;
  }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#periodMs = options.periodMs;
    this.#onDown = options.onDown;
    this.#onOrphan = options.onOrphan;
  }

  /** Expects a node that a former leader knew. */
  adopt(nodeId: string, isDown: boolean): void {
    this.#set(nodeId, onLeadership(isDown, this.#clock.monotonic(), this.#periodMs()));
  }

  /** Starts a session; earlier ones of the node end. Returns its id. */
  register(nodeId: string): string {
    const sessionId = newId();
    const event = { nodeId, sessionId, now: this.#clock.monotonic(), periodMs: this.#choose() };
    this.#set(nodeId, onRegister(this.#nodes.get(nodeId)?.liveness, event));
    return sessionId;
  }

  /** Returns the milliseconds after which the next beat is due. */
  beat(nodeId: string, sessionId: string): Millis {
    const periodMs = this.#choose();
    const node = this.#nodes.get(nodeId);
    const next = onHeartbeat(node?.liveness, { sessionId, now: this.#clock.monotonic(), periodMs });
    // The timer stays: when it fires it finds the later deadline and is set again. So a beat costs no timer.
    if (node) node.liveness = next;
    return periodMs;
  }

  /** Throws NotFound or InvalidArgument unless `sessionId` is the node's session. */
  check(nodeId: string, sessionId: string): void {
    mustSession(this.#nodes.get(nodeId)?.liveness, sessionId);
  }

  isCurrent(nodeId: string, sessionId: string): boolean {
    const liveness = this.#nodes.get(nodeId)?.liveness;
    return sessionId !== "" && liveness?.t === "registered" && liveness.sessionId === sessionId;
  }

  forget(nodeId: string): void {
    this.#nodes.get(nodeId)?.timer.cancel();
    this.#nodes.delete(nodeId);
  }

  clear(): void {
    for (const nodeId of [...this.#nodes.keys()]) this.forget(nodeId);
  }

  #choose(): Millis {
    return choosePeriod(this.#periodMs(), this.#random());
  }

  #set(nodeId: string, liveness: NodeLiveness): void {
    this.#nodes.get(nodeId)?.timer.cancel();
    this.#nodes.set(nodeId, { liveness, timer: this.#watch(nodeId, liveness) });
  }

  #watch(nodeId: string, { deadline }: NodeLiveness): Timer {
    return this.#clock.setTimer(deadline - this.#clock.monotonic(), () => this.#expire(nodeId));
  }

  #expire(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    const outcome = onDeadline(node.liveness, this.#clock.monotonic());
    switch (outcome.effect) {
      case "none":
        node.timer = this.#watch(nodeId, node.liveness);
        return;
      case "mark-down":
        this.#set(nodeId, outcome.next);
        this.#onDown(nodeId, outcome.message);
        return;
      case "orphan-tasks":
        this.forget(nodeId);
        this.#onOrphan(nodeId);
        return;
    }
  }
}
