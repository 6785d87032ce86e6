import {
  type NetworkInspection,
  NetworkStateMessage,
  NetworkStateMessage_Type,
  type NetworkStateQuestion,
  type NetworkStateReport,
} from "@starling/api";
import { type Clock, inSteps, type Logger, newId, Pacer, SwarmError, type Watcher } from "@starling/base";
import type { MemoryStore, ObjectEvent, StoreObject } from "@starling/store";
import { ClusterState, type ItemKey } from "./cluster-state.ts";
import type { NetworkStateOptions } from "./handlers.ts";
import { NodeView } from "./node-view.ts";
import { Settling } from "./settling.ts";

/** After a new leader's first stream, other nodes have this long to open theirs before tasks are told that they are drained. */
const gatheringMs = 1_000;

/** One node's Watch call. */
interface Stream {
  readonly id: string;
  readonly view: NodeView;
  readonly changed: Set<ItemKey>;
  readonly questions: NetworkStateQuestion[];
  /** Endpoints by the sequence of the message that said that they stop. */
  readonly unconfirmed: Map<number, readonly ItemKey[]>;
  wake: () => void;
}

/** Who must have applied a change before a task may stop: a stream, or the time in which nodes find a new leader. */
type Waiter = Stream | "gathering";

/** The one reader of the store and its streams. Ends with its last stream, or when the store's watch ends. */
export class SharedState {
  readonly #state = new ClusterState();
  /** By id. */
  readonly #streams = new Map<string, Stream>();
  readonly #settling = new Settling<Waiter>();
  readonly #stop = new AbortController();
  readonly #log: Logger;
  /** Who waits for a node's answer, by the question's id. */
  readonly #asking = new Map<string, (nodeId: string, inspection: NetworkInspection) => void>();
  ended = false;

  /** Resolves when the state is what the store has. */
  readonly #ready: Promise<void>;

  constructor({ store, log, clock }: NetworkStateOptions) {
    this.#log = log;
    this.#ready = this.#load(store, clock);
  }

  async #load(store: MemoryStore, clock: Clock): Promise<void> {
    const kinds = ["network", "node", "service", "task", "commit"] as const;
    const { value: tx, events } = store.viewAndWatch((tx) => tx, { kinds, signal: this.#stop.signal });
    const ignored = new Set<ItemKey>();
    const note = <K extends "network" | "node" | "service" | "task">(kind: K) =>
      inSteps(tx[`${kind}s`].each() as Iterable<StoreObject>, (object) => {
        this.#state.note({ kind, action: "create", object } as ObjectEvent, ignored);
        ignored.clear();
      });
    const pacer = new Pacer(clock);
    for (const kind of ["network", "node", "service", "task"] as const) await pacer.run(note(kind));
    for (const key of this.#state.takeStopping()) this.#settling.wait(key, "gathering");
    const timer = clock.setTimer(gatheringMs, () => this.#drained(this.#settling.forget("gathering")));
    this.#stop.signal.addEventListener("abort", () => timer.cancel(), { once: true });
    void this.#read(events);
  }

  async *stream(nodeId: string, signal: AbortSignal): AsyncGenerator<NetworkStateMessage> {
    await this.#ready;
    const stream: Stream = {
      id: newId(),
      view: new NodeView(this.#state, nodeId, (key) => this.#settling.isDrained(key)),
      changed: new Set(),
      questions: [],
      unconfirmed: new Map(),
      wake: () => {},
    };
    const onAbort = () => stream.wake();
    this.#streams.set(stream.id, stream);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      let sequence = 1;
      const complete = stream.view.complete();
      // What the node does now nobody knows: tasks that stop wait until it has applied this.
      const stopping = [...this.#state.stopping].filter((key) => this.#concerns(key, stream));
      for (const key of stopping) this.#settling.wait(key, stream);
      if (stopping.length > 0) stream.unconfirmed.set(sequence, stopping);
      yield NetworkStateMessage.create({
        type: NetworkStateMessage_Type.COMPLETE,
        sequence,
        changes: complete,
        streamId: stream.id,
        acknowledge: stopping.length > 0,
      });
      while (!signal.aborted) {
        if (this.ended) throw new SwarmError("Unavailable", "the store cannot be followed any longer: watch again");
        if (stream.changed.size === 0 && stream.questions.length === 0) {
          await new Promise<void>((resolve) => {
            stream.wake = resolve;
          });
          continue;
        }
        const told = [...stream.changed].filter((key) => stream.view.sendsTo(key));
        const changes = stream.view.changes(stream.changed);
        stream.changed.clear();
        const questions = stream.questions.splice(0);
        const stopped = told.filter((key) => !stream.view.sendsTo(key));
        if (changes.length === 0 && questions.length === 0) continue;
        sequence++;
        if (stopped.length > 0) stream.unconfirmed.set(sequence, stopped);
        yield NetworkStateMessage.create({
          type: NetworkStateMessage_Type.INCREMENTAL,
          sequence,
          changes,
          acknowledge: stopped.length > 0,
          questions,
        });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#streams.delete(stream.id);
      this.#drained(this.#settling.forget(stream));
      if (this.#streams.size === 0) this.#end();
    }
  }

  /** Takes in what a node tells; false when its stream is gone. */
  report(nodeId: string, report: NetworkStateReport): boolean {
    const stream = this.#streams.get(report.streamId);
    if (stream === undefined || stream.view.nodeId !== nodeId) return false;
    for (const [sequence, keys] of stream.unconfirmed) {
      if (sequence > report.applied) continue;
      stream.unconfirmed.delete(sequence);
      this.#drained(this.#settling.settle(keys, stream));
    }
    const changed = new Set<ItemKey>();
    for (const taskId of report.leaving) this.#state.noteLeaving(nodeId, taskId, changed);
    this.#publish(changed);
    if (report.inspection !== undefined) this.#asking.get(report.inspection.questionId)?.(nodeId, report.inspection);
    return true;
  }

  /** Nodes that have a stream now. */
  get connected(): ReadonlySet<string> {
    return new Set([...this.#streams.values()].map(({ view }) => view.nodeId));
  }

  /** Asks nodes; `onAnswer` hears each answer, once or more. Returns what ends the asking. */
  ask(
    question: NetworkStateQuestion,
    nodeIds: ReadonlySet<string>,
    onAnswer: (nodeId: string, inspection: NetworkInspection) => void,
  ): () => void {
    this.#asking.set(question.id, onAnswer);
    for (const stream of this.#streams.values()) {
      if (!nodeIds.has(stream.view.nodeId)) continue;
      stream.questions.push(question);
      stream.wake();
    }
    return () => this.#asking.delete(question.id);
  }

  async #read(events: Watcher<Parameters<ClusterState["note"]>[0] | { readonly kind: "commit" }>): Promise<void> {
    const changed = new Set<ItemKey>();
    try {
      for await (const batch of events.batches()) {
        for (const event of batch) {
          if (event.kind !== "commit") {
            this.#state.note(event, changed);
            continue;
          }
          this.#publish(changed);
          changed.clear();
        }
      }
    } catch (error) {
      this.#log.warn("network state lost the store", { error: SwarmError.from(error) });
    }
    this.#end();
  }

  /** Has all streams look at the keys. Endpoints that stop are waited for by those who send to them. */
  #publish(changed: ReadonlySet<ItemKey>): void {
    if (changed.size === 0) return;
    const stopping = this.#state.takeStopping();
    for (const stream of this.#streams.values()) {
      for (const key of stopping) if (stream.view.sendsTo(key)) this.#settling.wait(key, stream);
      for (const key of changed) stream.changed.add(key);
      stream.wake();
    }
    for (const key of changed) if (!this.#state.isStopping(key)) this.#settling.drop(key);
  }

  /** The endpoints' own nodes are told. */
  #drained(keys: readonly ItemKey[]): void {
    for (const key of keys) {
      const nodeId = this.#state.endpoint(key)?.nodeId;
      for (const stream of this.#streams.values()) {
        if (stream.view.nodeId !== nodeId) continue;
        stream.changed.add(key);
        stream.wake();
      }
    }
  }

  #concerns(key: ItemKey, stream: Stream): boolean {
    const endpoint = this.#state.endpoint(key);
    return endpoint !== undefined && stream.view.sees(endpoint.networkId);
  }

  #end(): void {
    this.ended = true;
    this.#stop.abort();
    for (const stream of this.#streams.values()) stream.wake();
  }
}
