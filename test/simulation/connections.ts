import type { RaftBatch, RaftBatchAck, StreamRaftMessageRequest } from "@starling/api";
import { type Millis, SwarmError } from "@starling/base";
import type { PeerChannel } from "@starling/raft-node";
import type { SimNetwork } from "./network.ts";
import type { Process, Schedule } from "./schedule.ts";
import { context, type RaftEndpoint } from "./transport.ts";

/** What the connections of one process stand on. */
export interface Wire {
  readonly self: RaftEndpoint;
  readonly process: Process;
  readonly net: SimNetwork;
  readonly schedule: Schedule;
}

/** What did not arrive is sent again after so long. */
const retransmitMs: Millis = 200;
/** How often the end of a connection that has lost its process is noticed. */
const noticeMs: Millis = 200;
const connectEveryMs: Millis = 50;

/** What was sent into a pipe and came out of it, for the receiving side to iterate; its end and its failure come in order, too. */
class Inbox<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  #over: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  push(item: T): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** With an error the reader throws it, without one it ends; what came before is read first. */
  close(error?: unknown): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift()!;
      if (this.#over?.error !== undefined) throw this.#over.error;
      if (this.#over !== undefined) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

interface End {
  readonly name: string;
  readonly process: Process;
}

/**
 * One direction of a connection, as TCP is: in order and whole, late when the network loses something or is cut. What is on
 * its way to a process that has died is lost with it.
 */
class Pipe {
  readonly #wire: Wire;
  readonly #from: End;
  readonly #to: End;
  readonly #queue: (() => void)[] = [];

  constructor(wire: Wire, from: End, to: End) {
    this.#wire = wire;
    this.#from = from;
    this.#to = to;
  }

  send(deliver: () => void): void {
    this.#queue.push(deliver);
    if (this.#queue.length === 1) this.#carry();
  }

  #carry(): void {
    const { net, schedule } = this.#wire;
    const late = net.delayOf(this.#from.name, this.#to.name);
    if (late === undefined) {
      schedule.after(retransmitMs, undefined, () => this.#carry());
      return;
    }
    schedule.after(late, this.#to.process, () => {
      this.#queue.shift()?.();
      if (this.#queue.length > 0) this.#carry();
    });
  }
}

/** A connection to the process that listens at a peer, over which production's `Peer` sends its streams and snapshots. */
export class SimConnection implements PeerChannel {
  readonly #wire: Wire;
  readonly #target: RaftEndpoint | undefined;
  readonly #open = new Set<AbortController>();
  #there: Process | undefined;

  constructor(wire: Wire, target: RaftEndpoint | undefined) {
    this.#wire = wire;
    this.#target = target;
  }

  waitReady(timeoutMs: Millis): Promise<void> {
    const { schedule, process } = this.#wire;
    const deadline = schedule.now + timeoutMs;
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#reachable()) {
          this.#there = this.#target!.process;
          resolve();
        } else if (schedule.now >= deadline) reject(new SwarmError("Unavailable", "no connection"));
        else schedule.after(connectEveryMs, process, look);
      };
      schedule.after(1, process, look);
    });
  }

  async *messages(batches: Parameters<PeerChannel["messages"]>[0], signal: AbortSignal): AsyncGenerator<RaftBatchAck> {
    yield* this.#call<RaftBatch, RaftBatchAck>(batches, signal, async (requests, end, answer) => {
      const answers = this.#target!.handlers!.peer.messages(requests, context(this.#wire.self.name, end));
      for await (const ack of answers) answer(ack);
    });
  }

  async snapshot(parts: Parameters<PeerChannel["snapshot"]>[0], signal: AbortSignal): Promise<void> {
    const done = this.#call<StreamRaftMessageRequest, never>(parts, signal, async (requests, end) => {
      await this.#target!.handlers!.raft.streamRaftMessage(requests, context(this.#wire.self.name, end));
    });
    for await (const _ of done) {
      // The answer is empty.
    }
  }

  close(): void {
    this.reset();
  }

  /** Breaks what is open: both sides see it when they next hear of one another. False when nothing is. */
  reset(): boolean {
    const broken = this.#open.size > 0;
    for (const call of [...this.#open]) call.abort(new SwarmError("Unavailable", "Connection dropped"));
    return broken;
  }

  get isOpen(): boolean {
    return this.#open.size > 0;
  }

  #reachable(): boolean {
    const { net, self } = this.#wire;
    const { process, handlers, name } = this.#target ?? {};
    if (!process?.alive || handlers === undefined || name === undefined) return false;
    return net.reaches(self.name, name) && net.reaches(name, self.name);
  }

  /** A call in both directions: `serve` is its far end. */
  async *#call<Request, Answer>(
    requests: AsyncIterable<Request>,
    signal: AbortSignal,
    serve: (requests: AsyncIterable<Request>, end: AbortSignal, answer: (answer: Answer) => void) => Promise<void>,
  ): AsyncGenerator<Answer> {
    const { self, process, schedule, net } = this.#wire;
    const target = this.#target;
    const there = this.#there;
    if (target === undefined || there === undefined || target.handlers === undefined || target.process !== there) {
      throw new SwarmError("Unavailable", "Connection dropped");
    }
    const [near, far] = [
      { name: self.name, process },
      { name: target.name, process: there },
    ];
    const [forth, back] = [new Pipe(this.#wire, near, far), new Pipe(this.#wire, far, near)];
    const [arrived, answers] = [new Inbox<Request>(), new Inbox<Answer>()];
    const [call, served] = [new AbortController(), new AbortController()];
    this.#open.add(call);
    const onAbort = () => call.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const over = () => answers.close(call.signal.reason);
    call.signal.addEventListener("abort", over, { once: true });
    const notice = () => {
      if (call.signal.aborted) return;
      if (!there.alive && net.reaches(target.name, self.name)) {
        call.abort(new SwarmError("Unavailable", "Connection dropped"));
      } else schedule.after(noticeMs, process, notice);
    };
    schedule.after(noticeMs, process, notice);
    void pass(requests, call.signal, (item) => forth.send(() => arrived.push(item))).then(
      () => forth.send(() => arrived.close()),
      (thrown) => call.abort(thrown),
    );
    void serve(arrived, served.signal, (answer) => back.send(() => answers.push(answer))).then(
      () => back.send(() => answers.close()),
      (thrown) => back.send(() => answers.close(SwarmError.from(thrown))),
    );
    try {
      yield* answers;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#open.delete(call);
      call.abort(new SwarmError("Cancelled", "the call has ended"));
      forth.send(() => {
        served.abort(new SwarmError("Cancelled", "the caller went away"));
        arrived.close();
      });
    }
  }
}

/** Reads `source` to its end, or until the signal aborts. */
async function pass<T>(source: AsyncIterable<T>, signal: AbortSignal, to: (item: T) => void): Promise<void> {
  for await (const item of source) {
    if (signal.aborted) return;
    to(item);
  }
}
