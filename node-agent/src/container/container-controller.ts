import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  ContainerStatus,
  drainTimeMs,
  durationMs,
  type LogSubscriptionOptions,
  PortStatus,
  type Task,
  taskName,
} from "@starling/api";
import type { Clock, Logger, Millis } from "@starling/base";
import {
  attachToContainer,
  createContainer,
  type ExitStatus,
  type IdMaps,
  type ProcessSpec,
  type Shim,
  ShimError,
  type ShimStats,
  type ShimStream,
  startProgram,
} from "@starling/native";
import type { Dependencies } from "../dependencies/dependencies.ts";
import { type Controller, ExitError, FatalTaskError, type LogChunk, TemporaryError } from "../exec/controller.ts";
import type { NetworkAttacher } from "../exec/network-attacher.ts";
import { volumesOf, withBundle } from "./bundle.ts";
import { type ContainerFolders, hostHosts, hostResolvConf, makeFolders, removeFolders } from "./bundle-files.ts";
import { ContainerProcess, ignoreEnded } from "./container-process.ts";
import { type HealthCheck, healthCheckOf, watchHealth } from "./health.ts";
import { checkHostPorts } from "./host-ports.ts";
import { describeFullDisk, isDiskFull } from "./image/disk-space.ts";
import type { ImageGuard } from "./image/image-guard.ts";
import type { StoredImage } from "./image/image-store.ts";
import { writeUsage } from "./image/image-usage.ts";
import type { ImagePuller } from "./image/puller.ts";
import { readLog } from "./log-reader.ts";
import { signalNumber } from "./signals.ts";
import { containerSpecOf, hostnameOf, hostsFile, optionsOf } from "./spec.ts";
import type { TemplateNode } from "./template.ts";
import type { VolumeStore } from "./volumes.ts";

const defaultGraceMs: Millis = 10_000;
const reattachPauseMs: Millis = 1_000;
const sigterm = "SIGTERM";

/** What all controllers of a node share. */
export interface ContainerHost {
  readonly images: ImagePuller;
  /** Told when a container's folder says what it was made from. */
  readonly imageGuard: ImageGuard;
  readonly network: NetworkAttacher;
  readonly dependencies: Dependencies;
  readonly clock: Clock;
  readonly log: Logger;
  readonly cgroupParent: string | undefined;
  readonly volumes: VolumeStore;
  readonly cdiFolders?: readonly string[] | undefined;
  /** Of containers that do not ask for the host's. */
  readonly userNamespace?: IdMaps | undefined;
  /** Resolves when the node's folders are there. */
  open(): Promise<void>;
  node(): TemplateNode;
  folders(taskId: string): ContainerFolders;
}

/**
 * One container task. All state that must outlive swarmd is on the host: the shim, its bundle, the layers; a new
 * controller for a task that runs finds them by the task's id.
 */
export class ContainerController implements Controller {
  readonly #host: ContainerHost;
  readonly #folders: ContainerFolders;
  readonly #process: ContainerProcess;
  readonly #log: Logger;
  onProgress: ((message: string) => void) | undefined;
  #task: Task;
  /** Of prepare; found again from the store after a restart. */
  #image: StoredImage | undefined;
  #attached = false;
  #exit: ExitStatus | undefined;
  /** The container was found unhealthy: it is being, or was, ended for that. */
  #unhealthy = false;
  #healthWatch: { readonly abort: AbortController; readonly healthy: Promise<void> } | undefined;

  constructor(task: Task, host: ContainerHost) {
    this.#task = task;
    this.#host = host;
    this.#folders = host.folders(task.id);
    this.#process = new ContainerProcess(this.#folders.bundle);
    this.#log = host.log.with({ "task.id": task.id, "node.id": task.nodeId, "service.id": task.serviceId });
  }

  async update(task: Task): Promise<void> {
    this.#task = task;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    const spec = containerSpecOf(this.#task);
    // Before anything is pulled: what can never be said to end cannot be started.
    signalNumber(spec.stopSignal || sigterm);
    await checkHostPorts(this.#task);
    await this.#host.open();
    await this.#removeContainer();
    try {
      await this.#prepareContainer(signal);
    } catch (error) {
      throw await this.#saidOfDisk(error);
    } finally {
      // From here on its folder tells what it uses.
      this.#host.imageGuard.unuse(this.#task.id);
    }
  }

  async #prepareContainer(signal: AbortSignal): Promise<void> {
    const image = await this.#pull(signal);
    await makeFolders(this.#folders);
    await writeUsage(this.#folders.data, { taskName: taskName(this.#task), digest: image.digest });
    try {
      const { pid } = await withBundle(
        { task: this.#task, image, folders: this.#folders, log: this.#logFile },
        this.#host,
        async () => {
          signal.throwIfAborted();
          return this.#create();
        },
      );
      await this.#attach(pid, signal);
    } catch (error) {
      // Also of a shim whose creation only seems to have failed: its starter was killed.
      await this.#removeContainer();
      throw error;
    }
  }

  async start(signal: AbortSignal): Promise<void> {
    const state = await this.#process.state();
    if (state.t === "none")
      throw new FatalTaskError("container is gone: the host was restarted, or it was removed by hand");
    if (state.t === "exited") {
      if (state.exit.exitCode !== 0) throw this.#exitError(state.exit);
      return; // Started by a swarmd before this one; `wait` tells of its end.
    }
    if (state.t === "created") {
      // Prepared by a swarmd before this one.
      if (!this.#attached) await this.#attach(state.pid, signal);
      try {
        await state.shim.start();
      } catch (error) {
        if (!(error instanceof ShimError)) throw error;
        await this.#process.exit();
        throw new FatalTaskError(`starting container failed: ${error.message}`);
      }
    }
    await this.#untilHealthy(state.shim, signal);
  }

  async wait(signal: AbortSignal): Promise<void> {
    const state = await this.#process.state();
    if (state.t === "none")
      throw new FatalTaskError("container is gone: the host was restarted, or it was removed by hand");
    if (state.t === "running") {
      void this.#reattach(state.pid, signal);
      await this.#watchHealth(state.shim, state.startedAtMs);
    }
    const exit = state.t === "exited" ? state.exit : await raceSignal(this.#process.exit(), signal);
    if (exit === undefined) throw new FatalTaskError("container is gone");
    await this.#ended(exit);
    if (this.#unhealthy) throw new FatalTaskError("unhealthy container");
    if (exit.exitCode !== 0) throw this.#exitError(exit);
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    await this.#stop(await this.#stopSignal(), durationMs(this.#spec.stopGracePeriod, defaultGraceMs), signal);
  }

  async terminate(signal: AbortSignal): Promise<void> {
    await this.#stop(9, 0, signal);
  }

  async remove(_signal: AbortSignal): Promise<void> {
    await this.#removeContainer();
    for (const name of (await volumesOf(this.#folders.data)).anonymous) await this.#host.volumes.remove(name);
    await removeFolders(this.#folders);
  }

  async containerStatus(): Promise<ContainerStatus | undefined> {
    const containerId = this.#task.id;
    if (this.#exit !== undefined) return ContainerStatus.create({ containerId, exitCode: this.#exit.exitCode });
    const state = await this.#process.state();
    if (state.t === "none") return undefined;
    if (state.t === "exited") return ContainerStatus.create({ containerId, exitCode: state.exit.exitCode });
    return ContainerStatus.create({ containerId, pid: state.pid });
  }

  async portStatus(): Promise<PortStatus | undefined> {
    const ports = this.#host.network.hostPorts(this.#task);
    return ports.length === 0 ? undefined : PortStatus.create({ ports });
  }

  async *logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncGenerator<LogChunk> {
    let ended = this.#exit !== undefined;
    if (!ended && options.follow) {
      void this.#process.exit().then(
        () => {
          ended = true;
        },
        () => {
          ended = true;
        },
      );
    }
    const { clock } = this.#host;
    yield* readLog(this.#logFile, options, { clock, signal, ended: () => ended });
  }

  /** Runs one more program in the running container, with its streams here. Throws ShimError when it cannot be run. */
  exec(process: ProcessSpec, options: { readonly stdin?: boolean } = {}): Promise<ShimStream> {
    return startProgram(this.#folders.bundle, process, options);
  }

  /** The container's own streams from now on; what it printed before is in its log. */
  attach(): Promise<ShimStream> {
    return attachToContainer(this.#folders.bundle);
  }

  /** What it uses now; undefined when it does not run. */
  async stats(): Promise<ShimStats | undefined> {
    const state = await this.#process.state();
    return state.t === "created" || state.t === "running" ? state.shim.stats() : undefined;
  }

  /** Its processes as the host numbers them; empty when it does not run. */
  async top(): Promise<readonly number[]> {
    const state = await this.#process.state();
    return state.t === "created" || state.t === "running" ? state.shim.top() : [];
  }

  /** Stops or lets go on every process inside, by the freezer. Throws FatalTaskError when it does not run. */
  async setPaused(paused: boolean): Promise<void> {
    const state = await this.#process.state();
    if (state.t !== "running") throw new FatalTaskError("container does not run");
    await (paused ? state.shim.pause() : state.shim.resume());
  }

  /** Gives up what this process holds of the container, which goes on. */
  close(): void {
    this.#healthWatch?.abort.abort();
    this.#process.close();
  }

  get #spec() {
    return containerSpecOf(this.#task);
  }

  get #logFile(): string {
    return join(this.#folders.data, "log.json");
  }

  async #pull(signal: AbortSignal): Promise<StoredImage> {
    const { image, pullOptions } = this.#spec;
    this.#image = await this.#host.images.pull(image, {
      registryAuth: pullOptions?.registryAuth ?? "",
      signal,
      user: { taskId: this.#task.id, taskName: taskName(this.#task) },
      onProgress: (message) => this.onProgress?.(message),
    });
    return this.#image;
  }

  /** A full disk is no fault of the task: it waits for room. */
  async #saidOfDisk(error: unknown): Promise<unknown> {
    if (!isDiskFull(error) || error instanceof TemporaryError) return error;
    const path = (error as NodeJS.ErrnoException).path ?? "";
    const folder = path.startsWith(this.#folders.bundle) ? dirname(this.#folders.bundle) : dirname(this.#folders.data);
    const remedy = "free space on that disk, e.g. by removing ended tasks, volumes or images that nothing uses";
    return new TemporaryError(`${await describeFullDisk(folder)}: ${remedy}`, { cause: error });
  }

  async #create(): Promise<{ readonly pid: number }> {
    try {
      return await createContainer(this.#folders.bundle);
    } catch (error) {
      if (error instanceof ShimError) throw new FatalTaskError(`creating container failed: ${error.message}`);
      throw error;
    }
  }

  /** Furnishes the namespace, then fills the files that are bound in the container (in place: the mounts are of these inodes). */
  async #attach(pid: number, signal: AbortSignal): Promise<void> {
    const file = (name: string) => join(this.#folders.bundle, "files", name);
    const { network } = optionsOf(this.#task);
    if (network !== "") {
      this.#attached = true;
      await Promise.all([
        writeFile(file("hosts"), network === "host" ? await hostHosts(this.#task) : hostsFile(this.#spec.hosts)),
        writeFile(file("resolv.conf"), await hostResolvConf(this.#task)),
      ]);
      return;
    }
    const netns = { path: `/proc/${pid}/ns/net`, pid };
    const { resolvConf, addresses } = await raceSignal(this.#host.network.attach(this.#task, netns), signal);
    this.#attached = true;
    const hostname = hostnameOf({ task: this.#task, node: this.#host.node() });
    const hosts = addresses.map((address) => `${address}\t${hostname}`);
    await Promise.all([
      writeFile(file("hosts"), hostsFile([...hosts, ...this.#spec.hosts])),
      writeFile(file("resolv.conf"), resolvConf || (await hostResolvConf(this.#task))),
    ]);
  }

  /** After a restart of swarmd the network learns of the container again. Tried until it works; the task runs meanwhile. */
  async #reattach(pid: number, signal: AbortSignal): Promise<void> {
    while (!this.#attached && !signal.aborted) {
      try {
        await this.#attach(pid, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn("network not attached again yet", { error });
        await this.#host.clock.sleep(reattachPauseMs, signal).catch(() => {});
      }
    }
  }

  async #healthCheck(): Promise<HealthCheck | undefined> {
    const image = this.#image ?? (await this.#storedImage());
    if (image === undefined && this.#spec.healthcheck === undefined) return undefined;
    return healthCheckOf(this.#spec, image?.config ?? { ...noImageConfig });
  }

  async #untilHealthy(shim: Shim, signal: AbortSignal): Promise<void> {
    const watch = await this.#watchHealth(shim, this.#host.clock.now());
    if (watch === undefined) return;
    // Ends early, too, when the container does: then wait tells how.
    await raceSignal(Promise.race([watch.healthy, this.#process.exit()]), signal);
    if (this.#unhealthy) {
      await this.#process.destroy();
      throw new FatalTaskError("unhealthy container");
    }
    const state = await this.#process.state();
    if (state.t === "exited" && state.exit.exitCode !== 0) throw this.#exitError(state.exit);
  }

  /** Begins to watch, once; undefined without a health check. */
  async #watchHealth(shim: Shim, startedAtMs: Millis): Promise<{ readonly healthy: Promise<void> } | undefined> {
    if (this.#healthWatch !== undefined) return this.#healthWatch;
    const check = await this.#healthCheck();
    if (check === undefined || this.#healthWatch !== undefined) return this.#healthWatch;
    const abort = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#healthWatch = { abort, healthy: promise };
    const { clock } = this.#host;
    watchHealth(shim, check, {
      clock,
      log: this.#log,
      signal: abort.signal,
      startedAtMs,
      onChange: (health) => {
        if (health === "unhealthy") this.#becomeUnhealthy();
        resolve();
      },
    })
      .catch((error) => {
        if (!abort.signal.aborted) this.#log.warn("health check ended", { error });
      })
      .finally(resolve);
    return this.#healthWatch;
  }

  /** Ends the container; whoever waits for it hears that it was unhealthy. */
  #becomeUnhealthy(): void {
    this.#unhealthy = true;
    this.shutdown(new AbortController().signal).catch((error) =>
      this.#log.warn("unhealthy container not stopped", { error }),
    );
  }

  async #stopSignal(): Promise<number> {
    const own = this.#spec.stopSignal;
    const image = own !== "" ? undefined : (this.#image ?? (await this.#storedImage()));
    return signalNumber(own || image?.config.stopSignal || sigterm);
  }

  /** The image without asking its registry: for stopping, what is on the host counts. */
  async #storedImage(): Promise<StoredImage | undefined> {
    return this.#host.images.stored(this.#spec.image);
  }

  async #stop(number: number, graceMs: Millis, signal: AbortSignal): Promise<void> {
    const state = await this.#process.state();
    if (state.t === "created" || state.t === "running") {
      await this.#host.network.leave(this.#task.id);
      const ended = this.#process.exit();
      if (state.t === "running" && graceMs > 0) {
        await this.#drain(ended, signal);
        await state.shim.signal(number).catch(ignoreEnded);
        const grace = new AbortController();
        const over = this.#host.clock.sleep(graceMs, grace.signal).then(() => {
          this.#log.info("grace period is over, killing", { graceMs });
        });
        over.catch(() => {}); // Ended in time.
        await raceSignal(Promise.race([ended, over]), signal).finally(() => grace.abort());
      }
      await state.shim.kill().catch(ignoreEnded);
      const exit = await raceSignal(ended, signal);
      if (exit !== undefined) return this.#ended(exit);
    }
    if (state.t === "exited") await this.#ended(state.exit);
    else await this.#detach();
  }

  /** Until nobody sends new connections and those there are have ended or had their time; less when the container ends. */
  async #drain(ended: Promise<unknown>, signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const drained = this.#host.network.drained(this.#task.id, {
      drainMs: drainTimeMs(this.#spec),
      signal: AbortSignal.any([signal, stop.signal]),
    });
    await raceSignal(Promise.race([ended, drained]), signal).finally(() => stop.abort());
  }

  async #ended(exit: ExitStatus): Promise<void> {
    this.#exit = exit;
    this.#healthWatch?.abort.abort();
    this.#process.close();
    await this.#detach();
  }

  async #detach(): Promise<void> {
    this.#attached = false;
    await this.#host.network.detach(this.#task.id);
  }

  /** Container and network; files stay. */
  async #removeContainer(): Promise<void> {
    await this.#process.destroy();
    await this.#detach();
  }

  #exitError(exit: ExitStatus): ExitError {
    this.#exit = exit;
    const cause = exit.error || (exit.oomKilled ? "out of memory: its memory limit was reached" : "");
    return new ExitError(exit.exitCode, `task: non-zero exit (${exit.exitCode})${cause && `: ${cause}`}`);
  }
}

const noImageConfig = {
  user: "",
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: "",
  stopSignal: "",
  labels: {},
  volumes: [],
  diffIds: [],
} as const;

/** What `promise` gives, or the signal's reason; the promise goes on by itself. */
function raceSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {});
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
