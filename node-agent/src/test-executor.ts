/** An executor without containers, for tests of what stands above it. */
import { ContainerStatus, NodeDescription, type PortStatus, type Task } from "@starling/api";
import type { Controller, Executor, LogChunk } from "./exec/controller.ts";

type Operation = "prepare" | "start" | "shutdown" | "remove" | "terminate";

/** Succeeds at once unless told otherwise; `wait` ends with `exit`. */
export class FakeController implements Controller {
  onProgress: ((message: string) => void) | undefined;
  readonly calls: string[] = [];
  readonly #errors = new Map<Operation, Error>();
  readonly #blocked = new Set<Operation>();
  readonly #ended = Promise.withResolvers<void>();

  constructor() {
    this.#ended.promise.catch(() => undefined);
  }

  /** Lets the operation fail from now on; undefined lets it succeed. */
  fail(operation: Operation, error: Error | undefined): void {
    if (error) this.#errors.set(operation, error);
    else this.#errors.delete(operation);
  }

  /** Lets the operation take until it is aborted. */
  block(operation: Operation): void {
    this.#blocked.add(operation);
  }

  exit(error?: Error): void {
    if (error) this.#ended.reject(error);
    else this.#ended.resolve();
  }

  async update(): Promise<void> {
    this.calls.push("update");
  }
  prepare = (signal: AbortSignal) => this.#do("prepare", signal);
  start = (signal: AbortSignal) => this.#do("start", signal);
  shutdown = (signal: AbortSignal) => this.#do("shutdown", signal);
  terminate = (signal: AbortSignal) => this.#do("terminate", signal);
  remove = (signal: AbortSignal) => this.#do("remove", signal);

  async wait(signal: AbortSignal): Promise<void> {
    this.calls.push("wait");
    await Promise.race([this.#ended.promise, aborted(signal)]);
  }

  async containerStatus(): Promise<ContainerStatus> {
    return ContainerStatus.create({ containerId: "fake", pid: 4711 });
  }

  async portStatus(): Promise<PortStatus | undefined> {
    return undefined;
  }

  async *logs(): AsyncGenerator<LogChunk> {
    yield { stream: "stdout", timestampNs: 1_500_000_000n, data: Buffer.from("hello\n") };
  }

  async #do(operation: Operation, signal: AbortSignal): Promise<void> {
    this.calls.push(operation);
    const error = this.#errors.get(operation);
    if (error) throw error;
    if (this.#blocked.has(operation)) await aborted(signal);
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Controllers by task id; those of a former executor live on in `host`, as containers do. */
export class FakeExecutor implements Executor {
  readonly controllers = new Map<string, FakeController>();
  readonly known: ReadonlySet<string>[] = [];
  readonly configured: string[] = [];
  hostname = "host";

  async describe(): Promise<NodeDescription> {
    return NodeDescription.create({ hostname: this.hostname });
  }

  async configure(node: { readonly id: string }): Promise<void> {
    this.configured.push(node.id);
  }

  controller(task: Task): FakeController {
    const controller = this.controllers.get(task.id) ?? new FakeController();
    this.controllers.set(task.id, controller);
    return controller;
  }

  async removeUnknown(known: ReadonlySet<string>): Promise<readonly string[]> {
    this.known.push(known);
    return [];
  }
}
