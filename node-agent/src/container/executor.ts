import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type GenericResource,
  type Node,
  type NodeDescription,
  NodeExec,
  NodeImages,
  NodeVolumes,
  type Task,
} from "@starling/api";
import type { Clock, Logger } from "@starling/base";
import type { IdMaps } from "@starling/native";
import { defaultRegistrySettings, RegistryClient, type RegistrySettings } from "@starling/registry";
import { type NodeMethod, nodeMethods } from "../calls/node-service.ts";
import type { Dependencies } from "../dependencies/dependencies.ts";
import type { Executor } from "../exec/controller.ts";
import type { NetworkAttacher } from "../exec/network-attacher.ts";
import { forgetOtherBoot, hostBootId } from "./boot.ts";
import { volumesOf } from "./bundle.ts";
import { type ContainerFolders, removeFolders } from "./bundle-files.ts";
import { ContainerController, type ContainerHost } from "./container-controller.ts";
import { ContainerProcess } from "./container-process.ts";
import { describeNode, goArchitecture } from "./describe.ts";
import { type CollectorSettings, defaultCollectorSettings, ImageCollector } from "./image/image-collector.ts";
import { ImageStore } from "./image/image-store.ts";
import { readUsage } from "./image/image-usage.ts";
import { nodeImagesHandlers } from "./image/node-images.ts";
import { ImagePuller } from "./image/puller.ts";
import { LayerSharing, type LayerSharingOptions } from "./image/sharing/layer-sharing.ts";
import { nodeExecHandlers, startInContainer } from "./node-exec.ts";
import { nodeVolumesHandlers } from "./node-volumes.ts";
import { VolumeStore } from "./volumes.ts";

export interface ContainerExecutorOptions {
  /** Images, volumes, what containers write, logs. On a file system that overlayfs takes as upper layer. */
  readonly stateDir: string;
  /** Sockets and secrets of containers; on a tmpfs. */
  readonly runDir: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly hostname: string;
  readonly network: NetworkAttacher;
  readonly dependencies: Dependencies;
  readonly registries?: RegistrySettings;
  /** How images are shared with other nodes; absent: not at all. */
  readonly sharing?: LayerSharingOptions | undefined;
  /** When images that nothing uses are removed. */
  readonly imageCollection?: CollectorSettings;
  /** Engine labels: `node.platform` constraints' `engine.labels.*`. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What tasks may claim of this node beyond CPUs and memory. */
  readonly genericResources?: readonly GenericResource[];
  /**
   * Control group of all containers, from the root of each hierarchy. Default: `starling` below swarmd's own group
   * (beside it on pure v2), and `/starling.slice` when that is a systemd unit, which must not take containers along when
   * it stops.
   */
  readonly cgroupParent?: string | undefined;
  /** User namespace of containers that do not ask for the host's; undefined: they have the host's. */
  readonly userNamespace?: IdMaps | undefined;
  /** Folders with CDI specs. Default: those of the specification. */
  readonly cdiFolders?: readonly string[] | undefined;
  /** Of the kernel that runs. Default: the host's; tests reboot by another one. */
  readonly bootId?: string | undefined;
}

/** Runs tasks as containers of this host. */
export class ContainerExecutor implements Executor {
  readonly volumes: VolumeStore;
  /** To be told of managers; undefined when images are not shared. */
  readonly sharing: LayerSharing | undefined;
  /** What managers may ask of this node's containers and images. */
  readonly methods: readonly NodeMethod[];
  readonly #options: ContainerExecutorOptions;
  readonly #registry: RegistryClient;
  readonly #store: ImageStore;
  readonly #images: ImagePuller;
  readonly #collector: ImageCollector;
  readonly #closed = new AbortController();
  readonly #host: ContainerHost;
  #opened: Promise<void> | undefined;
  #nodeId = "";

  constructor(options: ContainerExecutorOptions) {
    this.#options = options;
    const { clock, log, stateDir } = options;
    this.volumes = new VolumeStore(join(stateDir, "volumes"));
    this.#registry = new RegistryClient({
      settings: options.registries ?? defaultRegistrySettings,
      clock,
    });
    this.#store = new ImageStore(join(stateDir, "images"));
    const platform = { os: "linux", architecture: goArchitecture() };
    const store = this.#store;
    const { blobs } = store;
    this.sharing = options.sharing && new LayerSharing({ ...options.sharing, blobs, clock, log });
    const { sharing } = this;
    this.#collector = new ImageCollector({
      ...{ store, clock, log },
      usage: () => readUsage(stateDir, options.runDir),
      settings: options.imageCollection ?? defaultCollectorSettings,
    });
    const makeRoom = () => this.#collector.makeRoom();
    this.#images = new ImagePuller({ store, registry: this.#registry, sharing, platform, clock, log, makeRoom });
    const { layers } = this.#images;
    const loading = { store, layers, platform, clock, log, makeRoom };
    const handlers = nodeImagesHandlers({ ...loading, collector: this.#collector, open: () => this.open() });
    const ofVolumes = nodeVolumesHandlers({
      volumes: this.volumes,
      users: () => this.#volumeUsers(),
      open: () => this.open(),
    });
    const ofPrograms = nodeExecHandlers((taskId, process, how) =>
      startInContainer(this.#folders(taskId).bundle, process, how),
    );
    this.methods = [
      ...nodeMethods(NodeImages, handlers),
      ...nodeMethods(NodeVolumes, ofVolumes),
      ...nodeMethods(NodeExec, ofPrograms),
    ];
    this.#host = {
      images: this.#images,
      imageGuard: store.guard,
      network: options.network,
      dependencies: options.dependencies,
      clock,
      log,
      cgroupParent: options.cgroupParent,
      volumes: this.volumes,
      cdiFolders: options.cdiFolders,
      userNamespace: options.userNamespace,
      open: () => this.open(),
      node: () => ({ id: this.#nodeId, hostname: options.hostname, ...platform }),
      folders: (taskId) => this.#folders(taskId),
    };
  }

  /** Makes the folders. Called by itself before anything runs; call it to fail early. */
  open(): Promise<void> {
    this.#opened ??= (async () => {
      const { runDir, log, bootId = await hostBootId() } = this.#options;
      const stale = await forgetOtherBoot(runDir, bootId);
      if (stale > 0) log.info("the host was restarted: its containers are gone", { count: stale });
      await mkdir(join(this.#options.stateDir, "containers"), { recursive: true, mode: 0o700 });
      await Promise.all([this.#store.open(), this.volumes.open()]);
      await this.sharing?.open();
      void this.#collector.run(this.#closed.signal);
    })();
    return this.#opened;
  }

  /** Ends downloads and connections. Containers go on. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#images.close();
    await this.sharing?.close();
    this.#registry.close();
  }

  async describe(): Promise<NodeDescription> {
    await this.open();
    const { hostname, labels = {}, genericResources: generic = [] } = this.#options;
    return describeNode({ hostname, labels, generic });
  }

  async configure(node: Node): Promise<void> {
    this.#nodeId = node.id;
  }

  controller(task: Task): ContainerController {
    if (this.#nodeId === "") this.#nodeId = task.nodeId;
    return new ContainerController(task, this.#host);
  }

  async removeUnknown(known: ReadonlySet<string>): Promise<readonly string[]> {
    await this.open();
    const found = new Set<string>();
    for (const folder of [this.#options.runDir, this.#options.stateDir]) {
      for (const id of await readdir(join(folder, "containers"))) if (!known.has(id)) found.add(id);
    }
    await Promise.all([...found].map((id) => this.#removeUnknown(id)));
    return [...found];
  }

  /** Names of the tasks whose containers have a volume mounted, by the volume's name. */
  async #volumeUsers(): Promise<ReadonlyMap<string, readonly string[]>> {
    const users = new Map<string, string[]>();
    for (const id of await readdir(join(this.#options.stateDir, "containers")).catch(() => [])) {
      const { bundle, data } = this.#folders(id);
      const { taskName = id, anonymous, named } = await volumesOf(data);
      if (anonymous.length + named.length === 0) continue;
      const container = new ContainerProcess(bundle);
      const { t } = await container.state();
      container.close();
      if (t !== "created" && t !== "running") continue;
      for (const name of [...anonymous, ...named]) users.set(name, [...(users.get(name) ?? []), taskName]);
    }
    return users;
  }

  async #removeUnknown(id: string): Promise<void> {
    this.#options.log.info("removing a container of no known task", { "task.id": id });
    const folders = this.#folders(id);
    await new ContainerProcess(folders.bundle).destroy();
    await this.#options.network.detach(id);
    for (const name of (await volumesOf(folders.data)).anonymous) await this.volumes.remove(name);
    await removeFolders(folders);
  }

  #folders(taskId: string): ContainerFolders {
    return {
      bundle: join(this.#options.runDir, "containers", taskId),
      data: join(this.#options.stateDir, "containers", taskId),
    };
  }
}
