import {
  type LogMessage,
  type LogSelector,
  LogSubscriptionOptions,
  SubscribeLogsMessage,
  type SubscribeLogsRequest,
  SubscriptionMessage,
  type Task,
  TaskState,
} from "@starling/api";
import { newId, SwarmError } from "@starling/base";
import { byService, type ReadTx } from "@starling/store";
import { BoundedQueue } from "./bounded-queue.ts";

/** Messages that may wait for a subscriber before publishers have to. */
const unreadMax = 256;

/**
 * One client's wish for logs. Knows the nodes that hold matching tasks; without `follow` it ends when each of them is
 * done, with a warning if something could not be had. With `follow` it ends only with its client.
 */
export class Subscription {
  readonly id = newId();
  readonly #selector: LogSelector;
  readonly #options: LogSubscriptionOptions;
  readonly #queue = new BoundedQueue<SubscribeLogsMessage>(unreadMax);
  /** Nodes that hold matching tasks, and of these the ones that have not finished. */
  readonly #nodes = new Set<string>();
  readonly #unfinished = new Set<string>();
  readonly #problems: string[] = [];
  /** Matching tasks that no node holds yet. */
  readonly #unassigned = new Set<string>();

  /** Throws InvalidArgument for a selector that selects nothing. */
  constructor({ selector, options }: SubscribeLogsRequest) {
    if (selector === undefined) throw new SwarmError("InvalidArgument", "log selector must be provided");
    const { serviceIds, taskIds, nodeIds } = selector;
    if (serviceIds.length + taskIds.length + nodeIds.length === 0) {
      throw new SwarmError("InvalidArgument", "log selector must not be empty: name a service, task or node");
    }
    this.#selector = selector;
    this.#options = options ?? LogSubscriptionOptions.create();
  }

  get follow(): boolean {
    return this.#options.follow;
  }

  get nodes(): ReadonlySet<string> {
    return this.#nodes;
  }

  /** What nodes are told to begin it, and with `close` to end it. */
  message(close: boolean): SubscriptionMessage {
    return SubscriptionMessage.create({ id: this.id, selector: this.#selector, options: this.#options, close });
  }

  /** Adds the nodes of the tasks that match now. */
  match(tx: ReadTx): void {
    for (const id of this.#selector.nodeIds) this.#addNode(id);
    const named = this.#selector.taskIds.flatMap((id) => tx.tasks.get(id) ?? []);
    const ofServices = this.#selector.serviceIds.flatMap((id) => tx.tasks.find(byService(id)));
    // Without follow, tasks that do not run yet have nothing to tell.
    const telling = ofServices.filter(({ status }) => this.follow || status.state >= TaskState.RUNNING);
    for (const task of [...named, ...telling]) this.#addTask(task);
  }

  /** Takes a created or changed task; returns the node that it adds, if any. */
  observe(task: Task): string | undefined {
    const { taskIds, serviceIds } = this.#selector;
    if (!taskIds.includes(task.id) && !serviceIds.includes(task.serviceId)) return undefined;
    return this.#addTask(task) ? task.nodeId : undefined;
  }

  /** Resolves when there is room for more. */
  publish(messages: readonly LogMessage[]): Promise<void> {
    return this.#queue.push(SubscribeLogsMessage.create({ messages }));
  }

  /** A node has sent all it has, or never will. */
  finish(nodeId: string, problem?: string): void {
    if (problem !== undefined) this.#problems.push(problem);
    if (this.#unfinished.delete(nodeId)) this.endIfFinished();
  }

  endIfFinished(): void {
    if (!this.follow && this.#unfinished.size === 0) this.#queue.end(this.#warning());
  }

  /** Ends it for its client too. */
  abort(error: unknown): void {
    this.#queue.end(error);
  }

  read(): AsyncIterable<SubscribeLogsMessage> {
    return this.#queue;
  }

  #addTask(task: Task): boolean {
    if (task.nodeId === "") {
      this.#unassigned.add(task.id);
      return false;
    }
    this.#unassigned.delete(task.id);
    return this.#addNode(task.nodeId);
  }

  #addNode(nodeId: string): boolean {
    if (this.#nodes.has(nodeId)) return false;
    this.#nodes.add(nodeId);
    this.#unfinished.add(nodeId);
    return true;
  }

  #warning(): SwarmError | undefined {
    const unassigned = [...this.#unassigned].map((id) => `task ${id} has not been scheduled`);
    const reasons = [...this.#problems, ...unassigned];
    if (reasons.length === 0) return undefined;
    return new SwarmError(
      "Unknown",
      `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reasons.join(", ")}`,
    );
  }
}
